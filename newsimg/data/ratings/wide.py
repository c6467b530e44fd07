"""Wide tables of ratings, as the surveys of NewsImages since 2025 have them."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence

from newsimg.data.ratings.sheets import check_sheet_path, name_column, parse_answer, read_sheet
from newsimg.data.ratings.table import Pseudonyms
from newsimg.datatypes import Rating, make_image_id
from newsimg.interfaces import Dataset, Survey
from newsimg.storage.pictures.formats import EXTENSIONS
from newsimg.storage.text.suggest import suggest

log = logging.getLogger(__name__)

N_SEARCHED = 20  # rows in which the header is looked for
IMPORT_IDS = '{"ImportId"'  # begins the cells of the last header row of an export of Qualtrics
LONG = ("rating", "score", "value", "answer")  # a header of a table with a row for each answer
EXPECTED = (
    "a row for each article with a column {0} and a column for each run, or a row for each person "
    "with a column for each picture, named ARTICLE_TEAM_RUN"
)
OTHERWISE = (
    "data.ratings=FILE reads a .csv or .parquet table with a row for each answer, in the columns "
    "article_id, image_id and rating, and optionally rater and run"
)
PICTURE = re.compile(r"(\d+)_(.+)")  # the file name of a picture: article_team_run


class WideSurvey(Survey):
    """Reads a table of numbers in one of two forms.

    - With a column of article ids: a row for an article, and a column for each run, whose header
      is the run. An article may have several rows, one for each rater.
    - Without: a row for a rater, and a column for each picture, whose header is the name of its
      file, ARTICLE_TEAM_RUN, with or without an extension.

    A picture's id is ARTICLE_RUN, which is its file name in the benchmark. The header is the first
    row with the column of article ids or with the name of a picture; of an export of Qualtrics the
    two rows below it, of questions and of import ids, are no answers. Only columns of ratings are
    read. A table with a row for each answer is refused: `data.ratings` reads such a table.

    Args:
        path: The table, .xlsx or .csv.
        sheet: Name of the sheet; None for the first.
        article_column: Column of article ids.
        rater_column: Column of ids of the raters in the first form, of which pseudonyms are made;
            None if a rating's rater is not known. In the second form each row is a rater.
        runs: Columns of the first form with ratings; None for all between `low` and `high`: a
            column is skipped if one of its values is no number or outside of them.
        low: Lowest rating.
        high: Highest rating.
        scale: Answers in words and their numbers; empty if they are numbers.

    Raises:
        ValueError: If `low` is not below `high`.
    """

    def __init__(
        self,
        *,
        path: str,
        sheet: str | None,
        article_column: str,
        rater_column: str | None,
        runs: Sequence[str] | None,
        low: float,
        high: float,
        scale: Mapping[str, float],
    ) -> None:
        if low >= high:
            raise ValueError(f"task.survey.low must be below task.survey.high, got {low}, {high}")
        self.path = check_sheet_path("task.survey.path", path)
        self.sheet = sheet
        self.article_column = article_column
        self.rater_column = rater_column
        self.runs = runs
        self.low = low
        self.high = high
        self.scale = scale

    def read(self, dataset: Dataset) -> list[Rating]:
        """See `Survey.read`.

        Raises:
            FileNotFoundError: If the table does not exist.
            ValueError: If the table has another form, no column has ratings, an id is empty, or a
                rating is not on the scale; names the row and the column.
            ImportError: If openpyxl is not installed.
        """
        rows = list(read_sheet(self.path, self.sheet))
        top, header = self._find_header(rows)
        first = max(top, _find_import_ids(rows)) + 1
        body = [(line, _fill(values, len(header))) for line, values in rows[first:]]
        by_article = self.article_column in header
        columns = (
            self._find_run_columns(header, body) if by_article else _find_picture_columns(header)
        )
        self._check_columns(header, list(columns.values()))
        read = self._read_articles if by_article else self._read_raters
        return list(read(header, columns, body))

    def _find_header(self, rows: Sequence[tuple[int, list[str]]]) -> tuple[int, list[str]]:
        for position, (_, values) in enumerate(rows[:N_SEARCHED]):
            header = [value.strip() for value in values]
            if self.article_column in header:
                return position, header
            if pictures := _find_picture_columns(header):
                self._check_is_header(rows[position + 1 :], next(iter(pictures)))
                return position, header
        first = [value for value in (rows[0][1] if rows else []) if value]
        raise ValueError(
            f"{self.path} must be {EXPECTED.format(self.article_column)}; its first row is "
            f"{', '.join(first) or 'empty'}; task.survey.article_column=NAME names the column of "
            f"articles, task.survey.sheet=NAME another sheet{suggest(self.article_column, first)}"
        )

    def _check_is_header(self, below: Sequence[tuple[int, list[str]]], column: int) -> None:
        """Check that the rows below a column named by a picture do not name pictures too."""
        if any(_find_picture_columns(values[column : column + 1]) for _, values in below):
            raise ValueError(
                f"{self.path} has a row for each picture; expected is "
                f"{EXPECTED.format(self.article_column)}; {OTHERWISE}"
            )

    def _check_columns(self, header: Sequence[str], names: Sequence[str]) -> None:
        given = ", ".join(name for name in header if name)
        if not names:
            raise ValueError(
                f"{self.path} has no column of ratings in [{self.low:g}, {self.high:g}], it has "
                f"{given}; expected is {EXPECTED.format(self.article_column)}"
            )
        if self.runs is None and (long := [name for name in names if name.casefold() in LONG]):
            raise ValueError(
                f"{self.path} has a row for each answer, by its column {long[0]} (it has {given}): "
                f"{OTHERWISE}; or is {long[0]!r} a run: task.survey.runs=[{long[0]}]"
            )

    def _find_run_columns(
        self, header: Sequence[str], body: Sequence[tuple[int, list[str]]]
    ) -> dict[int, str]:
        own = {self.article_column, self.rater_column, ""}
        if self.runs is None:
            return {
                i: name
                for i, name in enumerate(header)
                if name not in own and self._are_ratings(i, name, body)
            }
        for name in self.runs:
            if header.count(name) != 1:
                raise ValueError(
                    f"{self.path} must have the column {name} once, it has {', '.join(header)}"
                    f"{suggest(name, header)}"
                )
        return {header.index(name): name for name in self.runs}

    def _are_ratings(self, column: int, name: str, body: Sequence[tuple[int, list[str]]]) -> bool:
        """Return whether all values are ratings; warn of a column of which only some are."""
        given = [(line, values[column]) for line, values in body if values[column].strip()]
        wrong = [(line, text) for line, text in given if not self._is_rating(text)]
        if wrong and len(wrong) < len(given):
            log.warning(
                "%s of %s is not read: row %d has %r, which is no rating in [%g, %g]; "
                "task.survey.runs names the columns of ratings",
                name_column(column, name),
                self.path,
                *wrong[0],
                self.low,
                self.high,
            )
        return bool(given) and not wrong

    def _is_rating(self, text: str) -> bool:
        try:
            return self._is_within(parse_answer(text, self.scale, ""))
        except ValueError:
            return False

    def _is_within(self, value: float) -> bool:
        return self.low <= value <= self.high

    def _parse(self, text: str, line: int, column: int, header: Sequence[str]) -> float:
        where = f"{self.path}, row {line}, {name_column(column, header[column])}"
        value = parse_answer(text, self.scale, where)
        if not self._is_within(value):
            raise ValueError(
                f"{where}: a rating must be in [{self.low:g}, {self.high:g}], got {text!r}"
            )
        return value

    def _read_articles(
        self,
        header: Sequence[str],
        columns: Mapping[int, str],
        body: Sequence[tuple[int, list[str]]],
    ) -> Iterator[Rating]:
        article = header.index(self.article_column)
        rater_at = None
        if self.rater_column is not None:
            if self.rater_column not in header:
                raise ValueError(f"{self.path} has no column {self.rater_column}")
            rater_at = header.index(self.rater_column)
        pseudonyms = Pseudonyms()
        for line, values in body:
            rated = {column: name for column, name in columns.items() if values[column].strip()}
            article_id = values[article].strip()
            if rated and not article_id:
                raise ValueError(
                    f"{self.path}, row {line}, {name_column(article, header[article])}: "
                    "must not be empty"
                )
            rater = pseudonyms.replace(values[rater_at].strip()) if rater_at is not None else ""
            for column, run in rated.items():
                value = self._parse(values[column], line, column, header)
                image_id = make_image_id(f"{article_id}_{run}")
                yield Rating(article_id, image_id, value, rater, run)

    def _read_raters(
        self,
        header: Sequence[str],
        columns: Mapping[int, str],
        body: Sequence[tuple[int, list[str]]],
    ) -> Iterator[Rating]:
        for number, (line, values) in enumerate(body, start=1):
            for column, name in columns.items():
                if values[column].strip():
                    found = PICTURE.fullmatch(name)
                    assert found is not None
                    value = self._parse(values[column], line, column, header)
                    yield Rating(found[1], make_image_id(name), value, f"r{number}", found[2])


def _find_import_ids(rows: Sequence[tuple[int, list[str]]]) -> int:
    """Return the position of Qualtrics' row of import ids; -1 without one."""
    found = (
        position
        for position, (_, values) in enumerate(rows[:N_SEARCHED])
        if any(value.startswith(IMPORT_IDS) for value in values)
    )
    return next(found, -1)


def _find_picture_columns(header: Sequence[str]) -> dict[int, str]:
    """Return the columns whose header is the name of a picture, without its extension."""
    stems = {
        i: re.sub("(?i)(" + "|".join(map(re.escape, EXTENSIONS)) + ")$", "", name)
        for i, name in enumerate(header)
    }
    return {i: stem for i, stem in stems.items() if PICTURE.fullmatch(stem)}


def _fill(values: Sequence[str], width: int) -> list[str]:
    """Return a row with the header's width; a spreadsheet leaves out empty cells at its end."""
    return [*values[:width], *[""] * (width - len(values))]
