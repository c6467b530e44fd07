"""The build checkpoint: results of finished chunks and one file of embeddings."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from newsimg.datatypes import Accepted, FloatArray, Rejected
from newsimg.engine.listing import KNOWN, PLACE, Listing, escape
from newsimg.storage.files import (
    name_full_disk,
    read_checked_json,
    write_atomically,
    write_checked_json,
)
from newsimg.storage.metadata.fields import METADATA
from newsimg.storage.pictures.skipped import SKIPPED_PREFIX, Tally

log = logging.getLogger(__name__)

ROW_GROUP = 65_536  # rows of a Parquet file that are compressed together
N_NAMED = 3  # rejected pictures named in an error

SIZES = [("width", pa.int32()), ("height", pa.int32())]
PICTURE = [*PLACE, ("digest", pa.string()), *SIZES, ("truncated", pa.bool_()), *KNOWN]
PICTURE += [("stamp", pa.string()), ("n_cut", pa.int32())]  # see BUILD_COLUMNS
IMAGES = pa.schema([("row_id", pa.int64()), *PICTURE])
REJECTED = pa.schema([("uri", pa.string()), ("reason", pa.string())])
PART = pa.schema([*PICTURE, *REJECTED])


class BuildCheckpoint:
    """A folder with the state of an index build, from which an interrupted job is resumed.

    The results of a chunk are in `parts/`, in a file named after the chunk's number and hash and
    its own hash, which is written after the chunk's embeddings are flushed to `embeddings.f32`.

    Args:
        folder: The folder; created if necessary.
        identity: Settings that the results depend on. A checkpoint with other settings is deleted;
            its embeddings remain in the cache.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        journal = folder / "journal.json"
        if reason := _find_difference(journal, identity):
            log.warning("the build checkpoint in %s %s: starting again", folder, reason)
            shutil.rmtree(folder)
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        if not journal.is_file():
            write_checked_json(journal, identity)
        self._embeddings = folder / "embeddings.f32"
        self._parts: list[Path] = []
        self.n_accepted = self.n_rejected = 0
        self.dim = 0
        self.skipped = Tally()

    def resume(self, listing: Listing) -> int:
        """Load the finished chunks whose input has not changed; return their number.

        From the first damaged chunk on, all are embedded again.
        """
        self.skipped = listing.skipped
        self._embeddings.touch()
        n_bytes = self._embeddings.stat().st_size
        paths = {path.stem.rpartition("-")[0]: path for path in (self.folder / "parts").iterdir()}
        for number in range(listing.n_chunks):
            path = paths.get(_begin_name(listing, number))
            if path is None:
                break
            content = path.read_bytes()
            if not path.stem.endswith(_hash(content)):
                log.warning("%s is damaged: its pictures are embedded again", path)
                break
            part = pq.read_table(pa.BufferReader(content))
            dim, digest = (part.schema.metadata[key].decode() for key in (b"dim", b"embeddings"))
            dim, n_good = int(dim), len(part) - part["width"].null_count
            end = 4 * dim * (self.n_accepted + n_good)
            if end > n_bytes or self._hash_embeddings(end - 4 * dim * n_good, end) != digest:
                log.warning("the embeddings of %s are damaged: they are computed again", path)
                break
            self._count(path, n_good, len(part) - n_good, dim)
        os.truncate(self._embeddings, 4 * self.dim * self.n_accepted)
        for path in set((self.folder / "parts").iterdir()) - set(self._parts):
            path.unlink()
        return len(self._parts)

    def add(self, listing: Listing, number: int, results: list[Accepted | Rejected]) -> None:
        """Write the results of the next chunk; they are flushed to disk on return."""
        good = [one for one in results if isinstance(one, Accepted)]
        content = b"".join(np.asarray(one.embedding, np.float32).tobytes() for one in good)
        with name_full_disk(self._embeddings), self._embeddings.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        dim = self.dim or (len(good[0].embedding) if good else 0)
        stamps = listing.read_stamps(number)
        rows = [_to_row(one) | {"stamp": stamp} for one, stamp in zip(results, stamps, strict=True)]
        table = pa.Table.from_pylist(rows, PART)
        facts = {"dim": str(dim), "embeddings": _hash(content)}
        buffer = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(facts), buffer)
        part = buffer.getvalue().to_pybytes()
        path = self.folder / "parts" / f"{_begin_name(listing, number)}-{_hash(part)}.parquet"
        with write_atomically(path) as temporary:
            temporary.write_bytes(part)
        self._count(path, len(good), len(results) - len(good), dim)

    def open_embeddings(self) -> FloatArray:
        """Return the embeddings, (n_accepted, dim) float32, memory-mapped."""
        if not self.n_accepted:
            return np.empty((0, self.dim), np.float32)
        return np.memmap(self._embeddings, np.float32, "r", shape=(self.n_accepted, self.dim))

    def read_images(self, first_id: int) -> Iterator[pa.Table]:
        """Yield the accepted pictures chunk by chunk, with row ids from `first_id`."""
        for part in self._read_parts():
            good = part.filter(pc.is_valid(part["width"])).select([name for name, _ in PICTURE])
            ids = pa.array(range(first_id, first_id + len(good)), pa.int64())
            first_id += len(good)
            yield good.add_column(0, "row_id", ids).cast(IMAGES)

    def list_ids(self) -> set[str]:
        """Return the ids of the accepted pictures."""
        return {one for table in self.read_images(0) for one in table["image_id"].to_pylist()}

    def read_rejected(self) -> Iterator[pa.Table]:
        """Yield uri and reason of the rejected pictures chunk by chunk.

        Last come the skipped files: the first one of each extension.
        """
        for part in self._read_parts():
            yield part.filter(pc.is_valid(part["reason"])).select(REJECTED.names)
        others = self.skipped.to_rejected()
        rows = [{"uri": escape(one.uri), "reason": escape(one.reason)} for one in others]
        yield pa.Table.from_pylist(rows, REJECTED)

    def _read_parts(self) -> Iterator[pa.Table]:
        for path in self._parts:
            yield pq.read_table(path).replace_schema_metadata(None)

    def _hash_embeddings(self, start: int, end: int) -> str:
        with self._embeddings.open("rb") as file:
            file.seek(start)
            return _hash(file.read(end - start))

    def _count(self, path: Path, n_accepted: int, n_rejected: int, dim: int) -> None:
        self._parts.append(path)
        self.n_accepted += n_accepted
        self.n_rejected += n_rejected
        self.dim = dim or self.dim


