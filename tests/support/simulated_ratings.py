"""Surveys among simulated people about made-up rankings, whose true measures are known."""

from dataclasses import dataclass

import numpy as np

from newsimg.datatypes import FusedArray, Rating
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings
from newsimg.sample.raters import RaterModel, measure_appeal, measure_fit
from newsimg.sample.scenes import Scene, newsroom_scene

MODEL = RaterModel(strictness=0.5, noise=0.7)
SEED = 4  # of the newsroom; its pictures are not drawn


@dataclass(frozen=True)
class Population:
    """Articles with candidates, of which the true appeal and the scores are known.

    Attributes:
        appeal: (n_articles, top_k) appeal of each candidate.
        retrieval: (n_articles, top_k) retrieval scores, descending: fit with noise.
        rerank: (n_articles, top_k) rerank scores: quality with noise.
    """

    appeal: FusedArray
    retrieval: FusedArray
    rerank: FusedArray

    def take(self, articles: np.ndarray) -> "Population":
        """Return some of the articles."""
        return Population(self.appeal[articles], self.retrieval[articles], self.rerank[articles])

    def find_first(self, weight: float) -> np.ndarray:
        """Return the column of each article's first candidate at a weight."""
        return ((1 - weight) * self.retrieval + weight * self.rerank).argmax(axis=1)

    def expect(self, weight: float) -> FusedArray:
        """Return the true mean rating of each article's first candidate at a weight."""
        rows = np.arange(len(self.appeal))
        return MODEL.expect(self.appeal[rows, self.find_first(weight)])


def make_population(n_articles: int, top_k: int, seed: int) -> Population:
    """Draw articles and candidates: the article's own scene and scenes of other articles."""
    random = np.random.default_rng(seed)
    scenes = [newsroom_scene(SEED, number) for number in range(n_articles)]
    by_subject: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_subject.setdefault(scene.subject, []).append(scene)
    appeal, fit, quality = np.empty((3, n_articles, top_k))
    for i, article in enumerate(scenes):
        own = by_subject[article.subject]
        chosen = [article, *(own[j] for j in random.integers(len(own), size=top_k - 1))]
        appeal[i] = [measure_appeal(article, picture) for picture in chosen]
        fit[i] = [measure_fit(article, picture) for picture in chosen]
        quality[i] = [picture.image_quality for picture in chosen]
    retrieval = fit + random.normal(0, 0.25, fit.shape)
    rerank = quality + random.normal(0, 0.3, fit.shape)
    order = np.argsort(-retrieval, axis=1)
    return Population(
        *(np.take_along_axis(values, order, axis=1) for values in (appeal, retrieval, rerank))
    )


def ask_people(
    population: Population,
    random: np.random.Generator,
    n_raters: int = 12,
    n_ratings: int = 3,
    columns: np.ndarray | None = None,
) -> RatedPictures:
    """Have new people rate candidates.

    Args:
        population: The articles.
        random: Draws people and ratings.
        n_raters: Number of people.
        n_ratings: Ratings of a picture.
        columns: (n_articles, n_rated) candidates that are rated; None for all.

    Returns:
        Ratings of pictures with the ids c00, c01 and so on, by column.
    """
    strictness = MODEL.draw_strictness(n_raters, random)
    n_articles, top_k = population.appeal.shape
    given = np.tile(np.arange(top_k), (n_articles, 1)) if columns is None else columns
    ratings = []
    for article in range(n_articles):
        for column in np.unique(given[article]):
            people = random.permutation(n_raters)[:n_ratings]
            appeal = np.full(n_ratings, population.appeal[article, column])
            values = MODEL.rate(appeal, strictness[people], random)
            ratings += [
                Rating(f"q{article}", f"c{column:02}", float(value), f"r{person}")
                for person, value in zip(people, values, strict=True)
            ]
    return arrange_ratings(ratings, [f"q{i}" for i in range(n_articles)], 1.0)


def find_columns(rated: RatedPictures) -> np.ndarray:
    """Return the column of each rated picture, which its id names."""
    return np.array([int(image_id[1:]) for image_id in rated.image_ids])
