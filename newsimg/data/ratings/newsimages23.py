"""The survey of NewsImages 2023, an export of Qualtrics."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from newsimg.data.ratings.sheets import check_sheet_path, name_column, parse_answer, read_sheet
from newsimg.data.ratings.table import Pseudonyms
from newsimg.datatypes import Rating
from newsimg.interfaces import Dataset, Survey
from newsimg.storage.csv_table import read_rows

N_HEADER_ROWS = 3  # names, questions, and Qualtrics' own ids


class NewsImages23Survey(Survey):
    """Reads a wide CSV: a row for each person, and for each article a column for each picture.

    Only the answers are read; ids, dates and all else of a person are not. A person rates some of
    the articles: an empty cell is no answer.

    Args:
        path: The replies.
        questions_path: CSV with the columns Question (1, 2, ...) and ID, the id of the article;
            None for articles named by their number.
        answer_columns: Regular expression that the headers of the answers' columns match in full.
        pictures: Names of the pictures of an article, in the order of their columns, which become
            `Rating.run`.
        image_id: Id of a picture, with the fields {picture}, {number} (of the article) and
            {article_id}.
        scale: Answers in words and their numbers.

    Raises:
        ValueError: If no picture is named, `image_id` has another field, or `answer_columns` is no
            regular expression.
    """

    def __init__(
        self,
        *,
        path: str,
        questions_path: str | None,
        answer_columns: str,
        pictures: Sequence[str],
        image_id: str,
        scale: Mapping[str, float],
    ) -> None:
        if not pictures:
            raise ValueError("task.survey.pictures must name the pictures of an article, got none")
        try:
            image_id.format(picture="", number=1, article_id="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                "task.survey.image_id must have fields among {picture}, {number} and {article_id}, "
                f"got {image_id!r}"
            ) from error
        self.path = check_sheet_path("task.survey.path", path)
        self.questions_path = Path(questions_path).expanduser() if questions_path else None
        try:
            self.answer_columns = re.compile(answer_columns)
        except re.error as error:
            raise ValueError(
                f"task.survey.answer_columns must be a regular expression, got {answer_columns!r}"
            ) from error
        self.pictures = list(pictures)
        self.image_id = image_id
        self.scale = scale

    def read(self, dataset: Dataset) -> list[Rating]:
        """See `Survey.read`.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If the table has no answers, their columns are not a multiple of the
                pictures, or an answer is not on the scale; names the row and the column.
        """
        rows = read_sheet(self.path)
        header = next(rows, (0, []))[1]
        columns = [i for i, name in enumerate(header) if self.answer_columns.fullmatch(name)]
        n_articles, rest = divmod(len(columns), len(self.pictures))
        if rest or not columns:
            raise ValueError(
                f"{self.path} must have {len(self.pictures)} columns of answers for each article "
                f"(headers that match {self.answer_columns.pattern}), got {len(columns)}"
            )
        article_ids = self._read_article_ids(n_articles)
        for _ in range(N_HEADER_ROWS - 1):
            next(rows, None)
        pseudonyms = Pseudonyms()
        ratings = []
        for line, values in rows:
            rater = pseudonyms.replace(f"line {line}")
            for position, column in enumerate(columns):
                if not values[column].strip():
                    continue
                number, picture = divmod(position, len(self.pictures))
                where = f"{self.path}, line {line}, {name_column(column, header[column])}"
                ratings.append(
                    Rating(
                        article_ids[number],
                        self._name_image(number + 1, picture, article_ids[number]),
                        parse_answer(values[column], self.scale, where),
                        rater,
                        self.pictures[picture],
                    )
                )
        return ratings

    def _name_image(self, number: int, picture: int, article_id: str) -> str:
        name = self.pictures[picture]
        return self.image_id.format(picture=name, number=number, article_id=article_id)

    def _read_article_ids(self, n_articles: int) -> list[str]:
        path = self.questions_path
        if path is None:
            return [str(number + 1) for number in range(n_articles)]
        if not path.is_file():
            raise FileNotFoundError(f"no questions of the survey at {path}")
        rows = read_rows(path)
        header = next(rows, (0, []))[1]
        for name in ("Question", "ID"):
            if name not in header:
                raise ValueError(f"{path} must have the column {name}, it has {', '.join(header)}")
        question, article = header.index("Question"), header.index("ID")
        ids = {values[question].strip(): values[article].strip() for _, values in rows}
        for number in range(1, n_articles + 1):
            if not ids.get(str(number)):
                raise ValueError(
                    f"{path}, column ID: no article for question {number} of {n_articles}"
                )
        return [ids[str(number + 1)] for number in range(n_articles)]
