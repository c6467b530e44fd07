"""The embedded sample newsroom: synthetic news, drawn on this machine at first use."""

import copy
from pathlib import Path

from newsimg.data.articles import check_choices, check_resplit, load_articles
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset
from newsimg.sample.generator import ensure_newsroom
from newsimg.storage.files import cache_dir


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
        check_choices(split, pool)
        self.name = name
        self.split = split
        self.subset = Path(subset).expanduser() if subset else None
        self.seed = seed
        self.pool = pool

    def load(self) -> Collection:
        """See `Dataset.load`."""
        newsroom = ensure_newsroom(cache_dir())
        return load_articles(
            self.name,
            csv_path=newsroom / "newsarticles.csv",
            image_dir=newsroom / "newsimages",
            split=self.split,
            subset=self.subset,
            seed=self.seed,
            pool=self.pool,
        )

    def with_split(self, split: str) -> "SampleDataset":
        """See `Dataset.with_split`."""
        check_resplit(split, self.subset)
        other = copy.copy(self)
        other.split = split
        return other
