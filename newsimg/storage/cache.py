"""Persistent cache of model outputs, shared by processes."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.cache_entries import DESCRIPTION, CacheEntry, list_entries
from newsimg.storage.claims import share_work
from newsimg.storage.files import hash_file, user_cache_dir
from newsimg.storage.pictures.images import read_image
from newsimg.storage.progress import Progress, announce
from newsimg.storage.shards import ShardFolder, digest_key, from_bytes, to_bytes, write_to_cache

log = logging.getLogger(__name__)

KeepRows = Callable[[list[int], FloatArray], None]
"""Saves the rows of some positions: takes positions and rows, (n_positions, width)."""
KeepTexts = Callable[[list[int], list[str]], None]
"""Saves the texts of some positions."""
IsUseful = Callable[[FloatArray], NDArray[np.bool_]]
"""Maps rows, (n_rows, width), to a mask of the rows worth caching, (n_rows,)."""
KeepBytes = Callable[[list[int], list[bytes]], None]
AreUseful = Callable[[list[bytes]], Sequence[bool]]
# A file modified more recently may change again within the resolution of its modification time.
STABLE_NS = 2_000_000_000


def find_cache_dir(folder: str | None) -> Path:
    """Return the cache folder; by default it is in the user's cache folder."""
    return Path(folder).expanduser().absolute() if folder else user_cache_dir() / "model_outputs"


