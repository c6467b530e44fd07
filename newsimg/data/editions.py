"""Reading and validation of the benchmark's CSV in all its editions."""

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from newsimg.storage.csv_table import SEPARATORS, find_separator, read_rows, split_first_row
from newsimg.storage.text.suggest import check_choice

log = logging.getLogger(__name__)

COLUMNS = [
    "article_id",
    "article_url",
    "article_title",
    "article_tags",
    "image_id",
    "image_url",
]
REQUIRED_COLUMNS = ("article_id", "article_title")
ID_COLUMNS = ("article_id", "image_id")
# Values of image_id, in lower case, that mean that the picture is unknown.
UNKNOWN = ("", "n/a", "na", "nan")
OPTIONS = {
    "article_id": "data.id_column",
    "article_title": "data.title_column",
    "article_tags": "data.tags_column",
    "image_id": "data.image_column",
}


def check_separator(separator: str) -> str:
    """Check the name of a separator and return it.

    Raises:
        ValueError: If it is unknown; names the choices.
    """
    check_choice("data.separator", separator, SEPARATORS)
    return separator


def map_columns(
    id_column: str, title_column: str, tags_column: str, image_column: str
) -> dict[str, str]:
    """Map the benchmark's column names to those of the file, where they differ.

    Raises:
        ValueError: If two columns have the same name.
    """
    columns = dict(zip(OPTIONS, (id_column, title_column, tags_column, image_column), strict=True))
    for name, own in columns.items():
        if other := next((o for o, c in columns.items() if c == own and o != name), None):
            raise ValueError(f"{OPTIONS[name]} and {OPTIONS[other]} must differ, got {own!r}")
    return {name: own for name, own in columns.items() if name != own}


def read_articles(
    csv_path: Path,
    names: Mapping[str, str] = MappingProxyType({}),
    separator: str | None = None,
) -> pd.DataFrame:
    """Read any edition of the CSV, all values as text, indexed by line number.

    A file without a header row has six columns in the benchmark's order, or four or five that are
    identified by their values. Ids are normalised to NFC, and an unknown image id ("N/A") is "".

    Args:
        csv_path: The file.
        names: The benchmark's column name -> column name in the file, where they differ.
        separator: comma, semicolon or tab; None detects the separator of the header row and
            defaults to comma.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If `read_rows` rejects a row, a column is missing or duplicated, an id is empty,
            duplicated or not one word, or a title is empty.
    """
    if not csv_path.is_file():
        raise FileNotFoundError(f"no CSV of articles at {csv_path}")
    # A detected separator needs no hint.
    found = find_separator(csv_path) if separator else None
    separator = separator or _choose_separator(csv_path, names)
    hint = f"the first row is separated by {found}, not by {separator}: set data.separator={found}"
    if found not in (None, separator) and len(split_first_row(csv_path)[separator]) == 1:
        raise ValueError(f"{csv_path}: {hint}")
    try:
        articles = _to_frame(list(read_rows(csv_path, separator)), names, csv_path)
    except ValueError as error:
        if found in (None, separator):
            raise
        raise ValueError(f"{error}. Or {hint}") from None
    for column in [column for column in ID_COLUMNS if column in articles]:
        articles[column] = articles[column].map(partial(unicodedata.normalize, "NFC"))
    if "image_id" in articles:
        articles["image_id"] = articles["image_id"].map(lambda i: "" if is_unknown(i) else i)
    _check_articles(articles, csv_path)
    return articles


def read_listed_ids(path: Path, names: Mapping[str, str] = MappingProxyType({})) -> "pd.Series":
    """Return the article ids in a list of articles, indexed by line number.

    Args:
        path: A text file with one id per line; or a CSV with any separator that has a column of ids
            in its header row, or is an edition of the benchmark without one.
        names: Column names of the data's CSV, which the list may use too.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or an id is empty, duplicated or not one word.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no list of articles at {path}")
    firsts = {mark: [v.strip() for v in row] for mark, row in split_first_row(path).items()}
    known = {value for row in firsts.values() for value in row}
    column = names.get("article_id")
    column = column if column in known else "article_id"
    mark, header = max(firsts.items(), key=lambda one: (column in _fold(one[1]), len(one[1])))
    if column not in _fold(header) and len(header) > 1:
        own = {name: own for name, own in names.items() if own in known}
        return read_articles(path, own)["article_id"]
    place = _fold(header).index(column) if column in _fold(header) else 0
    rows = list(read_rows(path, mark))[int(column in _fold(header)) :]
    ids = pd.Series([v[place].strip() for _, v in rows], [line for line, _ in rows], dtype=object)
    ids = ids.map(partial(unicodedata.normalize, "NFC"))
    for line in ids.index[ids == ""]:
        raise ValueError(f"{path}: empty article_id (line {line})")
    _check_ids(ids, path)
    return ids


def _fold(row: Sequence[str]) -> list[str]:
    """Return a header row with the benchmark's own names in lower case."""
    return [value.casefold() if value.casefold() in COLUMNS else value for value in row]


