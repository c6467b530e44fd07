"""A persistent map from keys to rows of bytes, for many readers and writers, without a server.

A map is a folder of immutable Parquet files. A file is named by the SHA-256 of its own bytes, so
that a torn or altered one gives itself away; it is written under a temporary name, synced and
renamed, so that it is there whole or not at all. Two writers of the same rows leave two copies.
"""

import hashlib
import io
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.files import write_atomically

log = logging.getLogger(__name__)

MERGE_AT = 64  # small files of one writer that become one larger file
SMALL_BYTES = 1 << 20  # a merged file below this size is merged again


def digest_key(key: str) -> bytes:
    """Return the 32 bytes by which a key is stored."""
    return hashlib.sha256(key.encode()).digest()


class ShardFolder:
    """One map; every file is read once.

    Args:
        folder: Where the files are; made when the first row is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[bytes, bytes] = {}
        self.n_damaged = 0
        self._loaded: set[str] = set()
        self._unmerged: dict[Path, dict[bytes, bytes]] = {}

    def refresh(self) -> None:
        """Load what other processes have written since the last time.

        Raises:
            OSError: If the folder or a file in it may not be read.
        """
        complete = False
        while not complete:
            complete = True
            for path in sorted(self.folder.glob("*.parquet")):
                if path.name not in self._loaded:
                    try:
                        self.rows.update(self._load(path))
                    except FileNotFoundError:  # merged by its writer: the new file must be listed
                        complete = False
                    self._loaded.add(path.name)

    def add(self, rows: Mapping[bytes, bytes]) -> None:
        """Write rows of one width; they are safe on disk when this returns.

        Raises:
            OSError: If they cannot be written; the folder is then as it was.
        """
        self._unmerged[self._write(rows)] = dict(rows)
        self.rows.update(rows)
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
        pq.write_table(table, buffer, compression="none", use_dictionary=False)
        content = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
        write_to_store(path, content)
        self._loaded.add(path.name)
        return path

    def _load(self, path: Path) -> Iterable[tuple[bytes, bytes]]:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != path.stem:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            self.n_damaged += 1
            log.warning("a damaged file of the store is set aside, to be computed again: %s", aside)
            return []
        table = pq.read_table(io.BytesIO(content))
        return zip(table["key"].to_pylist(), table["row"].to_pylist(), strict=True)


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