class OutputCache:
    """A cache of model outputs (rows of numbers), keyed by model and input content.

    `<folder>/<kind>/<model>/` holds the rows of one model, and `model.json` its fingerprint.

    Args:
        folder: The cache folder; created at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, float] = {}
        self._shards: dict[Path, ShardFolder] = {}
        self._needed: dict[Path, set[bytes]] = {}
        self._warned = False
        self.reset_counts()

    def reset_counts(self) -> None:
        """Reset the counters of computed and reused rows."""
        for kind in ("embeddings", "scores"):
            self.counts |= {f"cache/{kind}_computed": 0, f"cache/{kind}_reused": 0}
        self._needed.clear()

    @property
    def n_needed(self) -> int:
        """Number of distinct rows requested: what models would compute without a cache."""
        return sum(map(len, self._needed.values()))

    def add_counts(self, counts: Mapping[str, float]) -> None:
        """Add the counters of a worker process."""
        for name, number in counts.items():
            self.counts[name] += number

    def __reduce__(self) -> tuple[type["OutputCache"], tuple[Path]]:
        """Pickle as the folder alone; the copy opens the same cache."""
        return OutputCache, (self.folder,)

    def get_or_compute(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        compute: Callable[[list[int]], FloatArray],
        label: str,
        batch_size: int | Callable[[], int] = 64,
    ) -> FloatArray:
        """Return the row of each key, (n_keys, width), and compute those that are missing.

        Each batch is written to disk before the next one starts, so that a killed run loses at
        most one batch.

        Args:
            kind: "embeddings" or "scores".
            model: Fingerprint of the model and all that its output depends on but the key.
            keys: What identifies the content of each item; equal keys are computed once.
            compute: Computes the items at the given positions: (n_positions, width) float32.
            label: Names the work on the status line.
            batch_size: Items per call of `compute`, or a function called if items are missing.

        Raises:
            OSError: If the cache cannot be read or written.
        """

        def compute_batches(missing: list[int], keep: KeepRows) -> None:
            size = batch_size if isinstance(batch_size, int) else batch_size()
            for start in range(0, len(missing), size):
                batch = missing[start : start + size]
                keep(batch, compute(batch))

        return self.get_or_ask(kind, model, keys, compute_batches, label)

    def get_or_ask(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        ask: Callable[[list[int], KeepRows], None],
        label: str,
        is_useful: IsUseful | None = None,
    ) -> FloatArray:
        """Like `get_or_compute`, for a function that produces rows one by one and in any order.

        Args:
            kind: See `get_or_compute`.
            model: See `get_or_compute`.
            keys: See `get_or_compute`.
            ask: Takes the positions of all missing items and a callback, which it calls with
                positions and rows as they become available; the callback writes them to disk.
            label: See `get_or_compute`.
            is_useful: Selects the rows to cache; others are only returned. None caches all.

        Raises:
            OSError: If the cache cannot be read or written.
            ValueError: If `ask` returns without a row for every item.
        """
        useful = None if is_useful is None else lambda rows: is_useful(from_bytes(rows)).tolist()
        return from_bytes(
            self._get_or_ask_bytes(kind, model, keys, _keep_as_bytes(ask), label, useful)
        )

    def get_or_ask_texts(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        ask: Callable[[list[int], KeepTexts], None],
        label: str,
        is_useful: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """Like `get_or_ask`, for texts instead of rows of numbers."""

        def ask_bytes(missing: list[int], keep: KeepBytes) -> None:
            ask(missing, lambda positions, texts: keep(positions, [t.encode() for t in texts]))

        useful = None if is_useful is None else lambda rows: [is_useful(r.decode()) for r in rows]
        rows = self._get_or_ask_bytes(kind, model, keys, ask_bytes, label, useful)
        return [row.decode() for row in rows]

    def compute_batch(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        compute: Callable[[list[int]], FloatArray],
    ) -> FloatArray:
        """Like `get_or_compute`, for one batch of a stream of any length.

        The keys do not count in `n_needed`, whose memory would grow with the stream. Call
        `compact` to merge the small files that the batches leave.

        Raises:
            OSError: If the cache cannot be read or written.
        """

        def ask(missing: list[int], keep: KeepRows) -> None:
            keep(missing, compute(missing))

        digests = [digest_key(key) for key in keys]
        return from_bytes(self._find_or_ask(kind, model, digests, _keep_as_bytes(ask), "", None))

    def _get_or_ask_bytes(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        ask: Callable[[list[int], KeepBytes], None],
        label: str,
        are_useful: AreUseful | None,
    ) -> list[bytes]:
        shards = self._open(kind, model)
        digests = [digest_key(key) for key in keys]
        self._needed.setdefault(shards.folder, set()).update(digests)
        rows = self._find_or_ask(kind, model, digests, ask, label, are_useful)
        shards.merge()
        return rows

    def _find_or_ask(
        self,
        kind: str,
        model: str,
        digests: Sequence[bytes],
        ask: Callable[[list[int], KeepBytes], None],
        label: str,
        are_useful: AreUseful | None,
    ) -> list[bytes]:
        shards = self._open(kind, model)
        position = {digest: i for i, digest in enumerate(digests)}
        kept: dict[bytes, bytes] = {}

        def find(wanted: list[bytes]) -> list[bytes]:
            """Load the cached rows of `wanted`; return the keys that are missing."""
            known = _only_known(wanted, shards.read(wanted))
            kept.update(_only_useful(known, are_useful))
            return [digest for digest in wanted if digest not in kept]

        missing = find(list(position))
        n_computed = 0
        if missing:
            self._describe(shards.folder, model)
            with Progress(label, len(missing)) as progress:

                def keep(positions: list[int], rows: list[bytes]) -> None:
                    named = [digests[i] for i in positions]
                    new = dict(zip(named, rows, strict=True))
                    if useful := _only_useful(new, are_useful):
                        shards.add(useful)
                    kept.update(new)
                    progress.update(len(positions))

                # Closed on errors too, so that no other process waits for abandoned keys.
                with closing(share_work(shards.folder, missing, find, progress.update)) as shares:
                    for mine in shares:
                        ask([position[digest] for digest in mine], keep)
                        if n := len(set(mine) - kept.keys()):
                            raise ValueError(f"{label}: {n} of {len(mine)} results are missing")
                        n_computed += len(mine)
        self.counts[f"cache/{kind}_computed"] += n_computed
        self.counts[f"cache/{kind}_reused"] += len(position) - n_computed
        return [kept[digest] for digest in digests]

    def find(self, kind: str, model: str, keys: Sequence[str]) -> list[FloatArray | None]:
        """Return the cached row of each key, or None.

        Raises:
            OSError: If the cache cannot be read.
        """
        digests = [digest_key(key) for key in keys]
        rows = _only_known(digests, self._open(kind, model).read(digests))
        self.counts[f"cache/{kind}_reused"] += len(rows)
        return [
            np.frombuffer(rows[digest], np.float32) if digest in rows else None
            for digest in digests
        ]

    def get_flags(
        self,
        kind: str,
        model: str,
        texts: Sequence[str],
        find: Callable[[list[str]], list[bool]],
    ) -> list[bool]:
        """Return a flag for each text, and compute those that are missing.

        Flags, like hashes, are not model outputs: they are neither counted nor listed.

        Args:
            kind: Name of the flag.
            model: Fingerprint of the model that the flags depend on.
            texts: The texts.
            find: Function that computes the flags of some texts.

        Raises:
            OSError: If the cache cannot be read or written.
        """
        shards = self._open(kind, model)
        keys = [digest_key(f"text:{text}") for text in texts]
        kept = _only_known(keys, shards.read(keys))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in kept}
        if missing:
            found = find(list(missing.values()))
            new = {key: bytes([flag]) for key, flag in zip(missing, found, strict=True)}
            shards.add(new)
            kept |= new
        return [bool(kept[key][0]) for key in keys]

    def compact(self) -> None:
        """Merge the small files written since the last call."""
        for shards in self._shards.values():
            shards.merge()

    def hash_images(self, images: Sequence[Image]) -> list[str]:
        """Return the SHA-256 of each picture's bytes; known digests are not recomputed."""
        files = [image for image in images if image.digest is None and image.member is None]
        hashes = iter(self.hash_files([image.path for image in files]))
        return [
            image.digest or (next(hashes) if image.member is None else hash_image(image))
            for image in images
        ]

    def hash_files(self, paths: Sequence[Path]) -> list[str]:
        """Return the SHA-256 of each file's bytes, in hex digits.

        Hashes are cached by path, size and modification time.
        """
        shards = self._open("hashes", "sha256")
        statuses = [path.stat() for path in paths]
        keys = [
            digest_key(f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}")
            for path, status in zip(paths, statuses, strict=True)
        ]
        known = _only_known(keys, shards.read(keys))
        hashes = {key: row.hex() for key, row in known.items()}
        if len(hashes) < len(keys):
            announce("reading files")
        stable = {}
        now = time.time_ns()
        for path, status, key in zip(paths, statuses, keys, strict=True):
            if key not in hashes:
                hashes[key] = hash_file(path)
                if now - status.st_mtime_ns > STABLE_NS:
                    stable[key] = bytes.fromhex(hashes[key])
        if stable:
            self._keep_hashes(shards, stable)
        return [hashes[key] for key in keys]

    def _keep_hashes(self, shards: ShardFolder, hashes: dict[bytes, bytes]) -> None:
        """Cache the hashes of files. A read-only cache is still usable, so errors only warn."""
        try:
            shards.add(hashes)
        except OSError as error:
            if not self._warned:
                log.warning("file hashes cannot be cached, each run computes them again: %s", error)
            self._warned = True

    def list_entries(self) -> list[CacheEntry]:
        """Return one entry per model; see `newsimg.storage.cache_entries.list_entries`."""
        return list_entries(self.folder)

    def delete(self, entry: CacheEntry) -> None:
        """Delete the cached rows of a model."""
        self._shards.pop(entry.folder, None)
        shutil.rmtree(entry.folder)

    def _open(self, kind: str, model: str) -> ShardFolder:
        folder = self.folder / kind / hashlib.sha256(model.encode()).hexdigest()[:24]
        return self._shards.setdefault(folder, ShardFolder(folder))

    @staticmethod
    def _describe(folder: Path, model: str) -> None:
        path = folder / DESCRIPTION
        if not path.is_file():
            write_to_cache(path, json.dumps({"fingerprint": model}).encode())


def _only_known(keys: Sequence[bytes], rows: Sequence[bytes | None]) -> dict[bytes, bytes]:
    return {key: row for key, row in zip(keys, rows, strict=True) if row is not None}


def _only_useful(rows: dict[bytes, bytes], are_useful: AreUseful | None) -> dict[bytes, bytes]:
    if are_useful is None or not rows:
        return rows
    useful = are_useful(list(rows.values()))
    return {key: row for (key, row), good in zip(rows.items(), useful, strict=True) if good}


def _keep_as_bytes(
    ask: Callable[[list[int], KeepRows], None],
) -> Callable[[list[int], KeepBytes], None]:
    def ask_bytes(missing: list[int], keep: KeepBytes) -> None:
        ask(missing, lambda positions, rows: keep(positions, to_bytes(rows)))

    return ask_bytes


def hash_image(image: Image) -> str:
    """Return the SHA-256 of a picture's encoded bytes, in hex digits."""
    return hashlib.sha256(read_image(image)).hexdigest()
