"""What changes in a saved index: pictures that are new, that have other bytes now, that go."""

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
CHUNK = 512  # pictures that are compared at once
N_NAMED = 3  # pictures that a message names
MANY = 200_000  # ids among which similar ones are looked for by their beginning or end alone

Hasher = Callable[[Sequence[Image]], list[str]]
"""Returns the SHA-256 of each picture's bytes."""


class Newcomers:
    """The pictures of a collection that an index lacks, in the collection's order.

    A picture whose id the index has is compared with what it has: nothing is read where place, size
    and time of change are as they were, elsewhere the bytes are compared.

    Args:
        images: The collection.
        saved: The index.
        hasher: Hashes pictures.
        on_changed: What becomes of those with other bytes: "raise" an error when all are known,
            "skip" them, or "replace" what the index has, so that they come as well.
    """

    def __init__(
        self, images: Iterable[Listed], saved: SavedIndex, hasher: Hasher, on_changed: str
    ) -> None:
        self.changed: dict[str, int] = {}
        """Ids with other bytes -> their rows in the index."""
        self._images = iter(images)
        self._saved = saved
        self._hasher = hasher
        self._on_changed = on_changed
        ids = saved.images.table["image_id"].to_pylist()
        self._rows = {image_id: row for row, image_id in enumerate(ids)}
        stamps = pq.read_table(saved.folder / "images.parquet", columns=["stamp"])["stamp"]
        # In one piece: there is a chunk for every few hundred pictures.
        self._stamps = stamps.cast(pa.large_string()).combine_chunks()
        self._examples: list[str] = []
        self._unreadable: list[str] = []

    def __iter__(self) -> Iterator[Listed]:
        """Yield them, and what else the collection lists.

        Raises:
            ValueError: If pictures have other bytes than those of the same id, and `on_changed` is
                "raise"; names some.
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
        if self._unreadable:
            log.warning(
                "%d pictures of the index cannot be read here and stay as they are, %s the first",
                len(self._unreadable),
                self._unreadable[0],
            )
        if self.changed and self._on_changed == "raise":
            raise ValueError(
                f"{len(self.changed)} known ids with other bytes than in {self._saved.folder}, "
                f"{'; '.join(self._examples)}. If they are other pictures, "
                "data.id_prefix=NAME/ sets NAME/ before their ids; if they were changed, "
                "task.on_changed=replace takes them as they are now, task.on_changed=skip keeps "
                "what the index has"
            )

    def _find_changed(self, known: list[Image]) -> set[str]:
        """Return the ids of the pictures with other bytes, and remember them."""
        rows = [self._rows[image.image_id] for image in known]
        pairs = [(image, self._saved.images[row]) for image, row in zip(known, rows, strict=True)]
        doubtful = [
            (image, before)
            for (image, before), row in zip(pairs, rows, strict=True)
            if not self._is_untouched(image, before, row)
        ]
        changed = set()
        hashes = self._hash([image for image, _ in doubtful])
        for (image, before), digest in zip(doubtful, hashes, strict=True):
            if digest is None:
                self._unreadable.append(image.uri)
            elif digest != before.digest:
                changed.add(image.image_id)
                self.changed[image.image_id] = self._rows[image.image_id]
                if len(self._examples) < N_NAMED:
                    places = f"{before.uri} there, {image.uri} here"
                    if before.uri == image.uri:
                        places = f"{image.uri} was changed"
                    self._examples.append(f"{image.image_id}: {places}")
        return changed

    def _is_untouched(self, image: Image, before: Image, row: int) -> bool:
        return image.uri == before.uri and self._stamps[row].as_py() == stamp_file(image.path)

    def _hash(self, images: list[Image]) -> list[str | None]:
        """Return the digest of each picture; None of one that cannot be read."""
        try:
            return list(self._hasher(images))
        except (OSError, ValueError) as error:
            if len(images) == 1:
                log.info("%s: %s", images[0].uri, error)
                return [None]
        half = len(images) // 2
        return self._hash(images[:half]) + self._hash(images[half:])


def find_named(saved: SavedIndex, names: Iterable[str]) -> list[int]:
    """Return the rows of pictures by id, or by path as the shell writes it.

    A member of an archive has the path `archive.zip::member`.

    Raises:
        ValueError: If there is no such picture; names similar ones.
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
        places = {
            os.path.normpath(path) + (f"::{member}" if member is not None else ""): row
            for row, (path, member) in enumerate(
                zip(table["path"].to_pylist(), table["member"].to_pylist(), strict=True)
            )
        }
        found = {name: places.get(_find_place(name)) for name in others}
        if unknown := [name for name, row in found.items() if row is None]:
            named = "; ".join(_ask(name, list(ids)) for name in unknown[:N_NAMED])
            many = f"{len(unknown)} of these names; " if len(unknown) > N_NAMED else ""
            raise ValueError(f"{saved.folder} has no picture {many}{named}")
        rows |= {row for row in found.values() if row is not None}
    return sorted(rows)


def _find_place(name: str) -> str:
    path, inside, member = name.partition("::")
    return os.path.abspath(os.path.expanduser(path)) + inside + member


def _ask(name: str, ids: list[str]) -> str:
    """Return the name, and which ids may have been meant."""
    last = make_image_id(name).rpartition("/")[2]
    near = [image_id for image_id in ids if image_id.rpartition("/")[2] == last][:N_NAMED]
    if not near:
        if len(ids) > MANY:
            ids = [one for one in ids if one[:4] == name[:4] or one[-6:] == name[-6:]][:MANY]
        near = difflib.get_close_matches(name, ids, N_NAMED)
    return f"{name!r} (did you mean {' or '.join(map(repr, near))}?)" if near else repr(name)
