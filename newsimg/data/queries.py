"""Headlines without pictures, to search a saved index."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from newsimg.data.articles import choose_subset, to_query
from newsimg.data.editions import check_separator, map_columns, read_articles
from newsimg.data.ratings.table import check_ratings_path, read_ratings
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset
from newsimg.storage.metadata.filters import make_filter


class QueriesDataset(Dataset):
    """The headlines of a CSV with at least ids and titles, in the benchmark's layout or another.

    Tags and image ids are optional: tags are used by the query template, image ids are the ground
    truth. An image id that is empty or "N/A" is unknown.

    Args:
        name: Name of the collection.
        csv_path: CSV of the articles.
        separator: Separator of the CSV: comma, semicolon or tab.
        id_column: Column of ids. The benchmark's column names also fit its files without a header
            row.
        title_column: Column of headlines.
        tags_column: Column of tags. The default may be missing in the file.
        image_column: Column of image ids. The default may be missing in the file.
        subset: List of the articles to load, see `read_listed_ids`; None for all.
        filter: Conditions on the searched pictures; see `make_filter`.
        ratings: People's ratings, CSV or Parquet; see `read_ratings`.

    Raises:
        ValueError: If two columns have the same name, or the separator is unknown.
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
        subset: str | None = None,
        filter: Mapping[str, Any] | None = None,
        ratings: str | None = None,
    ) -> None:
        self.separator = check_separator(separator)
        self.columns = map_columns(id_column, title_column, tags_column, image_column)
        self.filter = make_filter(filter)
        self.subset = Path(subset).expanduser() if subset else None
        self.name = name
        self.csv_path = Path(csv_path).expanduser()
        self.ratings_path = check_ratings_path(ratings)

    def load(self) -> Collection:
        """See `Dataset.load`. There are no images; they come from a saved index."""
        articles = read_articles(self.csv_path, self.columns, self.separator)
        if articles.empty:
            raise ValueError(f"{self.csv_path} has no articles")
        if self.subset:
            articles = choose_subset(articles, self.subset, self.columns)
            if articles.empty:
                raise ValueError(f"subset {self.subset} is empty")
        rows = articles.to_dict("records")
        qrels = {row["article_id"]: {row["image_id"]: 1} for row in rows if row.get("image_id")}
        queries = tuple(map(to_query, rows))
        ratings = read_ratings(self.ratings_path)
        return Collection(
            self.name, queries, (), qrels or None, filter=self.filter, ratings=ratings
        )

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always, because there are no splits.
        """
        raise ValueError(f"data=queries has no splits, got {split!r} for {self.csv_path}")
