"""Headlines alone, for pictures that lie elsewhere."""

from pathlib import Path

from newsimg.data.articles import read_articles, to_query
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset


class QueriesDataset(Dataset):
    """A CSV with an id and a title in each row: any edition of the benchmark, or any other.

    The columns `article_tags` and `image_id` are read where they are there: the tags go into the
    query template, the image ids say which pictures the editors chose.

    Args:
        name: What to call the collection.
        csv_path: The articles.
        id_column: Their ids; article_id also fits a file of the benchmark without a header row.
        title_column: Their headlines; article_title likewise.

    Raises:
        ValueError: If both columns are the same one.
    """

    def __init__(self, *, name: str, csv_path: str, id_column: str, title_column: str) -> None:
        if id_column == title_column:
            raise ValueError(
                f"data.id_column and data.title_column must differ, got {id_column!r} for both"
            )
        self.name = name
        self.csv_path = Path(csv_path).expanduser()
        columns = {"article_id": id_column, "article_title": title_column}
        self.columns = {name: own for name, own in columns.items() if name != own}

    def load(self) -> Collection:
        """See `Dataset.load`. There are no images: an index brings them."""
        articles = read_articles(self.csv_path, self.columns)
        if articles.empty:
            raise ValueError(f"{self.csv_path} has no articles")
        rows = articles.to_dict("records")
        qrels = None
        if "image_id" in articles:
            qrels = {row["article_id"]: {row["image_id"]: 1} for row in rows}
        return Collection(self.name, tuple(map(to_query, rows)), (), qrels)

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always: all headlines are taken.
        """
        raise ValueError(f"data=queries takes all headlines of {self.csv_path}, no split {split!r}")
