"""A persistent map from keys to rows of bytes, for many readers and writers, without a server.

A map is a folder of immutable Parquet files. A file is named by the SHA-256 of its own bytes, so
that a torn or altered one gives itself away; it is written under a temporary name, synced and
renamed, so that it is there whole or not at all. Two writers of the same rows leave two copies.
"""

import hashlib
import io
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.files import hash_file, write_atomically

log = logging.getLogger(__name__)

MERGE_AT = 64  # small files of one writer that become one larger file
GROUP_ROWS = 1024  # rows that are read at once
GROUPS_AT_HAND = 8
SMALL_BYTES = 1 << 20  # a merged file below this size is merged again


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
        self.rows = ShardRows(self)
        self.n_damaged = 0
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._loaded: set[str] = set()
        self._unmerged: dict[Path, dict[bytes, bytes]] = {}
        self._groups: OrderedDict[tuple[Path, int], list[bytes]] = OrderedDict()

    def refresh(self) -> None:
        """Load the keys that other processes have written since the last time.

        Raises:
            OSError: If the folder or a file in it may not be read.
        """
        complete = False
        while not complete:
            complete = True
            for path in sorted(self.folder.glob("*.parquet")):
                if path.name not in self._loaded:
                    try:
                        self._place(path, self._load_keys(path))
                    except FileNotFoundError:  # merged by its writer: the new file must be listed
                        complete = False
                    self._loaded.add(path.name)

    def read(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the rows of `keys`, reading each part of a file once.

        Raises:
            KeyError: If a key is not there.
            OSError: If a file may not be read.
        """
        places = [self._places[key] for key in keys]
        rows = [b""] * len(keys)
        try:
            for i in sorted(range(len(keys)), key=places.__getitem__):
                path, row = places[i]
                group, within = divmod(row, GROUP_ROWS)
                rows[i] = self._read_group(path, group)[within]
        except FileNotFoundError:  # merged by its writer meanwhile: the rows are in another file
            self._forget()
            self.refresh()
            return self.read(keys)
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

    def _write(self, rows: Mapping[bytes, bytes]) -> Path:
        width = len(next(iter(rows.values())))
        table = pa.table(
            {
                "key": pa.array(list(rows), pa.binary(32)),
                "row": pa.array(list(rows.values()), pa.binary(width)),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(
            table, buffer, compression="none", use_dictionary=False, row_group_size=GROUP_ROWS
        )
        content = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
        write_to_store(path, content)
        self._loaded.add(path.name)
        self._place(path, rows)
        return path

    def _place(self, path: Path, keys: Iterable[bytes]) -> None:
        self._places.update((key, (path, row)) for row, key in enumerate(keys))

    def _load_keys(self, path: Path) -> list[bytes]:
        if hash_file(path) != path.stem:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            self.n_damaged += 1
            log.warning("a damaged file of the store is set aside, to be computed again: %s", aside)
            return []
        with pq.ParquetFile(path) as file:
            return file.read(["key"])["key"].to_pylist()

    def _read_group(self, path: Path, group: int) -> list[bytes]:
        """Return so many rows of a file, and keep them at hand."""
        if (path, group) not in self._groups:
            with pq.ParquetFile(path) as file:
                if file.num_row_groups == 1:  # written before there were several
                    rows = file.read(["row"])["row"]
                    rows = rows.slice(group * GROUP_ROWS, GROUP_ROWS)
                else:
                    rows = file.read_row_group(group, ["row"])["row"]
            self._groups[path, group] = rows.to_pylist()
        self._groups.move_to_end((path, group))
        while len(self._groups) > GROUPS_AT_HAND:
            self._groups.popitem(last=False)
        return self._groups[path, group]

    def _forget(self) -> None:
        self._places.clear()
        self._loaded.clear()
        self._groups.clear()


class ShardRows(Mapping[bytes, bytes]):
    """The rows of a folder as far as they are known, read from disk when asked for."""

    def __init__(self, shards: ShardFolder) -> None:
        self._shards = shards

    def __getitem__(self, key: bytes) -> bytes:
        return self._shards.read([key])[0]

    def __contains__(self, key: object) -> bool:
        return key in self._shards._places

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._shards._places)

    def __len__(self) -> int:
        return len(self._shards._places)


def write_to_store(path: Path, content: bytes) -> None:
    """Write a file of the store, whole or not at all.

    Raises:
        OSError: If it cannot be written; names the file, the reason and the remedy.
    """
    try:
        with write_atomically(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        reason = f"cannot write to the store ({error.strerror}); set store.dir"
        raise OSError(error.errno, reason, str(path)) from error


def to_bytes(rows: np.ndarray) -> list[bytes]:
    """Turn the rows of an array into bytes."""
    return [row.tobytes() for row in np.ascontiguousarray(rows, dtype=np.float32)]


def from_bytes(rows: list[bytes]) -> np.ndarray:
    """Turn bytes back into (n_rows, width) float32."""
    return np.frombuffer(b"".join(rows), dtype=np.float32).reshape(len(rows), -1)
