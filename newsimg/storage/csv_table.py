"""CSV files, read strictly: what a stray quote makes of a row is refused, and never guessed at."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
MAX_FIELD = 1 << 24  # letters of a value; the library's own limit of 131,072 is less than a text
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
QUOTES_TWICE = 'within quotes, a quote that belongs to the text is written twice ("")'


def read_rows(path: Path, separator: str = "comma") -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each row begins in, and its values; all rows have as many as the first.

    Rows without any value, which spreadsheets leave behind the last one, are left out.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        separator: comma, semicolon or tab.

    Raises:
        ValueError: If the file is not UTF-8, holds a NUL, has a row of another length, text after a
            closing quote, a quote that is never closed, or one that runs over the end of its row
            into the next; names the line.
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
                f"{path}, line {line}: a quote runs over the end of its row, as far as line "
                f"{reader.line_num}, and takes in the next row's values; {QUOTES_TWICE}"
            )
        if width is None:
            first, width = line, len(values)
        if len(values) != width:
            raise ValueError(
                f"{path}, line {line}: {len(values)} values separated by {separator}, but {width} "
                f"in line {first}; a value that holds the separator must be in quotes"
            )
        yield line, values


def read_table(path: Path, separator: str = "comma") -> Iterator[dict[str, str]]:
    """Yield the rows below the header as column -> value; nothing if there is no header.

    Raises:
        ValueError: See `read_rows`.
    """
    rows = read_rows(path, separator)
    _, names = next(rows, (0, []))
    for _, values in rows:
        yield dict(zip(names, values, strict=True))


def read_header(path: Path, separator: str = "comma") -> list[str]:
    """Return the values of the first row; none if there is no row.

    Raises:
        ValueError: See `read_rows`.
    """
    return next(read_rows(path, separator), (0, []))[1]


def split_first_row(path: Path) -> dict[str, list[str]]:
    """Return the first row's values by each separator; nothing but empty lists if there is no row.

    Raises:
        ValueError: If the file is not UTF-8.
    """
    lines = [line for _, line in zip(range(100), _read_lines(path), strict=False)]
    # Not strictly: it may well be the wrong separator.
    rows = {name: csv.reader(lines, delimiter=mark) for name, mark in SEPARATORS.items()}
    return {
        name: next((row for row in reader if any(map(str.strip, row))), [])
        for name, reader in rows.items()
    }


def find_separator(path: Path) -> str:
    """Return by what the first row is separated: what cuts it into the most values, or else commas.

    Raises:
        ValueError: If the file is not UTF-8.
    """
    rows = split_first_row(path)
    return max(rows, key=lambda name: len(rows[name]))


def _read_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        if file.read(2) in UTF16_MARKS:
            raise ValueError(f"{path} is not a CSV in UTF-8, but in UTF-16: save it as UTF-8")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if "\0" in line:
                    raise ValueError(f"{path} is not a CSV in UTF-8: line {number} holds a NUL")
                yield line
        except UnicodeDecodeError as error:
            where = _find_undecodable(path)
            raise ValueError(f"{path} is not a CSV in UTF-8: {where}; save it as UTF-8") from error


def _find_undecodable(path: Path) -> str:
    """Name the first line that is not UTF-8; the error itself knows its place in a buffer only."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1}, is 0x{line[error.start]:02x}"
    return "it ends within a letter"


def _explain(error: csv.Error, path: Path, line: int, last: int) -> str:
    if "field larger" in str(error):
        what = f"a value is longer than {MAX_FIELD:,} letters; is a quote not closed?"
    elif "end of data" in str(error):
        what = "a quote is opened and never closed"
    elif last > line:
        what = f"a quote is opened, and text follows where one is closed, in line {last}"
    else:
        what = "text follows a closing quote"
    return f"{path}, line {line}: {what}; {QUOTES_TWICE}"


def _swallows_row(values: Sequence[str], position: int, mark: str, width: int | None) -> bool:
    """Tell whether a value holds the rest of its own row, a line end, and another row's beginning.

    Then the line that it begins in has as many separators as a row has, and so has a later one. In
    prose a space follows a comma, and most lines do not begin with one word before it.

    Args:
        values: The row.
        position: Of the value in it.
        mark: The separator.
        width: How many values a row has; None if this is the first row.
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
