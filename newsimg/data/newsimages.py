"""The NewsImages benchmark, and anything in its layout."""

import copy
from pathlib import Path

from newsimg.data.articles import check_choices, check_resplit, load_articles
from newsimg.datatypes import Collection
from newsimg.interfaces import Dataset


class NewsImagesDataset(Dataset):
    """A CSV of articles and a folder of pictures named by image id.

    Args:
        name: What to call the collection; runs of one name are compared with each other.
        csv_path: The articles: article_id, article_url, article_title, article_tags, image_id,
            image_url, with or without a header row; tags and URLs may be missing.
        image_dir: The pictures.
        split: train, val, test (80/10/10) or all.
        subset: A CSV that lists the articles to take instead of a split.
        seed: Of the split's permutation.
        pool: Which pictures are searched: those of the split, or all.

    Raises:
        ValueError: If `split` or `pool` is not one of its choices.
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
    ) -> None:
        check_choices(split, pool)
        self.name = name
        self.csv_path = Path(csv_path).expanduser()
        self.image_dir = Path(image_dir).expanduser()
        self.split = split
        self.subset = Path(subset).expanduser() if subset else None
        self.seed = seed
        self.pool = pool

    def load(self) -> Collection:
        """See `Dataset.load`."""
        return load_articles(
            self.name,
            csv_path=self.csv_path,
            image_dir=self.image_dir,
            split=self.split,
            subset=self.subset,
            seed=self.seed,
            pool=self.pool,
        )

    def with_split(self, split: str) -> "NewsImagesDataset":
        """See `Dataset.with_split`."""
        check_resplit(split, self.subset)
        other = copy.copy(self)
        other.split = split
        return other
