"""Tables of pictures, read batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from newsimg.datatypes import Image
from newsimg.storage.csv_table import find_separator, read_header, read_table
from newsimg.storage.pictures.archives import open_archive
from newsimg.storage.table_text import find_writer, is_text

METADATA = ("licence", "title", "author", "page_url")


def stream_table(
    path: Path, required: Sequence[str], optional: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Yield the rows of a Parquet or CSV file, all values as text, missing ones as "".

    Args:
        path: The table; its extension says what it is.
        required: Columns that must be there.
        optional: Columns to read where they are there.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If it cannot be read, or lacks a column.
    """
    import pyarrow as pa

    if not path.is_file():
        raise FileNotFoundError(f"no table of pictures {path}")
    try:
        for batch in _read_batches(path, required, optional):
            yield from batch
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"cannot read the table {path}: {error}") from error


def stream_places(path: Path, column: str) -> Iterator[list[tuple[str | None, str | None]]]:
    """Yield for each row where its pictures are: their paths, and members of the table itself.

    Args:
        path: The table.
        column: Paths or, in a Parquet file, pictures; see `ParquetPictures`.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If it cannot be read, or the column is missing or of another type.
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
            raise ValueError(f"{path}: the column {column} must be text or pictures, it is {kind}")
        if kind is None and pictures.columns:
            raise ValueError(
                f"{path} has no column {column}: data.path_column={pictures.columns[0]} takes the "
                f"pictures of its column {pictures.columns[0]}"
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
            write = {name: find_writer(path, file.schema_arrow.field(name)) for name in columns}
            for batch in file.iter_batches(4096, columns=columns):
                rows = batch.to_pylist() if columns else [{}] * len(batch)
                yield [{name: write[name](value) for name, value in row.items()} for row in rows]
        return
    if path.suffix.lower() != ".csv":
        raise ValueError(f"a table of pictures must be .parquet or .csv, got {path}")
    if (separator := find_separator(path)) != "comma":
        raise ValueError(f"{path} is separated by {separator}: save it with commas")
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
    """Return the path of a picture given as a path or a file:// URL, which need not be there.

    Args:
        place: What a table says.
        folder: Where relative paths start.

    Raises:
        ValueError: If it is a URL of something that is not on this disk, or has a NUL character.
    """
    if "\0" in place:
        raise ValueError(f"{place!r} has a NUL character, which no path has")
    if "://" not in place:
        return folder / place
    url = urlparse(place)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise ValueError(f"{place} is not on disk: download it first, and give its path")
    return Path(url2pathname(url.path))


def add_metadata(images: Iterable[Image], path: Path) -> Iterator[Image]:
    """Yield the pictures of an archive with what a table says of them in its column member.

    A picture that the table does not name has no metadata.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If it cannot be read, or has no column member.
    """
    known = {
        row["member"]: {name: row[name] for name in METADATA if row.get(name)}
        for row in stream_table(path, ["member"], METADATA)
    }
    for image in images:
        found = known.get(image.member or "")
        yield replace(image, metadata=found) if found else image
