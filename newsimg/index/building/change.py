"""Find the new, changed and removed pictures of a saved index."""

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import Image, Listed, make_image_id
from newsimg.engine.listing import stamp_file
from newsimg.index.folder import SavedIndex

log = logging.getLogger(__name__)

ON_CHANGED = ("raise", "skip", "replace")
CHUNK = 512  # pictures compared at once
N_NAMED = 3  # pictures named in a message
MAX_COMPARED = 200_000  # above this many ids, similar ids are searched by prefix or suffix only

Hasher = Callable[[Sequence[Image]], list[str]]
"""Returns the SHA-256 of each picture's bytes."""


class NewImages:
    """The pictures of a collection that are not in an index, in the collection's order.

    A picture whose id is in the index is compared with the indexed one: unchanged if path, size and
    modification time are equal, otherwise their hashes are compared.

    Args:
        images: The collection.
        saved: The index.
        hasher: Returns the SHA-256 of pictures.
        on_changed: Treatment of pictures with a known id and other bytes: "raise" an error after
            all pictures are compared, "skip" them, or "replace" the indexed ones (they are yielded
            too).
    """

    def __init__(
        self, images: Iterable[Listed], saved: SavedIndex, hasher: Hasher, on_changed: str
    ) -> None:
        self.changed: dict[str, int] = {}
        """Ids whose bytes have changed -> rows in the index."""
        self.n_known = 0
        """Pictures that are in the index and were not yielded."""
        self._images = iter(images)
        self._saved = saved
        self._hasher = hasher
        self._on_changed = on_changed
        ids = saved.images.table["image_id"].to_pylist()
        self._rows = {image_id: row for row, image_id in enumerate(ids)}
        stamps = pq.read_table(saved.folder / "images.parquet", columns=["stamp"])["stamp"]
        # One chunk, as single values are read.
        self._stamps = stamps.cast(pa.large_string()).combine_chunks()
        self._examples: list[str] = []
        self._unreadable: list[str] = []

    def __iter__(self) -> Iterator[Listed]:
        """Yield the new pictures, and the collection's rejected and skipped files.

        Raises:
            ValueError: If pictures have changed and `on_changed` is "raise"; names some.
        """
        while chunk := list(islice(self._images, CHUNK)):
            known = [one for one in chunk if isinstance(one, Image) and one.image_id in self._rows]
            changed = self._find_changed(known)
            for image in chunk:
                if not isinstance(image, Image):
                    yield image
                    continue
                replaces = image.image_id in changed and self._on_changed == "replace"
                if replaces or image.image_id not in self._rows:
                    yield image
                else:
                    self.n_known += 1
        if self._unreadable:
            log.warning(
                "%d pictures of the index cannot be read and remain unchanged, first: %s",
                len(self._unreadable),
                self._unreadable[0],
            )
        if self.changed and self._on_changed == "raise":
            raise ValueError(
                f"{len(self.changed)} pictures have an id of {self._saved.folder} but other bytes: "
                f"{'; '.join(self._examples)}. If they are different pictures, add "
                "data.id_prefix=NAME/ to put NAME/ before their ids; if the files have changed, "
                "add task.on_changed=replace to index the new versions, or task.on_changed=skip "
                "to keep the old ones"
            )

    def _find_changed(self, known: list[Image]) -> set[str]:
        """Return the ids of the changed pictures, and record them in `changed`."""
        rows = [self._rows[image.image_id] for image in known]
        pairs = [(image, self._saved.images[row]) for image, row in zip(known, rows, strict=True)]
        to_compare = [
            (image, before)
            for (image, before), row in zip(pairs, rows, strict=True)
            if not self._is_unmodified(image, before, row)
        ]
        changed = set()
        hashes = self._hash([image for image, _ in to_compare])
        for (image, before), digest in zip(to_compare, hashes, strict=True):
            if digest is None:
                self._unreadable.append(image.uri)
            elif digest != before.digest:
                changed.add(image.image_id)
                self.changed[image.image_id] = self._rows[image.image_id]
                if len(self._examples) < N_NAMED:
                    difference = f"{before.uri} in the index, {image.uri} in the collection"
                    if before.uri == image.uri:
                        difference = f"{image.uri} has changed"
                    self._examples.append(f"{image.image_id}: {difference}")
        return changed

    def _is_unmodified(self, image: Image, before: Image, row: int) -> bool:
        return image.uri == before.uri and self._stamps[row].as_py() == stamp_file(image.path)

    def _hash(self, images: list[Image]) -> list[str | None]:
        """Return the digest of each picture; None for one that cannot be read."""
        try:
            return list(self._hasher(images))
        except (OSError, ValueError) as error:
            if len(images) == 1:
                log.info("%s: %s", images[0].uri, error)
                return [None]
        half = len(images) // 2
        return self._hash(images[:half]) + self._hash(images[half:])


def find_rows(saved: SavedIndex, names: Iterable[str]) -> list[int]:
    """Return the rows of pictures given by id or by path.

    The path of an archive member is `archive.zip::member`.

    Raises:
        ValueError: If a picture is not in the index; suggests similar ids.
    """
    table = saved.images.table.select(["image_id", "path", "member"])
    ids = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    rows, others = set(), []
    for name in names:
        row = ids.get(name, ids.get(make_image_id(name)))
        if row is None:
            others.append(name)
        else:
            rows.add(row)
    if others:
        paths = {
            os.path.normpath(path) + (f"::{member}" if member is not None else ""): row
            for row, (path, member) in enumerate(
                zip(table["path"].to_pylist(), table["member"].to_pylist(), strict=True)
            )
        }
        found = {name: paths.get(_normalize_path(name)) for name in others}
        if unknown := [name for name, row in found.items() if row is None]:
            named = "; ".join(_suggest_ids(name, list(ids)) for name in unknown[:N_NAMED])
            count = f"({len(unknown)} names, first:) " if len(unknown) > N_NAMED else ""
            raise ValueError(f"{saved.folder} has no picture {count}{named}")
        rows |= {row for row in found.values() if row is not None}
    return sorted(rows)


def _normalize_path(name: str) -> str:
    path, separator, member = name.partition("::")
    return os.path.abspath(os.path.expanduser(path)) + separator + member


def _suggest_ids(name: str, ids: list[str]) -> str:
    """Return the name followed by similar ids, if there are any."""
    last = make_image_id(name).rpartition("/")[2]
    similar = [image_id for image_id in ids if image_id.rpartition("/")[2] == last][:N_NAMED]
    if not similar:
        if len(ids) > MAX_COMPARED:
            ids = [one for one in ids if one[:4] == name[:4] or one[-6:] == name[-6:]]
            ids = ids[:MAX_COMPARED]
        similar = difflib.get_close_matches(name, ids, N_NAMED)
    return f"{name!r} (did you mean {' or '.join(map(repr, similar))}?)" if similar else repr(name)