def _begin_name(listing: Listing, number: int) -> str:
    return f"{number:06d}-{listing.hash_chunk(number)}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _find_difference(journal: Path, identity: dict[str, Any]) -> str:
    """Return why a checkpoint cannot be resumed; empty if it can, or there is none."""
    if not journal.is_file():
        return ""
    try:
        same = read_checked_json(journal) == identity
    except ValueError:
        return "is damaged"
    return "" if same else "has other settings"


def write_tables(tables: Iterator[pa.Table], schema: pa.Schema, path: Path) -> int:
    """Write tables to one Parquet file, whose bytes depend on their rows alone.

    Args:
        tables: The rows, in any number of tables.
        schema: Schema of the tables.
        path: Path of the file.

    Returns:
        The number of rows.
    """
    n_rows = 0
    waiting: list[pa.Table] = []
    with write_atomically(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            waiting.append(table)
            n_rows += len(table)
            while sum(map(len, waiting)) >= ROW_GROUP:
                merged = pa.concat_tables(waiting)
                writer.write_table(merged.slice(0, ROW_GROUP).combine_chunks())
                waiting = [merged.slice(ROW_GROUP)]
        if waiting and (rest := pa.concat_tables(waiting)):
            writer.write_table(rest.combine_chunks())
    return n_rows


def count_rejected(path: Path) -> int:
    """Return how many pictures a rejected.parquet lists, not counting skipped files."""
    reasons = pq.read_table(path, columns=["reason"])["reason"]
    return len(reasons) - (pc.sum(pc.starts_with(reasons, SKIPPED_PREFIX)).as_py() or 0)


def _to_row(result: Accepted | Rejected) -> dict[str, Any]:
    if isinstance(result, Rejected):
        return {"uri": result.uri, "reason": result.reason}
    image = result.image
    row: dict[str, Any] = {
        "image_id": image.image_id,
        "path": str(image.path),
        "member": image.member,
    }
    row |= {"digest": image.digest, "width": result.width, "height": result.height}
    row |= {"truncated": image.truncated, "n_cut": result.n_cut}
    return row | {name: (image.metadata or {}).get(name) for name in METADATA}


def explain_rejected(checkpoint: BuildCheckpoint, output_dir: Path) -> str:
    """Write `rejected.parquet` for a failing job; return the first reasons and the file's path.

    Args:
        checkpoint: State of the job.
        output_dir: The run's folder, so that the `rejected.parquet` of an existing index is kept.
    """
    examples: list[str] = []

    def read() -> Iterator[pa.Table]:
        for table in checkpoint.read_rejected():
            for row in table.slice(0, N_NAMED - len(examples)).to_pylist():
                examples.append(f"\n  {row['uri']}: {row['reason']}")
            yield table

    path = output_dir / "rejected.parquet"
    if not write_tables(read(), REJECTED, path):
        path.unlink()
        return ""
    return "".join(examples) + f"\nall rejected files with reasons: {path}"
