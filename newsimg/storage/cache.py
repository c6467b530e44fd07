"""What a model has computed once is not computed again, in this process or another one."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.files import cache_dir, hash_file
from newsimg.storage.pictures.images import read_image
from newsimg.storage.shards import ShardFolder, digest_key, from_bytes, to_bytes, write_to_store

log = logging.getLogger(__name__)

KeepRows = Callable[[list[int], FloatArray], None]
"""Takes positions and their rows, (n_positions, width)."""
SETTLED_NS = 2_000_000_000  # a file changed later than this ago may change again unnoticed


def find_store(folder: str | None) -> Path:
    """Return the folder of a store, by default in the user's cache."""
    return Path(folder).expanduser().absolute() if folder else cache_dir() / "store"


class Store:
    """Keeps rows of numbers by the model they come from and the content they are of.

    `<folder>/<kind>/<model>/` holds the rows of one model, and in `model.json` its fingerprint.

    Args:
        folder: Where the store is; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, float] = {}
        self._shards: dict[Path, ShardFolder] = {}
        self._needed: dict[Path, set[bytes]] = {}
        self.reset_counts()

    def reset_counts(self) -> None:
        """Count anew what is computed and what is reused."""
        for kind in ("embeddings", "scores"):
            self.counts |= {f"store/{kind}_computed": 0, f"store/{kind}_reused": 0}
        self._needed.clear()

    @property
    def n_needed(self) -> int:
        """Distinct rows that were asked for: what models would compute if nothing were kept."""
        return sum(map(len, self._needed.values()))

    def add_counts(self, counts: Mapping[str, float]) -> None:
        """Count what another process computed and reused for this one."""
        for name, number in counts.items():
            self.counts[name] += number

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        """Become in another process a store in the same folder."""
        return Store, (self.folder,)

    def get_or_compute(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        compute: Callable[[list[int]], FloatArray],
        label: str,
        batch_size: int = 64,
    ) -> FloatArray:
        """Return a row for each of `keys`: (n_keys, width), computing those that are missing.

        Every batch is on disk before the next one begins, so that a run that is killed loses at
        most the batch it was at.

        Args:
            kind: "embeddings" or "scores".
            model: Fingerprint of the model and all that its output depends on but the key.
            keys: What identifies the content of each item; equal keys are computed once.
            compute: Computes the items at the given positions: (n_positions, width) float32.
            label: Names the work on the progress bar.
            batch_size: Items per call of `compute`.

        Raises:
            OSError: If the store cannot be read or written.
        """

        def compute_batches(missing: list[int], keep: KeepRows) -> None:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                keep(batch, compute(batch))

        return self.get_or_ask(kind, model, keys, compute_batches, label)

    def get_or_ask(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        ask: Callable[[list[int], KeepRows], None],
        label: str,
    ) -> FloatArray:
        """Do as `get_or_compute`, where rows come in an order and at times of their own.

        Args:
            kind: See `get_or_compute`.
            model: See `get_or_compute`.
            keys: See `get_or_compute`.
            ask: Takes the positions of all missing items and what it is to call with each of them;
                what that was called with is on disk when it returns.
            label: See `get_or_compute`.

        Raises:
            OSError: If the store cannot be read or written.
            ValueError: If `ask` leaves items out.
        """
        shards = self._open(kind, model)
        digests = [digest_key(key) for key in keys]
        position = {digest: i for i, digest in enumerate(digests)}
        self._needed.setdefault(shards.folder, set()).update(position)
        kept = _only_known(list(position), shards.read(list(position)))
        missing = [i for digest, i in position.items() if digest not in kept]
        if missing:
            self._describe(shards.folder, model)
            with tqdm(
                total=len(missing), desc=label, leave=False, delay=1, disable=None
            ) as progress:

                def keep(positions: list[int], rows: FloatArray) -> None:
                    named = [digests[i] for i in positions]
                    new = dict(zip(named, to_bytes(rows), strict=True))
                    shards.add(new)
                    kept.update(new)
                    progress.update(len(positions))

                ask(missing, keep)
            shards.merge()
        if lacking := len(position.keys() - kept.keys()):
            raise ValueError(f"{label}: {lacking} of {len(missing)} results were not kept")
        self.counts[f"store/{kind}_computed"] += len(missing)
        self.counts[f"store/{kind}_reused"] += len(position) - len(missing)
        return from_bytes([kept[digest] for digest in digests])

    def find(self, kind: str, model: str, keys: Sequence[str]) -> list[FloatArray | None]:
        """Return for each of `keys` its row, where it is there.

        Raises:
            OSError: If the store cannot be read.
        """
        digests = [digest_key(key) for key in keys]
        rows = _only_known(digests, self._open(kind, model).read(digests))
        self.counts[f"store/{kind}_reused"] += len(rows)
        return [
            np.frombuffer(rows[digest], np.float32) if digest in rows else None
            for digest in digests
        ]

    def put(self, kind: str, model: str, keys: Sequence[str], rows: FloatArray) -> None:
        """Keep rows; they are safe on disk when this returns.

        Raises:
            OSError: If the store cannot be written.
        """
        shards = self._open(kind, model)
        self._describe(shards.folder, model)
        shards.add(dict(zip(map(digest_key, keys), to_bytes(rows), strict=True)))
        self.counts[f"store/{kind}_computed"] += len(set(keys))

    def get_flags(
        self,
        kind: str,
        model: str,
        texts: Sequence[str],
        find: Callable[[list[str]], list[bool]],
    ) -> list[bool]:
        """Return a flag for each text, finding those that are missing.

        Like hashes they are no model's work: neither counted nor listed.

        Args:
            kind: What the flags are.
            model: Fingerprint of the model that they depend on.
            texts: What they are of.
            find: Finds the flags of some texts.

        Raises:
            OSError: If the store cannot be read or written.
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

    def settle(self) -> None:
        """Make one file of the small ones that were written since the last time."""
        for shards in self._shards.values():
            shards.merge()

    def hash_images(self, images: Sequence[Image]) -> list[str]:
        """Return the SHA-256 of each picture's bytes; those that know theirs are not opened."""
        files = [image for image in images if image.digest is None and image.member is None]
        hashes = iter(self.hash_files([image.path for image in files]))
        return [
            image.digest or (next(hashes) if image.member is None else hash_image(image))
            for image in images
        ]

    def hash_files(self, paths: Sequence[Path]) -> list[str]:
        """Return the SHA-256 of each file's bytes, in hex digits.

        A file that was hashed before is not read again while its path, size and time of change
        are the same.
        """
        shards = self._open("hashes", "sha256")
        statuses = [path.stat() for path in paths]
        keys = [
            digest_key(f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}")
            for path, status in zip(paths, statuses, strict=True)
        ]
        known = _only_known(keys, shards.read(keys))
        hashes = {key: row.hex() for key, row in known.items()}
        settled = {}
        now = time.time_ns()
        for path, status, key in zip(paths, statuses, keys, strict=True):
            if key not in hashes:
                hashes[key] = hash_file(path)
                if now - status.st_mtime_ns > SETTLED_NS:
                    settled[key] = bytes.fromhex(hashes[key])
        if settled:
            shards.add(settled)
        return [hashes[key] for key in keys]

    def list_entries(self) -> list["StoreEntry"]:
        """Return what is kept of each model, by kind and model."""
        entries = []
        for description in sorted(self.folder.glob("*/*/model.json")):
            paths = list(description.parent.glob("*.parquet"))
            stats = [path.stat() for path in paths]
            newest = max([stat.st_mtime for stat in stats], default=description.stat().st_mtime)
            entries.append(
                StoreEntry(
                    kind=description.parent.parent.name,
                    model=json.loads(description.read_text())["fingerprint"],
                    folder=description.parent,
                    n_items=sum(map(_count_rows, paths)),
                    n_bytes=sum(stat.st_size for stat in stats),
                    age_days=(time.time() - newest) / 86400,
                )
            )
        return entries

    @staticmethod
    def verify(entry: "StoreEntry") -> int:
        """Read every file of a model; set damaged ones aside and return how many there were."""
        return ShardFolder(entry.folder).verify()

    def delete(self, entry: "StoreEntry") -> None:
        """Delete what is kept of a model."""
        self._shards.pop(entry.folder, None)
        shutil.rmtree(entry.folder)

    def _open(self, kind: str, model: str) -> ShardFolder:
        folder = self.folder / kind / hashlib.sha256(model.encode()).hexdigest()[:24]
        return self._shards.setdefault(folder, ShardFolder(folder))

    @staticmethod
    def _describe(folder: Path, model: str) -> None:
        path = folder / "model.json"
        if not path.is_file():
            write_to_store(path, json.dumps({"fingerprint": model}).encode())


def _only_known(keys: Sequence[bytes], rows: Sequence[bytes | None]) -> dict[bytes, bytes]:
    return {key: row for key, row in zip(keys, rows, strict=True) if row is not None}


def hash_image(image: Image) -> str:
    """Return the SHA-256 of the bytes that a picture is decoded from, in hex digits."""
    return hashlib.sha256(read_image(image)).hexdigest()


@dataclass(frozen=True)
class StoreEntry:
    """What the store keeps of one model."""

    kind: str
    model: str
    folder: Path
    n_items: int
    n_bytes: int
    age_days: float


def _count_rows(path: Path) -> int:
    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except pa.ArrowInvalid:
        log.warning("a damaged file of the store, see task.action=verify: %s", path)
        return 0
