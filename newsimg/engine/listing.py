"""An on-disk listing of a collection's pictures, which fixes their number and order.

The file is memory-mapped, so that a listing of any length can be read repeatedly.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from newsimg.datatypes import Image, Listed, Rejected, SkippedFile
from newsimg.storage.files import write_atomically
from newsimg.storage.metadata.fields import METADATA
from newsimg.storage.pictures.skipped import Tally

PLACE = [("image_id", pa.string()), ("path", pa.string()), ("member", pa.string())]
KNOWN = [(name, pa.string()) for name in METADATA]
SCHEMA = pa.schema([*PLACE, ("stamp", pa.string()), ("reason", pa.string()), *KNOWN])


class Listing:
    """The pictures of a collection, in chunks of equal size (the last may be smaller).

    Args:
        path: File written by `write_listing`.
        skipped: Counts of skipped files, which are not in the file.
    """

    def __init__(self, path: Path, skipped: Tally | None = None) -> None:
        self.path = path
        self.skipped = skipped or Tally()
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.n_chunks = self._reader.num_record_batches
        self._ids = pa.chunked_array(
            [self._reader.get_batch(i)["image_id"] for i in range(self.n_chunks)], pa.string()
        )

    def __len__(self) -> int:
        return len(self._ids)

    def size_of(self, number: int) -> int:
        """Return the number of pictures in a chunk."""
        return int(self._reader.get_batch(number).num_rows)

    def read_chunk(self, number: int) -> list[Image | Rejected]:
        """Return the pictures of a chunk and the rejected locations."""
        return [_to_picture(row) for row in self._reader.get_batch(number).to_pylist()]

    def read_rows(self, start: int, stop: int) -> list[Image | Rejected]:
        """Return the pictures at some positions, and the rejected locations."""
        size = self.size_of(0)
        rows: list[dict[str, Any]] = []
        while start < stop:
            number, first = divmod(start, size)
            part = self._reader.get_batch(number).slice(first, stop - start)
            rows += part.to_pylist()
            start += len(part)
        return [_to_picture(row) for row in rows]

    def hash_chunk(self, number: int) -> str:
        """Return a hash of a chunk's ids, paths, file sizes and modification times."""
        batch = self._reader.get_batch(number)
        return hashlib.sha256(repr(batch.to_pylist()).encode()).hexdigest()[:16]

    def read_stamps(self, number: int) -> list[str | None]:
        """Return size and modification time of each file of a chunk."""
        return self._reader.get_batch(number)["stamp"].to_pylist()

    def check_ids(self) -> None:
        """Check that image ids are unique.

        Raises:
            ValueError: If two pictures have the same id; names both.
        """
        order = pc.sort_indices(self._ids)
        ids = self._ids.take(order)
        same = pc.equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0)))
        duplicate = pc.fill_null(same, False)  # rejected entries have no id
        for position in np.flatnonzero(duplicate.to_numpy()):
            rows = [order[int(position) + i].as_py() for i in (0, 1)]
            first, second = (self._find(row) for row in rows)
            raise ValueError(
                f"two pictures for one image id {ids[int(position)]}: {first}, {second}"
            )

    def _find(self, row: int) -> str:
        for number in range(self.n_chunks):
            batch = self._reader.get_batch(number)
            if row < len(batch):
                picture = _to_picture(batch.slice(row, 1).to_pylist()[0])
                return picture.uri
            row -= len(batch)
        raise IndexError(row)


def write_listing(found: Iterable[Listed], path: Path, chunk_size: int) -> Listing:
    """Write a listing to a file in chunks.

    Args:
        found: Results of listing a collection, in the order of the listing.
        path: Output file.
        chunk_size: Pictures per chunk.

    Raises:
        ValueError: If two pictures have the same id.
    """
    stamps: dict[Path, str] = {}
    skipped = Tally()
    with write_atomically(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        writer = pa.ipc.new_file(file, SCHEMA)
        ascending, last = True, ""
        iterator = _count_skipped(found, skipped)
        while chunk := [_to_row(one, stamps) for one in islice(iterator, chunk_size)]:
            for image_id in filter(None, (row["image_id"] for row in chunk)):
                ascending, last = ascending and last < image_id, image_id
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, SCHEMA))
        writer.close()
    listing = Listing(path, skipped)
    if not ascending:
        listing.check_ids()
    return listing


def _count_skipped(found: Iterable[Listed], skipped: Tally) -> Iterator[Image | Rejected]:
    for one in found:
        if isinstance(one, SkippedFile):
            skipped.add(one)
        else:
            yield one


def _to_row(image: Image | Rejected, stamps: dict[Path, str]) -> dict[str, Any]:
    if isinstance(image, Rejected):
        return {"image_id": None, "path": escape(image.uri), "reason": escape(image.reason)}
    row = {"image_id": image.image_id, "path": str(image.path), "member": image.member}
    row |= {name: (image.metadata or {}).get(name) for name in METADATA}
    try:
        image.uri.encode()
        image.image_id.encode()
    except UnicodeEncodeError:  # file names are bytes, Arrow strings must be UTF-8
        escaped = {key: value and escape(value) for key, value in row.items()}
        return escaped | {"reason": "its name is not UTF-8"}
    if image.member is None or image.path not in stamps:
        if image.member is None:
            stamps.clear()
        stamps[image.path] = stamp_file(image.path)
    return row | {"stamp": stamps[image.path]}


def escape(text: str) -> str:
    """Escape bytes that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def stamp_file(path: Path) -> str:
    """Return size and modification time of a file, or the type of the error if unavailable."""
    try:
        status = path.stat()
    except OSError as error:  # reported when the file is read
        return type(error).__name__
    return f"{status.st_size}|{status.st_mtime_ns}"


def _to_picture(row: dict[str, Any]) -> Image | Rejected:
    if row["image_id"] is None:
        return Rejected(row["path"], row["reason"])
    metadata = {name: row[name] for name in METADATA if row[name]}
    image = Image(row["image_id"], Path(row["path"]), row["member"], metadata=metadata)
    return image if row["reason"] is None else Rejected(image.uri, row["reason"])
