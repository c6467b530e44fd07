"""A persistent map from keys to rows of bytes, for many readers and writers, without a server.

A map is a folder of immutable Parquet files with the columns key, row and crc. A file is named by
the SHA-256 of its own bytes, is written under a temporary name, synced and renamed, so that it is
there whole or not at all. What is read is checked: pages by their checksums, each row by its crc.
Two writers of the same rows leave two copies.
"""

import hashlib
import io
import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import IntArray
from newsimg.storage.files import hash_file, write_atomically
from newsimg.storage.key_table import KeyTable

log = logging.getLogger(__name__)

MERGE_AT = 64  # small files of one writer that become one larger file
GROUP_ROWS = 256  # rows that are read at once
GROUPS_AT_HAND = 32
SMALL_BYTES = 1 << 20  # a merged file below this size is merged again
MOST_GROUPS = 1 << 24  # of a file
MOST_ROWS = MOST_GROUPS * GROUP_ROWS
KEY = pa.binary(32)


class DamagedFileError(Exception):
    """A file does not have what it was written with."""


def digest_key(key: str) -> bytes:
    """Return the 32 bytes by which a key is stored."""
    return hashlib.sha256(key.encode()).digest()


class ShardFolder:
    """One map; of every file only the keys are in memory.

    Args:
        folder: Where the files are; made when the first row is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_damaged = 0
        self._unmerged: dict[Path, dict[bytes, bytes]] = {}
        self._forget()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the rows of `keys`, where they are there, reading each part of a file once.

        What other processes have written is found, too. A file that proves damaged is set aside,
        and what it had is no longer there.

        Raises:
            OSError: If the folder or a file in it may not be read.
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
            wanted, path = order[start:stop], self._paths[group // MOST_GROUPS]
            found: list[bytes] = []
            with self._setting_aside(path):
                part = self._read_group(path, group % MOST_GROUPS)
                found = _take(part, places[wanted] % GROUP_ROWS, [keys[i] for i in wanted])
            if not found:  # the file was merged by its writer meanwhile, or is damaged
                self._forget()
                return self.read(keys)
            for i, row in zip(wanted, found, strict=True):
                rows[i] = row
        return rows

    def add(self, rows: Mapping[bytes, bytes]) -> None:
        """Write rows of one width; they are safe on disk when this returns.

        Raises:
            OSError: If they cannot be written; the folder is then as it was.
        """
        self._unmerged[self._write(rows)] = dict(rows)
        if len(self._unmerged) >= MERGE_AT:
            self.merge()

    def merge(self) -> None:
        """Replace this writer's small files by one."""
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
        """Read every file, set damaged ones aside, and return how many there were."""
        n_before = self.n_damaged
        for path in sorted(self.folder.glob("*.parquet")):
            with self._setting_aside(path):
                if not _is_whole(path):
                    raise DamagedFileError("its bytes are not those that it is named by")
        self._forget()
        return self.n_damaged - n_before

    def _write(self, rows: Mapping[bytes, bytes]) -> Path:
        width = len(next(iter(rows.values())))
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
        """Return the place of a file's first row."""
        self._paths.append(path)
        return (len(self._paths) - 1) * MOST_ROWS

    def _load_new(self) -> None:
        """Load the keys of files that are not known yet."""
        while new := [name for name in self._list_names() if name not in self._loaded]:
            # Some may be gone before they are read, merged into one that must be listed, too.
            self._table.add_blocks(self._read_keys(sorted(new)))

    def _list_names(self) -> list[str]:
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return [name for name in names if name.endswith(".parquet")]

    def _read_keys(self, names: list[str]) -> Iterator[tuple[bytes, int]]:
        for path in (self.folder / name for name in names):
            self._loaded.add(path.name)
            with self._setting_aside(path):
                with _open(path) as file:
                    if "crc" not in file.schema_arrow.names and not _is_whole(path):
                        raise DamagedFileError("its bytes are not those that it is named by")
                    keys = file.read(["key"])["key"].combine_chunks()
                if keys.type != KEY:
                    raise DamagedFileError(f"its keys are {keys.type}")
                start, size = keys.offset * KEY.byte_width, len(keys) * KEY.byte_width
                yield keys.buffers()[1].slice(start, size).to_pybytes(), self._number(path)

    def _read_group(self, path: Path, group: int) -> pa.Table:
        """Return so many rows of a file, and keep them at hand."""
        if (path, group) not in self._groups:
            with _open(path) as file:
                if "crc" in file.schema_arrow.names:
                    rows = file.read_row_group(group)
                else:  # of newsimg's first days
                    rows = file.read().slice(group * GROUP_ROWS, GROUP_ROWS)
            self._groups[path, group] = rows.combine_chunks()
        self._groups.move_to_end((path, group))
        while len(self._groups) > GROUPS_AT_HAND:
            self._groups.popitem(last=False)
        return self._groups[path, group]

    @contextmanager
    def _setting_aside(self, path: Path) -> Iterator[None]:
        """Rename a file that proves damaged, and pass over one that is not there any more."""
        try:
            yield
        except FileNotFoundError:
            return
        except Exception as error:  # altered bytes make Parquet raise errors of all kinds
            if isinstance(error, OSError) and error.errno:
                raise
            aside = path.with_suffix(".damaged")
            with suppress(FileNotFoundError):  # another process was faster
                if _is_whole(path):
                    raise
                path.replace(aside)
                self.n_damaged += 1
                log.warning(
                    "a damaged file of the cache is set aside, to be computed again: %s (%s)",
                    aside,
                    error,
                )

    def _forget(self) -> None:
        self._table = KeyTable()
        self._paths: list[Path] = []
        self._loaded: set[str] = set()
        self._groups: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True)


def _is_whole(path: Path) -> bool:
    return hash_file(path) == path.stem


def _take(group: pa.Table, positions: IntArray, keys: Sequence[bytes]) -> list[bytes]:
    """Return rows of a group, which must be those of `keys` and as they were written."""
    taken = group.take(positions)
    rows: list[bytes] = taken["row"].to_pylist()
    crcs = [zlib.crc32(key + row) for key, row in zip(keys, rows, strict=True)]
    same_crcs = "crc" not in taken.column_names or taken["crc"].to_pylist() == crcs
    if taken["key"].to_pylist() != list(keys) or not same_crcs:
        raise DamagedFileError("a row is not what was written")
    return rows


def write_to_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all.

    Raises:
        OSError: If it cannot be written; names the file, the reason and the remedy.
    """
    with explain_cache_errors(path), write_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def explain_cache_errors(path: Path) -> Iterator[None]:
    """Have an error of writing to the cache name the file or folder, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        reason = f"cannot write to the cache ({error.strerror}); set cache.dir"
        raise OSError(error.errno, reason, str(path)) from error


def to_bytes(rows: np.ndarray) -> list[bytes]:
    """Turn the rows of an array into bytes."""
    return [row.tobytes() for row in np.ascontiguousarray(rows, dtype=np.float32)]


def from_bytes(rows: list[bytes]) -> np.ndarray:
    """Turn bytes back into (n_rows, width) float32."""
    return np.frombuffer(b"".join(rows), dtype=np.float32).reshape(len(rows), -1)
