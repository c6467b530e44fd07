"""Pairwise preferences: the Bradley-Terry model with ties of Davidson.

Each run has a strength s. Of runs i and j

    P(i preferred) = exp(s_i) / D,   P(tie) = v exp((s_i + s_j) / 2) / D,
    D = exp(s_i) + exp(s_j) + v exp((s_i + s_j) / 2)

where v >= 0 says how common ties are (Davidson, On extending the Bradley-Terry model to accommodate
ties in paired comparison experiments, JASA 65, 1970). The packages choix and statsmodels have no
model with ties.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.ratings.resampling import bound, draw_counts

PRIOR = 0.1  # of a tie added to each pair that was compared: keeps strengths finite
MAX_STEPS, PRECISION, RIDGE = 100, 1e-9, 1e-6


@dataclass(frozen=True, eq=False)
class Pairs:
    """Comparisons of two runs' pictures for an article by a person.

    Attributes:
        names: The runs.
        first: (n_pairs,) position of one run.
        second: (n_pairs,) position of the other.
        outcome: (n_pairs,) 1 if the first is preferred, -1 if the second, 0 for a tie.
        article: (n_pairs,) number of the article.
        rater: (n_pairs,) number of the person.
    """

    names: Sequence[str]
    first: IntArray
    second: IntArray
    outcome: IntArray
    article: IntArray
    rater: IntArray

    def count(self, weights: FusedArray | None = None) -> tuple[FusedArray, FusedArray]:
        """Return how often each run is preferred to each other, and ties: (n_runs, n_runs) each.

        Args:
            weights: (n_pairs,) how often each comparison counts; None for once.
        """
        n_runs = len(self.names)
        own = np.ones(len(self.first)) if weights is None else weights
        swapped = self.outcome == -1
        row = np.where(swapped, self.second, self.first)
        column = np.where(swapped, self.first, self.second)
        cells = (self.outcome == 0) * n_runs**2 + row * n_runs + column
        counts = np.bincount(cells, weights=own, minlength=2 * n_runs**2).astype(np.float64)
        wins, ties = counts.reshape(2, n_runs, n_runs)
        return wins, ties + ties.T


def fit_strengths(
    wins: FusedArray, ties: FusedArray, prior: float = PRIOR
) -> tuple[FusedArray, FusedArray]:
    """Fit the model by maximum likelihood, with Newton's method.

    Args:
        wins: (..., n_runs, n_runs) how often the row's run is preferred to the column's.
        ties: (..., n_runs, n_runs) symmetric number of ties.
        prior: Ties, and as many preferences either way, that are added to each pair of runs that
            was compared, so that a run that always wins has a finite strength.

    Returns:
        (..., n_runs) strengths with mean 0, and v: (...).
    """
    compared = (wins + np.swapaxes(wins, -1, -2) + ties) > 0
    wins, ties = wins + prior * compared, ties + prior * compared
    n_runs = wins.shape[-1]
    i, j = np.triu_indices(n_runs, 1)
    counts = np.stack([wins[..., i, j], wins[..., j, i], ties[..., i, j]], axis=-1)
    pair = np.arange(len(i))
    # The logits of the three outcomes of a pair are linear in the strengths and log v.
    design = np.zeros((len(i), 3, n_runs + 1))
    design[pair, 0, i] = design[pair, 1, j] = design[:, 2, -1] = 1
    design[pair, 2, i] = design[pair, 2, j] = 0.5
    any_ties = bool(counts[..., 2].any())
    if not any_ties:
        counts, design = counts[..., :2], design[:, :2, :-1]
    x = np.zeros((*wins.shape[:-2], design.shape[-1]))
    for _ in range(MAX_STEPS):
        step = np.clip(_find_step(x, counts, design), -1, 1)  # far from the optimum it overshoots
        x += step
        if np.abs(step).max() < PRECISION:
            break
    strengths = x[..., :n_runs] - x[..., :n_runs].mean(axis=-1, keepdims=True)
    return strengths, np.exp(x[..., -1]) if any_ties else np.zeros(x.shape[:-1])


def _find_step(x: FusedArray, counts: FusedArray, design: FusedArray) -> FusedArray:
    """Return Newton's step; see `fit_strengths`."""
    from scipy.special import softmax  # slow import, not needed to validate a config

    shares = softmax(np.einsum("pko,...o->...pk", design, x), axis=-1)
    expected = counts.sum(axis=-1, keepdims=True) * shares
    gradient = np.einsum("...pk,pko->...o", expected - counts, design)
    means = np.einsum("...pk,pko->...po", shares, design)
    hessian = np.einsum("...pk,pko,pkq->...oq", expected, design, design)
    hessian -= np.einsum("...pk,...po,...pq->...oq", expected, means, means)
    # A number added to all strengths changes nothing: the ridge keeps it where it is.
    ridge = RIDGE * np.eye(x.shape[-1])
    return np.linalg.solve(hessian + ridge, -gradient[..., None])[..., 0]


def rate_runs(pairs: Pairs, n_resamples: int, seed: int) -> pd.DataFrame:
    """Fit strengths with intervals over articles and people.

    Returns:
        A row per run, the strongest first: `strength`, `low`, `high` (95 %), and `preferred`, the
        probability of being preferred to an average run where there is no tie.
    """
    strengths, _ = fit_strengths(*pairs.count())
    random, drawn = np.random.default_rng(seed), []
    articles, raters = np.unique(pairs.article), np.unique(pairs.rater)
    own = np.searchsorted(articles, pairs.article), np.searchsorted(raters, pairs.rater)
    for _ in range(n_resamples):
        drawn.append(pairs.count(_draw(random, own, len(articles), len(raters))))
    wins, ties = (np.stack(counts) for counts in zip(*drawn, strict=True))
    columns = zip(fit_strengths(wins, ties)[0].T, strengths, strict=True)
    bounds = np.array([bound(column, strength) for column, strength in columns])
    table = pd.DataFrame(
        {
            "strength": strengths,
            "low": bounds[:, 0],
            "high": bounds[:, 1],
            "preferred": 1 / (1 + np.exp(-strengths)),
        },
        index=pd.Index(pairs.names, name="run"),
    )
    return table.sort_values("strength", ascending=False, kind="stable")


def _draw(
    random: np.random.Generator, own: tuple[IntArray, IntArray], n_articles: int, n_raters: int
) -> FusedArray:
    """Return how often each comparison counts if articles and people are drawn again."""
    of_article, of_rater = (draw_counts(random, n, 1)[0] for n in (n_articles, n_raters))
    return of_article[own[0]] * of_rater[own[1]]


def pair_ratings(
    ratings: Mapping[str, Sequence[tuple[int, int, float]]],
) -> Pairs:
    """Turn ratings into comparisons: of two pictures of an article rated by one person.

    Args:
        ratings: Run -> article, person and rating of each rated picture of the run.
    """
    by_place: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for run, given in enumerate(ratings.values()):
        for article, rater, value in given:
            by_place.setdefault((article, rater), []).append((run, value))
    rows = []
    for (article, rater), values in by_place.items():
        for position, (run, value) in enumerate(values):
            for other, rival in values[position + 1 :]:
                if other != run:
                    rows.append((run, other, np.sign(value - rival), article, rater))
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    return Pairs(list(ratings), *columns)
