"""Bootstrap of articles and people.

Ratings of one article are alike, and so are those of one person: intervals that took ratings for
independent would be too narrow. Articles and people are therefore both drawn with replacement, and
a rating counts as often as its article times its person (the pigeonhole bootstrap: Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1, 2007), n - 1 of n of each, so that the
variance has no bias for small n (Rao and Wu, JASA 83, 1988). There are often few people, so that
percentiles are still too narrow; they are stretched by the quantile of Student's t, with the
degrees of freedom of the two variances (Satterthwaite, 1946). Ratings by unknown people count once
in every resample, so that intervals without raters' ids are those of other articles rated by the
same people.

A picture therefore counts as often as its ratings do on average. If each picture counted once, by
the mean of those of its raters who are drawn, much of the variance between people would be lost:
all of it with one rating for each picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
        shares: (n_resamples, n_pictures) how often its ratings count, on average.
        query_shares: (n_resamples, n_queries) how often the ratings of all pictures of a query do.
        n_articles: Number of queries that are drawn from.
        n_raters: Number of people that are drawn from.
    """

    queries: FusedArray
    means: FusedArray
    shares: FusedArray
    query_shares: FusedArray
    n_articles: int
    n_raters: int

    def compute(self, statistic: Callable[[FusedArray], FusedArray]) -> FusedArray:
        """Return a statistic of each resample.

        Args:
            statistic: Takes some rows of `means`, and returns a row for each.
        """
        starts = range(0, len(self.means), AT_ONCE)
        return np.concatenate([statistic(self.means[i : i + AT_ONCE]) for i in starts])

    def bound(
        self, values: FusedArray, value: float, shares: FusedArray | None = None
    ) -> tuple[float, float, float]:
        """Return the interval (95 %) and the p value of a mean over queries.

        The resamples are shifted to have the value as their mean: drawing people again adds noise
        to the ratings, which lowers nDCG and correlations more than the ratings' own noise does.

        Args:
            values: (n_resamples, n_queries) what is averaged, in each resample; NaN is left out.
            value: The mean.
            shares: (n_resamples, n_queries) how often the ratings count that a query's value is
                made of; None for those of all its pictures.

        Returns:
            low, high, and the two-sided p value of 0: the level at which the interval ends there.
            NaN where no resample has a value.
        """
        shares = self.query_shares if shares is None else shares
        drawn = weigh(values, self.queries * shares)
        known = drawn[np.isfinite(drawn)]
        if not len(known):
            return np.nan, np.nan, np.nan
        by_people = weigh(values, shares)
        stretch = self._find_stretch(float(known.var()), float(np.nanvar(by_people)))
        shifted = value + (known - known.mean()) * stretch
        low, high = np.quantile(shifted, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
        beyond = min((shifted <= 0).sum(), (shifted >= 0).sum())
        return float(low), float(high), min(2 * float(beyond + 1) / (len(known) + 1), 1.0)

    def _find_stretch(self, variance: float, by_people: float) -> float:
        """Return the quantile of Student's t, relative to that of the normal distribution.

        Args:
            variance: Of the resamples of articles and people.
            by_people: Of the resamples of people alone.
        """
        parts = (
            (max(variance - by_people, 0.0), self.n_articles - 1),
            (by_people, self.n_raters - 1),
        )
        spread = sum(part**2 / freedom for part, freedom in parts if freedom > 0)
        if spread == 0:
            return 1.0
        freedom = sum(part for part, freedom in parts if freedom > 0) ** 2 / spread
        from scipy.special import ndtri, stdtrit

        tail = (1 + CONFIDENCE) / 2
        return float(stdtrit(freedom, tail) / ndtri(tail))


def draw_resamples(rated: RatedPictures, n_resamples: int, seed: int) -> Resamples:
    """Draw queries with ratings, and people, with replacement."""
    random = np.random.default_rng(seed)
    own = np.flatnonzero(rated.is_rated)
    queries = np.zeros((n_resamples, len(rated.query_ids)))
    queries[:, own] = draw_counts(random, len(own), n_resamples)
    means, numbers = average_by(rated, draw_people(random, rated.n_raters, n_resamples))
    totals = np.maximum(rated.sum_up(rated.counts[None].astype(np.float64)), 1)
    shares, query_shares = numbers / rated.counts, rated.sum_up(numbers) / totals
    return Resamples(queries, means, shares, query_shares, len(own), rated.n_raters)


def draw_counts(random: np.random.Generator, n: int, n_resamples: int) -> FusedArray:
    """Return how often each of n counts in each resample of n - 1; a single one counts once."""
    if n < 2:
        return np.ones((n_resamples, n))
    return random.multinomial(n - 1, np.full(n, 1 / n), n_resamples).astype(np.float64)


def draw_people(random: np.random.Generator, n_raters: int, n_resamples: int) -> FusedArray:
    """Return how often each person counts in each resample, unknown people in the last column."""
    people = np.ones((n_resamples, n_raters + 1))
    people[:, :-1] = draw_counts(random, n_raters, n_resamples)
    return people


def average_by(rated: RatedPictures, people: FusedArray) -> tuple[FusedArray, FusedArray]:
    """Return the mean rating of each picture, and the number of its ratings, by some people.

    A picture that is rated only by people who do not count keeps its mean rating by all.

    Args:
        rated: The ratings.
        people: (n_rows, n_raters + 1) how often each person counts; the last column is for ratings
            by unknown people.

    Returns:
        (n_rows, n_pictures) means, and (n_rows, n_pictures) numbers.
    """
    from scipy import sparse  # slow import, not needed to validate a config

    shape = (rated.n_raters + 1, len(rated.image_ids))
    cells = (rated.rater % shape[0], rated.picture)  # -1, unknown, is the last row
    sums = sparse.coo_array((rated.value, cells), shape).tocsr()
    counts = sparse.coo_array((np.ones(len(rated.value)), cells), shape).tocsr()
    total, number = people @ sums, people @ counts
    means = np.where(number > 0, total / np.where(number > 0, number, 1), rated.means)
    return means, number


def weigh(values: FusedArray, weights: FusedArray) -> FusedArray:
    """Return the weighted mean over the last axis without NaNs; NaN if nothing is left."""
    weights = weights * np.isfinite(values)
    total = weights.sum(axis=-1)
    sums = (np.nan_to_num(values) * weights).sum(axis=-1)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)


def bound(resampled: FusedArray, value: float) -> tuple[float, float]:
    """Return the percentile interval (95 %) of a statistic, shifted as in `Resamples.bound`.

    Args:
        resampled: (n_resamples,) the statistic of each resample.
        value: The statistic.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)) - known.mean()
    return float(value + low), float(value + high)
