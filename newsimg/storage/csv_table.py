"""Strict reading of CSV files: rows broken by stray quotes are rejected, never guessed."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
MAX_FIELD = 1 << 24  # characters; the csv module's default of 131,072 is too small for long texts
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
QUOTES_TWICE = 'in a quoted value, write a quote as two quotes ("")'


def read_rows(path: Path, separator: str = "comma") -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the values of each row; all rows have the length of the first.

    Empty rows, which spreadsheets write after the last one, are skipped.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        separator: comma, semicolon or tab.

    Raises:
        ValueError: If the file is not UTF-8, has a NUL character, a row of another length, text
            after a closing quote, an unclosed quote, or a quoted value that spans several rows;
            names the line.
    """
    mark = SEPARATORS[separator]
    if csv.field_size_limit() < MAX_FIELD:
        csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(_read_lines(path), delimiter=mark, strict=True)
    first: int = 0
    width: int | None = None
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(_explain(error, path, line, reader.line_num)) from error
        if not any(value.strip() for value in values):
            continue
        if any(_swallows_row(values, i, mark, width) for i in range(len(values))):
            raise ValueError(
                f"{path}, line {line}: a quoted value spans several rows, up to line "
                f"{reader.line_num}; {QUOTES_TWICE}"
            )
        if width is None:
            first, width = line, len(values)
        if len(values) != width:
            raise ValueError(
                f"{path}, line {line}: {len(values)} values separated by {separator}, but {width} "
                f"in line {first}; quote values that contain the separator"
            )
        yield line, values


def read_table(path: Path, separator: str = "comma") -> Iterator[dict[str, str]]:
    """Yield each row below the header as a mapping of column to value.

    Raises:
        ValueError: See `read_rows`.
    """
    rows = read_rows(path, separator)
    _, names = next(rows, (0, []))
    for _, values in rows:
        yield dict(zip(names, values, strict=True))


def read_header(path: Path, separator: str = "comma") -> list[str]:
    """Return the values of the first row, or an empty list.

    Raises:
        ValueError: See `read_rows`.
    """
    return next(read_rows(path, separator), (0, []))[1]


def split_first_row(path: Path) -> dict[str, list[str]]:
    """Return the first row split by each separator; empty lists if the file is empty.

    Raises:
        ValueError: If the file is not UTF-8.
    """
    lines = [line for _, line in zip(range(100), _read_lines(path), strict=False)]
    # Not strict, because most of the separators are wrong.
    rows = {name: csv.reader(lines, delimiter=mark) for name, mark in SEPARATORS.items()}
    return {
        name: next((row for row in reader if any(map(str.strip, row))), [])
        for name, reader in rows.items()
    }


def find_separator(path: Path) -> str:
    """Return the separator that splits the first row into the most values; comma on a tie.

    Raises:
        ValueError: If the file is not UTF-8.
    """
    rows = split_first_row(path)
    return max(rows, key=lambda name: len(rows[name]))


def _read_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        if file.read(2) in UTF16_MARKS:
            raise ValueError(f"{path} is in UTF-16, expected UTF-8: save it as UTF-8")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if "\0" in line:
                    raise ValueError(f"{path} is not a CSV in UTF-8: NUL in line {number}")
                yield line
        except UnicodeDecodeError as error:
            where = _find_undecodable(path)
            raise ValueError(f"{path} is not a CSV in UTF-8: {where}; save it as UTF-8") from error


def _find_undecodable(path: Path) -> str:
    """Locate the first byte that is not UTF-8; the error only has its offset in a buffer."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1}, is 0x{line[error.start]:02x}"
    return "the last character is incomplete"


def _explain(error: csv.Error, path: Path, line: int, last: int) -> str:
    if "field larger" in str(error):
        what = f"a value is longer than {MAX_FIELD:,} characters; is a quote not closed?"
    elif "end of data" in str(error):
        what = "unclosed quote"
    elif last > line:
        what = f"a quote opens here and text follows a closing quote in line {last}"
    else:
        what = "text follows a closing quote"
    return f"{path}, line {line}: {what}; {QUOTES_TWICE}"


def _swallows_row(values: Sequence[str], position: int, mark: str, width: int | None) -> bool:
    """Return whether a value contains the end of its own row and the beginning of another row.

    In that case its first line has as many separators as a row, and so has a later line. Separators
    followed by a space do not count, and the later line must start with a single word, because
    prose in several lines may contain commas too.

    Args:
        values: The row.
        position: Position of the value in the row.
        mark: The separator.
        width: Number of values of a row; None for the first row.
    """
    first, *others = re.split(r"\r\n|\r|\n", values[position])
    n_marks = position + _count(first, mark)
    if not others or n_marks == 0 or width not in (None, n_marks + 1):
        return False
    n_after = len(values) - 1 - position
    *middle, last = others
    return _begins_row(last, mark, n_marks - n_after) or any(
        _begins_row(text, mark, n_marks) for text in middle
    )


def _begins_row(text: str, mark: str, n_marks: int) -> bool:
    return _count(text, mark) == n_marks and bool(re.fullmatch(r"\S+", text.split(mark)[0]))


def _count(text: str, mark: str) -> int:
    return len(re.findall(re.escape(mark) + "(?! )", text))
