"""Bootstrap of articles and raters.

Ratings of one article are alike, and so are those of one person: intervals that took ratings for
independent would be too narrow. Articles and people are therefore both drawn with replacement, and
a rating counts as often as its article times its person (the pigeonhole bootstrap: Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Its intervals are rather too wide than
too narrow. Ratings by unknown people count once in every resample, so that intervals without
raters' ids are those of other articles rated by the same people.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.stats import CONFIDENCE

AT_ONCE = 50  # resamples; limits memory


@dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of articles and people.

    Attributes:
        queries: (n_resamples, n_queries) how often each query counts.
        means: (n_resamples, n_pictures) mean rating of each picture by the drawn people; by all
            people if none of the drawn ones has rated it.
    """

    queries: FusedArray
    means: FusedArray

    def compute(self, statistic: Callable[[FusedArray, FusedArray], FusedArray]) -> FusedArray:
        """Return a statistic of each resample.

        Args:
            statistic: Takes some rows of `queries` and `means`, and returns a row for each.
        """
        parts = [
            statistic(self.queries[start : start + AT_ONCE], self.means[start : start + AT_ONCE])
            for start in range(0, len(self.queries), AT_ONCE)
        ]
        return np.concatenate(parts)


def draw_resamples(rated: RatedPictures, n_resamples: int, seed: int) -> Resamples:
    """Draw queries with ratings, and people, with replacement."""
    random = np.random.default_rng(seed)
    own = np.flatnonzero(rated.is_rated)
    queries = np.zeros((n_resamples, len(rated.query_ids)))
    queries[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), n_resamples)
    people = np.ones((n_resamples, rated.n_raters + 1))  # the last column are unknown people
    if rated.n_raters:
        shares = np.full(rated.n_raters, 1 / rated.n_raters)
        people[:, :-1] = random.multinomial(rated.n_raters, shares, n_resamples)
    return Resamples(queries, average_by(rated, people))


def average_by(rated: RatedPictures, people: FusedArray) -> FusedArray:
    """Return the mean rating of each picture if people count differently: (n_rows, n_pictures).

    A picture that is rated only by people who do not count keeps its mean rating by all.

    Args:
        rated: The ratings.
        people: (n_rows, n_raters + 1) how often each person counts; the last column is for ratings
            by unknown people.
    """
    shape = (rated.n_raters + 1, len(rated.image_ids))
    cells = (rated.rater % shape[0], rated.picture)  # -1, unknown, is the last row
    sums = sparse.coo_array((rated.value, cells), shape).tocsr()
    counts = sparse.coo_array((np.ones(len(rated.value)), cells), shape).tocsr()
    total, number = people @ sums, people @ counts
    return np.where(number > 0, total / np.where(number > 0, number, 1), rated.means)


def weigh(values: FusedArray, weights: FusedArray) -> FusedArray:
    """Return the weighted mean over the last axis without NaNs; NaN if nothing is left."""
    weights = weights * np.isfinite(values)
    total = weights.sum(axis=-1)
    sums = (np.nan_to_num(values) * weights).sum(axis=-1)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)


def bound(resampled: FusedArray, value: float) -> tuple[float, float]:
    """Return the interval (95 %) of a statistic; NaN where no resample has a value.

    The resamples are shifted to have the value as their mean: drawing people again adds noise to
    the ratings, which lowers nDCG and correlations more than the ratings' own noise does.

    Args:
        resampled: (n_resamples,) the statistic of each resample.
        value: The statistic.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    shift = value - known.mean()
    return float(low + shift), float(high + shift)
