"""Pictures in a column of a Parquet file, as stored by Hugging Face's datasets library.

A cell is a struct of `bytes` and `path` (`datasets.Image`), bytes, or a list of these. The member
name of a picture is `column/row` or, in a list, `column/row/position`, counted from 0.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from newsimg.storage.pictures.archives import MAX_BYTES, Archive

BATCH = 16  # rows per read of picture bytes
N_KEPT = 4  # cached batches; threads read neighbouring rows
N_LISTED = 4096  # rows per read of paths alone


@dataclass(frozen=True)
class Cell:
    """A picture of a row: its path, if known, and its member name, if the bytes are stored."""

    place: str | None
    member: str | None


class ParquetPictures(Archive):
    """The pictures in a Parquet file.

    Args:
        path: The file.

    Raises:
        ValueError: If the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"damaged archive {path}: {error}; fetch it again") from error
        metadata = self._file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._lock = Lock()
        self._reading: tuple[str, int] | None = None  # column and row group
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next = 0
        self._kept: deque[tuple[str, int, pa.Array]] = deque(maxlen=N_KEPT)

    @property
    def columns(self) -> list[str]:
        """Names of the columns with pictures."""
        return [field.name for field in self._file.schema_arrow if holds_pictures(field.type)]

    def find_type(self, column: str) -> pa.DataType | None:
        """Return the type of a column; None if the column does not exist."""
        place = self._file.schema_arrow.get_field_index(column)
        return None if place < 0 else self._file.schema_arrow.field(place).type

    def names(self) -> list[str]:
        """See `Archive.names`."""
        cells = (cell for name in self.columns for row in self.list_cells(name) for cell in row)
        return [cell.member for cell in cells if cell.member is not None]

    def read(self, name: str) -> bytes:
        """See `Archive.read`. Sequential access is fastest."""
        content = self._find(name)
        if len(content) > MAX_BYTES:
            raise ValueError(f"{len(content)} bytes, the maximum for a picture is {MAX_BYTES}")
        return content

    def list_cells(self, column: str) -> Iterator[list[Cell]]:
        """Yield the pictures of each row.

        The bytes are read only in row groups where the statistics do not exclude nulls.

        Args:
            column: One of `columns`.
        """
        kind = self._file.schema_arrow.field(column).type
        in_list = _is_list(kind)
        element = kind.value_type if in_list else kind
        with_path = types.is_struct(element) and element.get_field_index("path") >= 0
        row = 0
        for group in range(len(self._starts) - 1):
            complete = self._has_all_bytes(column, group)
            if complete and not (in_list or with_path):
                cells: Iterator[Any] = iter([b""] * int(np.diff(self._starts)[group]))
            else:
                leaves = self._find_leaves(column, "path") if complete and with_path else [column]
                cells = self._read_cells(group, leaves, N_LISTED if complete else BATCH)
            for cell in cells:
                elements = (cell or []) if in_list else [cell]
                name = f"{column}/{row}"
                yield [
                    _describe(one, f"{name}/{i}" if in_list else name, complete)
                    for i, one in enumerate(elements)
                ]
                row += 1

    def _read_cells(self, group: int, leaves: list[str], size: int) -> Iterator[Any]:
        for batch in self._file.iter_batches(size, row_groups=[group], columns=leaves):
            yield from batch.column(0).to_pylist()

    def _find_leaves(self, column: str, last: str | None = None) -> list[str]:
        """Return the Parquet leaf columns of a column, all or those of one struct field."""
        schema = self._file.schema
        places = [schema.column(i).path for i in range(len(schema))]
        own = [one for one in places if one == column or one.startswith(f"{column}.")]
        return own if last is None else [one for one in own if one.endswith(f".{last}")]

    def _has_all_bytes(self, column: str, group: int) -> bool:
        """Return whether, by the statistics, all pictures of a row group have bytes."""
        own = self._find_leaves(column, "bytes") or self._find_leaves(column)
        metadata = self._file.metadata.row_group(group)
        for i in range(metadata.num_columns):
            chunk = metadata.column(i)
            if chunk.path_in_schema in own:
                statistics = chunk.statistics
                return statistics is not None and statistics.null_count == 0
        return False

    def _find(self, name: str) -> bytes:
        column, _, rest = name.rpartition("/")
        if column in self.columns:
            cell = self._read_row(column, _to_number(rest, name), name)
        else:
            column, _, row = column.rpartition("/")
            if column not in self.columns:
                raise KeyError(name)
            cells = self._read_row(column, _to_number(row, name), name) or []
            position = _to_number(rest, name)
            if position >= len(cells):
                raise KeyError(name)
            cell = cells[position]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise KeyError(name)
        return content

    def _read_row(self, column: str, row: int, name: str) -> Any:
        if row >= self._starts[-1]:
            raise KeyError(name)
        with self._lock:
            for kept, start, values in self._kept:
                if kept == column and start <= row < start + len(values):
                    return values[row - start].as_py()
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            if self._reading != (column, group) or row < self._next:
                self._reading, self._next = (column, group), int(self._starts[group])
                self._batches = self._file.iter_batches(BATCH, row_groups=[group], columns=[column])
            try:
                for batch in self._batches:
                    start, self._next = self._next, self._next + len(batch)
                    if row < self._next:
                        self._kept.append((column, start, batch.column(0)))
                        return batch.column(0)[row - start].as_py()
            except (pa.ArrowInvalid, OSError) as error:
                self._reading = None
                raise ValueError(f"damaged archive member: {error}") from error
        raise KeyError(name)


def holds_pictures(kind: pa.DataType) -> bool:
    """Return whether a column type is bytes, a struct with bytes, or a list of these."""
    element = kind.value_type if _is_list(kind) else kind
    if types.is_struct(element):
        place = element.get_field_index("bytes")
        return place >= 0 and _is_binary(element.field(place).type)
    return _is_binary(element)


def _is_list(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _describe(cell: Any, member: str, complete: bool) -> Cell:
    if isinstance(cell, dict):
        has_bytes = complete or cell.get("bytes") is not None
        return Cell(cell.get("path") or None, member if has_bytes else None)
    return Cell(None, member if cell is not None else None)


def _to_number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise KeyError(name)
    return int(text)
