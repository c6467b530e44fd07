"""A persistent key-value store for concurrent readers and writers, without a server.

It is a folder of immutable Parquet files with the columns key, row and crc. The name of a file is
the SHA-256 of its bytes. Files are written under a temporary name, synced and renamed, so that a
file is complete or absent. Reads verify the page checksums of Parquet and the crc of each row. Two
writers of the same row leave two copies.
"""

import hashlib
import io
import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import IntArray
from newsimg.storage.files import hash_file, write_atomically
from newsimg.storage.key_table import KeyTable

log = logging.getLogger(__name__)

MERGE_AT = 64  # number of small files of one writer that triggers a merge
GROUP_ROWS = 256  # rows per Parquet row group, the unit of reading
MAX_CACHED_GROUPS = 32
SMALL_BYTES = 1 << 20  # a merged file below this size is merged again
MAX_GROUPS = 1 << 24  # row groups per file
MAX_ROWS = MAX_GROUPS * GROUP_ROWS
KEY = pa.binary(32)
T = TypeVar("T")


class DamagedFileError(Exception):
    """The content of a file has changed since it was written."""


def digest_key(key: str) -> bytes:
    """Return the SHA-256 of a key, under which its row is stored."""
    return hashlib.sha256(key.encode()).digest()


def _in_turn(method: Callable[..., T]) -> Callable[..., T]:
    """Run a method of `ShardFolder` in one thread at a time."""

    @wraps(method)
    def run(self: "ShardFolder", *arguments: Any) -> T:
        with self._lock:
            return method(self, *arguments)

    return run


