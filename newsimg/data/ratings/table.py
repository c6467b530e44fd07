"""Ratings in a table, CSV or Parquet: article_id, image_id, rating, optionally rater and run."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from newsimg.datatypes import Rating
from newsimg.storage.csv_table import find_separator, read_rows
from newsimg.storage.files import write_atomically
from newsimg.storage.tables import stream_table
from newsimg.storage.text.suggest import suggest

REQUIRED = ("article_id", "image_id", "rating")
COLUMNS = (*REQUIRED, "rater", "run")
SUFFIXES = (".csv", ".parquet")

Row = tuple[str, dict[str, str]]  # where it is, for messages, and its values


def check_ratings_path(ratings: str | None) -> Path | None:
    """Return the path of a ratings file, which is read with the data.

    Raises:
        ValueError: If it is neither CSV nor Parquet.
    """
    if ratings is None:
        return None
    path = Path(ratings).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"data.ratings must be a .csv or .parquet file, got {ratings!r}")
    return path


def read_ratings(path: Path | None) -> tuple[Rating, ...]:
    """Read ratings; of the raters only pseudonyms are kept.

    Columns other than the five known ones are not read.

    Args:
        path: The file; None for no ratings.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it lacks a column, an id is empty, or a rating is no finite number; names
            the row and the column.
    """
    if path is None:
        return ()
    if not path.is_file():
        raise FileNotFoundError(
            f"no ratings at {path}: data.ratings must name a CSV or Parquet file with the columns "
            f"{', '.join(REQUIRED)}, such as newsimg task=ratings writes"
        )
    pseudonyms = Pseudonyms()
    ratings = tuple(_read_rating(path, *row, pseudonyms) for row in _read_table(path))
    if not ratings:
        raise ValueError(f"{path} holds no ratings")
    return ratings


def write_ratings(ratings: Iterable[Rating], path: Path) -> None:
    """Write ratings as CSV."""
    with (
        write_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as f,
    ):
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rating in ratings:
            value = f"{rating.value:.10g}"
            writer.writerow((rating.article_id, rating.image_id, value, rating.rater, rating.run))


class Pseudonyms:
    """Replaces the ids of raters by r1, r2 and so on, in the order in which they occur."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def replace(self, rater: str) -> str:
        """Return the pseudonym of a rater; an empty id stays empty."""
        return self._known.setdefault(rater, f"r{len(self._known) + 1}") if rater else ""


def parse_rating(text: str, where: str) -> float:
    """Return a rating as a number.

    Args:
        text: The value in the table.
        where: File, row and column, for the message.

    Raises:
        ValueError: If it is no finite number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: a rating must be a number, got {text!r}")
    return value


def _read_table(path: Path) -> Iterator[Row]:
    if path.suffix.lower() == ".parquet":
        for number, row in enumerate(stream_table(path, REQUIRED, COLUMNS[3:]), start=1):
            yield f"row {number}", row
        return
    rows = read_rows(path, find_separator(path))
    _, header = next(rows, (0, []))
    names = _check_header(path, [name.strip() for name in header])
    for line, values in rows:
        yield f"line {line}", {name: values[column] for name, column in names.items()}


def _check_header(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the position of each known column."""
    for name in COLUMNS:
        if header.count(name) > 1 or (name in REQUIRED and name not in header):
            hint = suggest(name, header) if name not in header else ""
            raise ValueError(
                f"{path} must have the column {name} once, it has {', '.join(header)}{hint}"
            )
    return {name: header.index(name) for name in COLUMNS if name in header}


def _read_rating(path: Path, where: str, row: dict[str, str], pseudonyms: Pseudonyms) -> Rating:
    for name in REQUIRED[:2]:
        if not row[name].strip():
            raise ValueError(f"{path}, {where}, column {name}: must not be empty")
    return Rating(
        article_id=row["article_id"].strip(),
        image_id=row["image_id"].strip(),
        value=parse_rating(row["rating"], f"{path}, {where}, column rating"),
        rater=pseudonyms.replace(row.get("rater", "").strip()),
        run=row.get("run", "").strip(),
    )
