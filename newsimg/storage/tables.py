"""Tables of pictures (Parquet or CSV), read in batches."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from newsimg.datatypes import Image
from newsimg.storage.csv_table import find_separator, read_header, read_table
from newsimg.storage.metadata.fields import ALIASES, COLUMNS, clean_metadata
from newsimg.storage.pictures.archives import open_archive
from newsimg.storage.table_text import find_formatter, is_text

log = logging.getLogger(__name__)


def stream_table(
    path: Path, required: Sequence[str], optional: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Yield the rows of a Parquet or CSV file, all values as text, null as "".

    Args:
        path: The table, .parquet or .csv.
        required: Columns that must exist.
        optional: Columns that are read if they exist.

    Raises:
        FileNotFoundError: If the table does not exist.
        ValueError: If it cannot be read or lacks a column.
    """
    import pyarrow as pa

    if not path.is_file():
        raise FileNotFoundError(f"no table of pictures at {path}")
    try:
        for batch in _read_batches(path, required, optional):
            yield from batch
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"cannot read the table {path}: {error}") from error


def stream_places(path: Path, column: str) -> Iterator[list[tuple[str | None, str | None]]]:
    """Yield the locations of each row's pictures: paths, and members of the table itself.

    Args:
        path: The table.
        column: Column of paths or, in a Parquet file, of pictures; see `ParquetPictures`.

    Raises:
        FileNotFoundError: If the table does not exist.
        ValueError: If it cannot be read, or the column is missing or has another type.
    """
    if path.suffix.lower() == ".parquet" and path.is_file():
        import pyarrow as pa

        from newsimg.storage.pictures.column import ParquetPictures

        pictures = open_archive(path, ParquetPictures)
        assert isinstance(pictures, ParquetPictures)
        if column in pictures.columns:
            try:
                for row in pictures.list_cells(column):
                    yield [(cell.place, cell.member) for cell in row] or [(None, None)]
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(f"cannot read the table {path}: {error}") from error
            return
        kind = pictures.find_type(column)
        if kind is not None and not is_text(kind):
            raise ValueError(f"{path}: the column {column} must be text or pictures, got {kind}")
        if kind is None and pictures.columns:
            raise ValueError(
                f"{path} has no column {column}: use data.path_column={pictures.columns[0]}, the "
                "column with pictures"
            )
    for values in stream_table(path, [column], ()):
        yield [(values[column] or None, None)]


def _read_batches(
    path: Path, required: Sequence[str], optional: Sequence[str]
) -> Iterator[list[dict[str, str]]]:
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            columns = _choose(path, file.schema_arrow.names, required, optional)
            formatters = {}
            for name in list(columns):
                try:
                    formatters[name] = find_formatter(path, file.schema_arrow.field(name))
                except ValueError as error:
                    if name in required or name not in ALIASES:
                        raise
                    log.warning("%s, the column is not used", error)
                    columns.remove(name)
            for batch in file.iter_batches(4096, columns=columns):
                rows = batch.to_pylist() if columns else [{}] * len(batch)
                yield [
                    {name: formatters[name](value) for name, value in row.items()} for row in rows
                ]
        return
    if path.suffix.lower() != ".csv":
        raise ValueError(f"a table of pictures must be .parquet or .csv, got {path}")
    if (separator := find_separator(path)) != "comma":
        raise ValueError(f"{path} must be separated by commas, got {separator}")
    columns = _choose(path, read_header(path), required, optional)
    for row in read_table(path):
        yield [{name: row[name] for name in columns}]


def _choose(
    path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> list[str]:
    for name in required:
        if names.count(name) != 1:
            raise ValueError(f"{path} must have the column {name} once, it has {list(names)}")
    return [name for name in dict.fromkeys((*required, *optional)) if name in names]


def locate_picture(place: str, folder: Path) -> Path:
    """Return the path of a picture given as a path or file:// URL; it need not exist.

    Args:
        place: The value in the table.
        folder: Base of relative paths.

    Raises:
        ValueError: If it is a URL of another kind or has a NUL character.
    """
    if "\0" in place:
        raise ValueError(f"the path {place!r} has a NUL character")
    if "://" not in place:
        return folder / place
    url = urlparse(place)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise ValueError(f"{place} is not on disk: download it first and write its path")
    return Path(url2pathname(url.path))


def add_metadata(images: Iterable[Image], path: Path) -> Iterator[Image]:
    """Yield the pictures of an archive with the metadata of a table, joined by its column member.

    A picture that is not in the table has no metadata.

    Raises:
        FileNotFoundError: If the table does not exist.
        ValueError: If it cannot be read or has no column member.
    """
    known = {
        row["member"]: clean_metadata(row)[0] for row in stream_table(path, ["member"], COLUMNS)
    }
    for image in images:
        found = known.get(image.member or "")
        yield replace(image, metadata=found) if found else image