class ShardFolder:
    """A key-value store in a folder; only the keys are in memory.

    Args:
        folder: Folder of the files; created at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_damaged = 0
        self._lock = RLock()  # two batches may be embedded at a time
        self._unmerged: dict[Path, dict[bytes, bytes]] = {}
        self._reset()

    @_in_turn
    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key, or None; each row group is read once.

        Includes rows that other processes have written. Damaged files are renamed to *.damaged and
        their rows count as missing.

        Raises:
            OSError: If the folder or a file in it is not readable.
        """
        places = self._table.find(keys)
        if (places < 0).any():
            self._load_new()
            places = self._table.find(keys)
        rows: list[bytes | None] = [None] * len(keys)
        order = np.argsort(places, kind="stable")
        order = order[places[order] >= 0]
        groups, starts = np.unique(places[order] // GROUP_ROWS, return_index=True)
        for group, start, stop in zip(groups.tolist(), starts, [*starts[1:], None], strict=False):
            wanted, path = order[start:stop], self._paths[group // MAX_GROUPS]
            found: list[bytes] = []
            with self._set_aside_if_damaged(path):
                part = self._read_group(path, group % MAX_GROUPS)
                found = _take(part, places[wanted] % GROUP_ROWS, [keys[i] for i in wanted])
            if not found:  # the file has been merged by its writer, or is damaged
                self._reset()
                return self.read(keys)
            for i, row in zip(wanted, found, strict=True):
                rows[i] = row
        return rows

    @_in_turn
    def add(self, rows: Mapping[bytes, bytes]) -> None:
        """Write rows of equal width; they are on disk when this returns.

        Raises:
            OSError: If they cannot be written; the folder is then unchanged.
        """
        self._unmerged[self._write(rows)] = dict(rows)
        if len(self._unmerged) >= MERGE_AT:
            self.merge()

    @_in_turn
    def merge(self) -> None:
        """Merge this writer's small files into one."""
        if len(self._unmerged) <= 1:
            return
        merged: dict[bytes, bytes] = {}
        for rows in self._unmerged.values():
            merged |= rows
        kept = self._write(merged)
        for path in self._unmerged:
            if path != kept:
                path.unlink(missing_ok=True)
        self._unmerged.clear()
        if kept.stat().st_size < SMALL_BYTES:
            self._unmerged[kept] = merged

    def verify(self) -> int:
        """Read every file, rename damaged ones to *.damaged and return their number."""
        n_before = self.n_damaged
        for path in sorted(self.folder.glob("*.parquet")):
            with self._set_aside_if_damaged(path):
                if not _is_intact(path):
                    raise DamagedFileError("its SHA-256 differs from its name")
        self._reset()
        return self.n_damaged - n_before

    def _write(self, rows: Mapping[bytes, bytes]) -> Path:
        widths = {len(row) for row in rows.values()}  # several, or 0, in rows of text
        width = widths.pop() if len(widths) == 1 and 0 not in widths else -1  # -1: variable
        table = pa.table(
            {
                "key": pa.array(list(rows), KEY),
                "row": pa.array(list(rows.values()), pa.binary(width)),
                "crc": pa.array([zlib.crc32(key + row) for key, row in rows.items()], pa.uint32()),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(
            table,
            buffer,
            compression="none",
            use_dictionary=False,
            row_group_size=GROUP_ROWS,
            write_page_checksum=True,
        )
        content = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
        write_to_cache(path, content)
        self._loaded.add(path.name)
        self._table.add(list(rows), self._number(path))
        return path

    def _number(self, path: Path) -> int:
        """Return the position of a file's first row in the key table."""
        self._paths.append(path)
        return (len(self._paths) - 1) * MAX_ROWS

    def _load_new(self) -> None:
        """Load the keys of new files."""
        while new := [name for name in self._list_names() if name not in self._loaded]:
            # Listed again, because a file may be merged into a new one before it is read.
            self._table.add_blocks(self._read_keys(sorted(new)))

    def _list_names(self) -> list[str]:
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return [name for name in names if name.endswith(".parquet")]

    def _read_keys(self, names: list[str]) -> Iterator[tuple[bytes, int]]:
        for path in (self.folder / name for name in names):
            self._loaded.add(path.name)
            with self._set_aside_if_damaged(path):
                with _open(path) as file:
                    keys = file.read(["key"])["key"].combine_chunks()
                if keys.type != KEY:
                    raise DamagedFileError(f"its keys have the type {keys.type}")
                start, size = keys.offset * KEY.byte_width, len(keys) * KEY.byte_width
                yield keys.buffers()[1].slice(start, size).to_pybytes(), self._number(path)

    def _read_group(self, path: Path, group: int) -> pa.Table:
        """Return a row group of a file, from the cache in memory if it is there."""
        if (path, group) not in self._groups:
            with _open(path) as file:
                self._groups[path, group] = file.read_row_group(group).combine_chunks()
        self._groups.move_to_end((path, group))
        while len(self._groups) > MAX_CACHED_GROUPS:
            self._groups.popitem(last=False)
        return self._groups[path, group]

    @contextmanager
    def _set_aside_if_damaged(self, path: Path) -> Iterator[None]:
        """Rename the file to *.damaged if reading shows damage; ignore a file that is gone."""
        try:
            yield
        except FileNotFoundError:
            return
        except Exception as error:  # corrupt Parquet files raise many types of errors
            if isinstance(error, OSError) and error.errno:
                raise
            aside = path.with_suffix(".damaged")
            with suppress(FileNotFoundError):  # renamed by another process
                if _is_intact(path):
                    raise
                path.replace(aside)
                self.n_damaged += 1
                log.warning(
                    "damaged cache file set aside, its rows are computed again: %s (%s)",
                    aside,
                    error,
                )

    def _reset(self) -> None:
        self._table = KeyTable()
        self._paths: list[Path] = []
        self._loaded: set[str] = set()
        self._groups: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True)


def _is_intact(path: Path) -> bool:
    return hash_file(path) == path.stem


def _take(group: pa.Table, positions: IntArray, keys: Sequence[bytes]) -> list[bytes]:
    """Return some rows of a group, after checking their keys and crc."""
    taken = group.take(positions)
    rows: list[bytes] = taken["row"].to_pylist()
    crcs = [zlib.crc32(key + row) for key, row in zip(keys, rows, strict=True)]
    if taken["key"].to_pylist() != list(keys) or taken["crc"].to_pylist() != crcs:
        raise DamagedFileError("a row is not what was written")
    return rows


def write_to_cache(path: Path, content: bytes) -> None:
    """Write a cache file atomically.

    Raises:
        OSError: If the file cannot be written; names the file, the reason and the option to set.
    """
    with explain_cache_errors(path), write_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def explain_cache_errors(path: Path) -> Iterator[None]:
    """Add the file or folder, the reason and the option to set to errors of writing."""
    try:
        yield
    except OSError as error:
        reason = f"cannot write to the cache ({error.strerror}); set cache.dir to another folder"
        raise OSError(error.errno, reason, str(path)) from error


def to_bytes(rows: np.ndarray) -> list[bytes]:
    """Convert the rows of an array to bytes."""
    return [row.tobytes() for row in np.ascontiguousarray(rows, dtype=np.float32)]


def from_bytes(rows: list[bytes]) -> np.ndarray:
    """Convert bytes back to (n_rows, width) float32."""
    return np.frombuffer(b"".join(rows), dtype=np.float32).reshape(len(rows), -1)
