"""The built-in sample newsroom: synthetic news, generated at first use."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from newsimg.data.newsimages import NewsImagesDataset
from newsimg.datatypes import Collection
from newsimg.sample.generator import DEFAULT_SEED, ensure_newsroom, newsroom_name
from newsimg.storage.files import user_cache_dir

N_ARTICLES = 4000


class SampleDataset(NewsImagesDataset):
    """4,000 invented articles with drawn pictures, in the benchmark's own layout.

    Args:
        name: Name of the collection.
        split: train, val, test (80/10/10) or all.
        subset: List of the articles to load instead of a split, see `read_listed_ids`.
        seed: Seed of the permutation that defines the split.
        pool: Pictures to search: those of the split, or all.
        filter: Conditions on the searched pictures; see `make_filter`.
        ratings: Ratings, such as those of simulated people; see `read_ratings`.

    Raises:
        ValueError: If `split` or `pool` has an invalid value.
    """

    is_sample = True

    def __init__(
        self,
        *,
        name: str,
        split: str,
        subset: str | None,
        seed: int,
        pool: str,
        filter: Mapping[str, Any] | None = None,
        ratings: str | None = None,
    ) -> None:
        folder = user_cache_dir() / newsroom_name(N_ARTICLES, DEFAULT_SEED)
        super().__init__(
            name=name,
            csv_path=str(folder / "newsarticles.csv"),
            image_dir=str(folder / "newsimages"),
            split=split,
            subset=subset,
            seed=seed,
            pool=pool,
            filter=filter,
            ratings=ratings,
        )

    def load(self) -> Collection:
        """See `Dataset.load`. The pictures are drawn when they are first searched."""
        self.provide([])
        return replace(super().load(), on_damaged=None)  # it is no setting of this data

    def provide(self, image_ids: Sequence[str]) -> None:
        """See `NewsImagesDataset.provide`."""
        cache_dir = self.image_dir.parents[1]
        ensure_newsroom(cache_dir, N_ARTICLES, DEFAULT_SEED, image_ids=image_ids)
