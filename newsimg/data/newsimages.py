"""The NewsImages benchmark, and anything in its layout."""

import copy
from pathlib import Path

from newsimg.data.articles import ArticleSource, load_articles
from newsimg.data.editions import map_columns
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset


class NewsImagesDataset(Dataset):
    """A CSV of articles and a folder of pictures named by image id.

    An article whose image id is empty or "N/A" is a headline without ground truth.

    Args:
        name: What to call the collection; runs of one name are compared with each other.
        csv_path: The articles: article_id, article_url, article_title, article_tags, image_id,
            image_url, with or without a header row; tags and URLs may be missing.
        image_dir: The pictures, at any depth.
        split: train, val, test (80/10/10) or all.
        subset: A CSV that lists the articles to take instead of a split.
        seed: Of the split's permutation.
        pool: Which pictures are searched: those of the split, or all.
        separator: What separates the values of `csv_path`: comma, semicolon or tab.
        id_column: What the file calls its article_id.
        title_column: What it calls its article_title.
        tags_column: What it calls its article_tags.
        image_column: What it calls its image_id.
        on_missing: "raise" or "skip" pictures that are not there.
        on_damaged: "raise" or "skip" pictures that cannot be read.

    Raises:
        ValueError: If an argument is not one of its choices, or one column is to be two.
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
        )
        self.name = name
        self.csv_path = Path(csv_path).expanduser()
        self.image_dir = Path(image_dir).expanduser()

    def load(self) -> Collection:
        """See `Dataset.load`."""
        return load_articles(self.name, self.csv_path, self.image_dir, self.source)

    def with_split(self, split: str) -> "NewsImagesDataset":
        """See `Dataset.with_split`."""
        other = copy.copy(self)
        other.source = self.source.with_split(split)
        return other