def _choose_separator(csv_path: Path, names: Mapping[str, str]) -> str:
    known = {*COLUMNS, *names.values()}
    rows = split_first_row(csv_path)
    return next(
        (name for name, row in rows.items() if known & {v.strip().casefold() for v in row}), "comma"
    )


def is_unknown(image_id: str) -> bool:
    """Return whether an image id means that the picture is unknown."""
    return image_id.strip().casefold() in UNKNOWN


def _to_frame(
    rows: Sequence[tuple[int, list[str]]], names: Mapping[str, str], csv_path: Path
) -> pd.DataFrame:
    """Return the rows below the header, if any, with the benchmark's column names."""
    if not rows:
        raise ValueError(f"{csv_path} is empty")
    first = [value.strip() for value in rows[0][1]]
    known = [value.casefold() for value in first]
    if names or set(known) & set(COLUMNS):
        header = [
            folded if folded in COLUMNS else own for own, folded in zip(first, known, strict=True)
        ]
        rows = rows[1:]
    else:
        header = _recognize(rows, csv_path)
    frame = pd.DataFrame(
        [values for _, values in rows],
        index=[line for line, _ in rows],
        columns=header,
        dtype="object",
    )
    return _rename(frame, names, csv_path)


def _recognize(rows: Sequence[tuple[int, list[str]]], csv_path: Path) -> list[str]:
    """Identify the columns of a file without a header row."""
    first = [value.strip() for value in rows[0][1]]
    width = len(first)
    if width not in (4, 5, 6) or not _are_urls([values[1].strip() for _, values in rows]):
        options = " ".join(f"{OPTIONS[name]}=NAME" for name in (*REQUIRED_COLUMNS, "image_id"))
        raise ValueError(
            f"{csv_path}: the first row has none of the column names {', '.join(COLUMNS)} and is "
            f"not an article (4 to 6 values, the second a URL): {first}. If it is a header row "
            f"with other names, set {options}"
        )
    last = [values[-1].strip() for _, values in rows]
    if width == 4:
        columns = [*COLUMNS[:3], "image_id" if _are_image_ids(last, csv_path) else "article_tags"]
    elif width == 5 and any("://" in value for value in last):
        columns = [*COLUMNS[:3], *COLUMNS[4:]]
    else:
        columns = COLUMNS[:width]
    if width < 6:
        log.warning("%s has no header row; its columns are assumed to be %s", csv_path, columns)
    return columns


def _are_urls(values: Sequence[str]) -> bool:
    """Return whether a column has URLs or a constant placeholder, and no header."""
    first = values[0]
    if not first or re.fullmatch(r"\S*[/.:]\S*", first):
        return True
    return len(values) > 1 and set(values) == {first}


def _are_image_ids(values: Sequence[str], csv_path: Path) -> bool:
    """Return whether a fourth column has image ids, as in the edition of 2026, or tags."""
    known = [value for value in values if not is_unknown(value)]
    if not known:
        return any(values)  # "N/A" is an unknown picture, "" an article without tags
    if not all(re.fullmatch(r"[^\s;|]+", value) for value in known):
        return False
    if all(re.search(r"\d", value) for value in known):
        return True
    raise ValueError(
        f"{csv_path} has no header row, and its fourth column may be article_tags or image_id: "
        f"{known[:3]}; add a header row"
    )


def _rename(articles: pd.DataFrame, names: Mapping[str, str], csv_path: Path) -> pd.DataFrame:
    """Rename columns to the benchmark's names; drop other columns that have one of these names."""
    for own in names.values():
        if list(articles).count(own) != 1:
            raise ValueError(f"{csv_path} must have the column {own} once, it has {list(articles)}")
    keep = [column in names.values() or column not in names for column in articles]
    renamed = articles.loc[:, keep].rename(columns={own: name for name, own in names.items()})
    for column in COLUMNS:
        if list(renamed).count(column) > 1:
            raise ValueError(f"{csv_path} has the column {column} twice")
    return renamed


def _check_articles(articles: pd.DataFrame, csv_path: Path) -> None:
    for column in REQUIRED_COLUMNS:
        if column not in articles:
            raise ValueError(
                f"{csv_path} lacks the column {column}; it has {list(articles)}. If it has another "
                f"name, set {OPTIONS[column]}=NAME"
            )
    for column in REQUIRED_COLUMNS:
        for line in articles.index[articles[column].str.strip() == ""]:
            article_id = articles.loc[line, "article_id"]
            raise ValueError(f"{csv_path}: empty {column} (article {article_id!r}, line {line})")
    if "image_id" in articles:
        _check_words(articles["image_id"], csv_path)
    _check_ids(articles["article_id"], csv_path)


def _check_ids(ids: "pd.Series", path: Path) -> None:
    _check_words(ids.rename("article_id"), path)
    for line, article_id in ids[ids.duplicated()].items():
        raise ValueError(f"{path}: duplicate article_id {article_id!r} (line {line})")


def _check_words(ids: "pd.Series", path: Path) -> None:
    for line, value in ids[ids.str.contains(r"\s")].items():
        raise ValueError(
            f"{path}: {ids.name} must not contain white space, which separates TREC fields, got "
            f"{value!r} (line {line})"
        )
