"""The NewsImages benchmark and other data in its layout."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from newsimg.data.articles import ArticleSource, load_articles
from newsimg.data.editions import map_columns
from newsimg.data.ratings.table import check_ratings_path, read_ratings
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset
from newsimg.storage.metadata.filters import make_filter


class NewsImagesDataset(Dataset):
    """A CSV of articles and a folder of pictures named by image id.

    An article whose image id is empty or "N/A" is a query without judgement.

    Args:
        name: Name of the collection; runs with the same name share an MLflow experiment.
        csv_path: CSV of the articles: article_id, article_url, article_title, article_tags,
            image_id, image_url, with or without a header row; tags and URLs may be missing.
        image_dir: Folder of pictures named by image id, at any depth.
        split: train, val, test (80/10/10) or all.
        subset: List of the articles to load instead of a split, see `read_listed_ids`.
        seed: Seed of the permutation that defines the split.
        pool: Pictures to search: those of the split, or all.
        separator: Separator of `csv_path`: comma, semicolon or tab.
        id_column: Column of article ids.
        title_column: Column of titles.
        tags_column: Column of tags.
        image_column: Column of image ids.
        on_missing: Whether to "raise" on or "skip" missing pictures.
        on_damaged: Whether to "raise" on or "skip" unreadable pictures.
        filter: Conditions on the searched pictures; see `make_filter`.
        ratings: People's ratings, CSV or Parquet; see `read_ratings`.

    Raises:
        ValueError: If an option has an invalid value, or two columns have the same name.
    """

    def __init__(
        self,
        *,
        name: str,
        csv_path: str,
        image_dir: str,
        split: str,
        subset: str | None,
        seed: int,
        pool: str,
        separator: str = "comma",
        id_column: str = "article_id",
        title_column: str = "article_title",
        tags_column: str = "article_tags",
        image_column: str = "image_id",
        on_missing: str = "raise",
        on_damaged: str = "raise",
        filter: Mapping[str, Any] | None = None,
        ratings: str | None = None,
    ) -> None:
        self.source = ArticleSource(
            split=split,
            subset=Path(subset).expanduser() if subset else None,
            seed=seed,
            pool=pool,
            separator=separator,
            columns=map_columns(id_column, title_column, tags_column, image_column),
            on_missing=on_missing,
            on_damaged=on_damaged,
            filter=make_filter(filter),
        )
        self.name = name
        self.filter = self.source.filter
        self.csv_path = Path(csv_path).expanduser()
        self.image_dir = Path(image_dir).expanduser()
        self.ratings_path = check_ratings_path(ratings)

    def load(self) -> Collection:
        """See `Dataset.load`."""
        ratings = read_ratings(self.ratings_path)
        collection = load_articles(
            self.name, self.csv_path, self.image_dir, self.source, self.provide
        )
        return replace(collection, ratings=ratings)

    def provide(self, image_ids: Sequence[str]) -> None:
        """Create pictures that are about to be searched, where the data set creates pictures."""

    def with_split(self, split: str) -> "NewsImagesDataset":
        """See `Dataset.with_split`."""
        other = copy.copy(self)
        other.source = self.source.with_split(split)
        return other
