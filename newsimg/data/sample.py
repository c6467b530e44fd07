"""The embedded sample newsroom: synthetic news, drawn on this machine at first use."""

import copy
from dataclasses import replace
from pathlib import Path

from newsimg.data.articles import ArticleSource, load_articles
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset
from newsimg.sample.generator import ensure_newsroom
from newsimg.storage.files import user_cache_dir


class SampleDataset(Dataset):
    """4,000 invented articles with drawn pictures, in the benchmark's own layout.

    Args:
        name: What to call the collection.
        split: train, val, test (80/10/10) or all.
        subset: A CSV that lists the articles to take instead of a split.
        seed: Of the split's permutation.
        pool: Which pictures are searched: those of the split, or all.

    Raises:
        ValueError: If `split` or `pool` is not one of its choices.
    """

    def __init__(self, *, name: str, split: str, subset: str | None, seed: int, pool: str) -> None:
        self.source = ArticleSource(
            split=split,
            subset=Path(subset).expanduser() if subset else None,
            seed=seed,
            pool=pool,
            separator="comma",
            columns={},
            on_missing="raise",
            on_damaged="raise",
        )
        self.name = name

    def load(self) -> Collection:
        """See `Dataset.load`."""
        newsroom = ensure_newsroom(user_cache_dir())
        csv_path, image_dir = newsroom / "newsarticles.csv", newsroom / "newsimages"
        collection = load_articles(self.name, csv_path, image_dir, self.source)
        return replace(collection, on_damaged=None)  # it is no setting of this data

    def with_split(self, split: str) -> "SampleDataset":
        """See `Dataset.with_split`."""
        other = copy.copy(self)
        other.source = self.source.with_split(split)
        return other
