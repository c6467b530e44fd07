"""A survey among simulated people, on the sample newsroom."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np

from newsimg.datatypes import Collection, FusedArray, IntArray, Rating
from newsimg.interfaces import Dataset, Survey
from newsimg.sample.raters import RaterModel, measure_appeal, measure_fit, read_scenes
from newsimg.sample.scenes import Scene

STREAM = 20  # first part of the seed


class SimulatedSurvey(Survey):
    """Simulated people rate pictures of the sample newsroom; the model is `newsimg.sample.raters`.

    Of each article the pictures with the best fit are rated, equal ones in random order, without
    regard to which one is the editor's, and the first pictures of runs. Each is rated by different
    people, drawn at random.

    Args:
        splits: Splits of the data whose articles are rated, each among its own pictures.
        n_raters: Number of people.
        n_pictures: Rated pictures of an article, those with the best fit.
        runs: Folders of runs of task=evaluate, whose first pictures are rated as well.
        depth: How many of them, by retrieval and after reranking.
        n_ratings: Ratings of a picture, each by another person.
        strictness: Standard deviation of the strictness of people.
        noise: Standard deviation of the noise of a rating.
        seed: Seed of people and noise.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        splits: Sequence[str],
        n_raters: int,
        n_pictures: int,
        runs: Sequence[str],
        depth: int,
        n_ratings: int,
        strictness: float,
        noise: float,
        seed: int,
    ) -> None:
        if not 1 <= n_ratings <= n_raters:
            raise ValueError(
                f"task.survey.n_ratings must be in [1, {n_raters}] (n_raters), got {n_ratings}"
            )
        if n_pictures < (0 if runs else 1):
            raise ValueError(f"task.survey.n_pictures must be at least 1, got {n_pictures}")
        if depth < 1:
            raise ValueError(f"task.survey.depth must be at least 1, got {depth}")
        for name, value in (("strictness", strictness), ("noise", noise)):
            if value < 0:
                raise ValueError(f"task.survey.{name} must be at least 0, got {value}")
        if not splits:
            raise ValueError("task.survey.splits must name at least one split, got none")
        self.splits = splits
        self.n_raters = n_raters
        self.n_pictures = n_pictures
        self.folders = [Path(run).expanduser() for run in runs]
        self.depth = depth
        self.n_ratings = n_ratings
        self.model = RaterModel(strictness, noise)
        self.seed = seed

    def read(self, dataset: Dataset) -> list[Rating]:
        """See `Survey.read`.

        Raises:
            FileNotFoundError: If the data is not the sample newsroom, or a folder holds no run.
            ValueError: If a split does not exist.
        """
        random = np.random.default_rng([STREAM, self.seed])
        strictness = self.model.draw_strictness(self.n_raters, random)
        pooled = read_pool(self.folders, self.depth)
        ratings: list[Rating] = []
        for split in self.splits:
            collection = dataset.with_split(split).load()
            ratings += self._rate(collection, pooled, strictness, random)
        return ratings

    def _rate(
        self,
        collection: Collection,
        pooled: Mapping[str, AbstractSet[str]],
        strictness: FusedArray,
        random: np.random.Generator,
    ) -> list[Rating]:
        scenes = read_scenes(collection.images[0].path.parents[1])
        image_ids = [image.image_id for image in collection.images]
        pictures = [scenes[image_id] for image_id in image_ids]
        ratings = []
        for query in collection.queries:
            (own,) = (collection.qrels or {})[query.query_id]
            shown = pooled.get(query.query_id, frozenset())
            rows = self._choose(scenes[own], pictures, random).tolist()
            rows += [i for i in range(len(image_ids)) if image_ids[i] in shown and i not in rows]
            for row in rows:
                raters = random.permutation(self.n_raters)[: self.n_ratings]
                appeal = np.full(len(raters), measure_appeal(scenes[own], pictures[row]))
                values = self.model.rate(appeal, strictness[raters], random)
                ratings += [
                    Rating(query.query_id, image_ids[row], float(value), f"r{rater + 1}")
                    for rater, value in zip(raters, values, strict=True)
                ]
        return ratings

    def _choose(
        self, article: Scene, pictures: Sequence[Scene], random: np.random.Generator
    ) -> IntArray:
        fits = np.array([measure_fit(article, picture) for picture in pictures])
        order = np.lexsort((random.random(len(fits)), -fits))
        return order[: self.n_pictures]


def read_pool(folders: Sequence[Path], depth: int) -> dict[str, set[str]]:
    """Return the first `depth` pictures of each query in all run files of some folders.

    Raises:
        FileNotFoundError: If a folder holds no run file.
    """
    pooled: dict[str, set[str]] = {}
    for folder in folders:
        paths = sorted(folder.glob("*.run"))
        if not paths:
            raise FileNotFoundError(f"no run of task=evaluate at {folder}")
        for path in paths:
            for line in path.read_text(encoding="utf-8").splitlines():
                query_id, _, image_id, rank, *_ = line.split()
                if int(rank) <= depth:
                    pooled.setdefault(query_id, set()).add(image_id)
    return pooled
