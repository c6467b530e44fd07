"""Headlines alone, for pictures that lie elsewhere."""

from pathlib import Path

from newsimg.data.articles import to_query
from newsimg.data.editions import check_separator, map_columns, read_articles
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset


class QueriesDataset(Dataset):
    """A CSV with an id and a title in each row: any edition of the benchmark, or any other.

    Tags and image ids are read where they are there: the tags go into the query template, the image
    ids say which pictures the editors chose. An empty one, or "N/A", says that it is not known.

    Args:
        name: What to call the collection.
        csv_path: The articles.
        separator: What separates its values: comma, semicolon or tab.
        id_column: Their ids; article_id also fits a file of the benchmark without a header row.
        title_column: Their headlines; article_title likewise.
        tags_column: Their tags; article_tags also fits a file without any.
        image_column: Their pictures' ids; image_id likewise.

    Raises:
        ValueError: If two columns are the same one, or the separator is not one of its choices.
    """

    def __init__(
        self,
        *,
        name: str,
        csv_path: str,
        id_column: str,
        title_column: str,
        separator: str = "comma",
        tags_column: str = "article_tags",
        image_column: str = "image_id",
    ) -> None:
        self.separator = check_separator(separator)
        self.columns = map_columns(id_column, title_column, tags_column, image_column)
        self.name = name
        self.csv_path = Path(csv_path).expanduser()

    def load(self) -> Collection:
        """See `Dataset.load`. There are no images: an index brings them."""
        articles = read_articles(self.csv_path, self.columns, self.separator)
        if articles.empty:
            raise ValueError(f"{self.csv_path} has no articles")
        rows = articles.to_dict("records")
        qrels = {row["article_id"]: {row["image_id"]: 1} for row in rows if row.get("image_id")}
        return Collection(self.name, tuple(map(to_query, rows)), (), qrels or None)

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always: all headlines are taken.
        """
        raise ValueError(f"data=queries takes all headlines of {self.csv_path}, no split {split!r}")
