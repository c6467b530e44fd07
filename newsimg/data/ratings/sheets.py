"""Tables of surveys as rows of texts: CSV files and sheets of Excel files."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from newsimg.data.ratings.table import parse_rating
from newsimg.storage.csv_table import find_separator, read_rows

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".xlsx")


def check_sheet_path(name: str, path: str) -> Path:
    """Return the path of a survey's table.

    Args:
        name: Key of the path, for the message.
        path: The path.

    Raises:
        ValueError: If it is neither CSV nor Excel.
    """
    found = Path(path).expanduser()
    if found.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{name} must be a .csv or .xlsx file, got {path!r}")
    return found


def read_sheet(path: Path, sheet: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the values of each row that is not empty.

    Args:
        path: A CSV or an .xlsx file.
        sheet: Name of the sheet; None for the first.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or has no such sheet.
        ImportError: If it is an .xlsx file and openpyxl is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table of a survey at {path}")
    if path.suffix.lower() == ".csv":
        yield from read_rows(path, find_separator(path))
        return
    for number, row in enumerate(_read_excel(path, sheet), start=1):
        values = ["" if value is None else _show(value) for value in row]
        if any(values):
            yield number, values


def parse_answer(text: str, scale: Mapping[str, float], where: str) -> float:
    """Return an answer as a number.

    Args:
        text: A word of the scale or a number.
        scale: Words, in any case, and their numbers; empty if answers are numbers.
        where: File, row and column, for the message.

    Raises:
        ValueError: If it is neither.
    """
    words = {word.casefold(): value for word, value in scale.items()}
    if not words:
        return parse_rating(text, where)
    try:
        return float(words.get(text.strip().casefold(), text))
    except ValueError:
        raise ValueError(
            f"{where}: an answer must be a number or one of {', '.join(scale)}, got {text!r}"
        ) from None


def name_column(position: int, header: str) -> str:
    """Return a column's name for messages: its letters in a spreadsheet, and its header."""
    letters, rest = "", position + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"column {letters} ({header})" if header else f"column {letters}"


def _read_excel(path: Path, sheet: str | None) -> Iterator[tuple[Any, ...]]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise ImportError(f"{path.name} needs: pip install newsimg[ratings]") from error
    from zipfile import BadZipFile

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, BadZipFile, KeyError, OSError) as error:
        raise ValueError(f"{path} is not an .xlsx file: {error}") from error
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise ValueError(f"{path} has no sheet {sheet!r}; it has {', '.join(book.sheetnames)}")
        yield from book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
    finally:
        book.close()


def _show(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
