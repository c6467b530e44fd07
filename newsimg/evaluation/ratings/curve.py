"""The mean rating of the first picture and nDCG@k as exact functions of the weight.

Both depend on the ranks of the rated pictures alone, which change at the breakpoints of
`newsimg.evaluation.breakpoints`: each rated candidate takes the place that the relevant image has
there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.breakpoints import Breakpoints, find_breakpoints, list_ranks, whole_lines
from newsimg.evaluation.curve import join_equal, place_steps, rank_at
from newsimg.evaluation.query_curve import DIGITS, QueryCurve, renumber
from newsimg.evaluation.ratings.measures import LEAST_RATING, MEAN_RATING, RATED_SHARE, discount
from newsimg.evaluation.ratings.rated import RatedPictures

MEASURE = rf"{MEAN_RATING}|{LEAST_RATING}|{RATED_SHARE}|ndcg_at_([1-9]\d*)"


def is_by_ratings(measure: str) -> bool:
    """Return whether a measure is one of people's ratings."""
    return re.fullmatch(MEASURE, measure) is not None


@dataclass(frozen=True, eq=False)
class RatioCurve(QueryCurve):
    """A ratio of two sums over queries, both step functions of the weight.

    Attributes:
        counts: (n_queries,) the query's part of the divisor at weight 0.
        count_step: (n_steps,) its change at each step.
    """

    counts: FusedArray
    count_step: FusedArray

    def take(self, queries: IntArray) -> Self:
        """See `QueryCurve.take`."""
        kept, _ = renumber(self.query, queries, len(self.initial))
        return replace(
            super().take(queries),
            counts=self.counts[queries],
            count_step=self.count_step[kept],
        )

    def average(self, counts: IntArray | None = None) -> FusedArray:
        """Return the ratio in each interval, see `QueryCurve.average`; 0 where the divisor is."""
        own = np.ones(len(self.initial)) if counts is None else counts
        sums = []
        for initial, step in ((self.initial, self.step), (self.counts, self.count_step)):
            steps = np.bincount(
                self.interval, weights=step * own[self.query], minlength=len(self.bounds) - 1
            )
            sums.append(np.round(own @ initial + np.cumsum(steps), DIGITS))
        total, number = sums
        ratio = np.where(number > 0, total / np.where(number > 0, number, 1), 0.0)
        return np.round(ratio, DIGITS).astype(np.float64)


@dataclass(frozen=True, eq=False)
class RatedLines:
    """Fused scores as a function of the weight, of queries with rated candidates.

    Attributes:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order.
        end: The same at weight 1.
        query: (n_rated,) query of each rated candidate.
        column: (n_rated,) its column.
        mean: (n_rated,) its mean rating.
        grade: (n_rated,) its grade.
        best: (n_queries, n_most) grades of all rated pictures of each query, the largest first,
            candidates or not; 0 at the end of shorter rows.
        low: Lowest rating of the scale.
    """

    start: FusedArray
    end: FusedArray
    query: IntArray
    column: IntArray
    mean: FusedArray
    grade: IntArray
    best: IntArray
    low: float

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.start)

    def take(self, queries: IntArray) -> "RatedLines":
        """Return the lines of some of the queries."""
        kept, position = renumber(self.query, queries, len(self.start))
        return RatedLines(
            self.start[queries],
            self.end[queries],
            position,
            self.column[kept],
            self.mean[kept],
            self.grade[kept],
            self.best[queries],
            self.low,
        )

    def score(self, weight: float, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's measures at one weight; see `measure_ratings`."""
        return self._score_ranks(self.rank(weight), cutoffs)

    def rank(self, weight: float) -> IntArray:
        """Return the rank of each rated candidate at one weight: (n_rated,)."""
        return rank_at(self.start[self.query], self.end[self.query], self.column, weight)

    def score_retrieval(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's measures by retrieval alone."""
        return self._score_ranks(self.column + 1, cutoffs)

    def _score_ranks(self, ranks: IntArray, cutoffs: Sequence[int]) -> pd.DataFrame:
        first = np.full(len(self.start), np.nan)
        first[self.query[ranks == 1]] = self.mean[ranks == 1]
        values = {MEAN_RATING: first, LEAST_RATING: np.where(np.isnan(first), self.low, first)}
        values[RATED_SHARE] = np.isfinite(first).astype(float)
        for k in cutoffs:
            gains = self._weigh_grades(k) * discount(ranks, k)
            values[f"ndcg_at_{k}"] = self._sum_up(gains)
        return pd.DataFrame(values)

    def _weigh_grades(self, cutoff: int) -> FusedArray:
        """Return each rated candidate's grade, divided by the largest DCG of its query."""
        ideal = self.best @ discount(np.arange(1, self.best.shape[1] + 1), cutoff)
        return self.grade / np.where(ideal > 0, ideal, 1)[self.query]

    def trace(self, measure: str) -> QueryCurve:
        """Return the curve of a measure by query.

        Raises:
            ValueError: If the measure is not one of ratings.
        """
        if (match := re.fullmatch(MEASURE, measure)) is None:
            raise ValueError(f"measure must be {MEAN_RATING} or ndcg_at_K, got {measure!r}")
        cutoff = int(match[1] or 1)
        value = self._find_factor(measure)
        found = self._find()
        row, index, below, _, above = list_ranks(found)
        moved = discount(above, cutoff) - discount(below, cutoff)
        used, interval = np.unique(index[moved != 0], return_inverse=True)
        row, moved = row[moved != 0], moved[moved != 0]
        shown = discount(found.initial, cutoff)
        curve = QueryCurve(
            bounds=np.concatenate([[0.0], found.weights[used], [1.0]]),
            initial=self._sum_up(value * shown) + (self.low if measure == LEAST_RATING else 0.0),
            query=self.query[row],
            interval=interval + 1,
            step=value[row] * moved,
        )
        if measure != MEAN_RATING:
            return curve
        return RatioCurve(**vars(curve), counts=self._sum_up(shown), count_step=moved)

    def _sum_up(self, values: FusedArray) -> FusedArray:
        """Return the sum of each query's rated candidates: (n_queries,)."""
        sums = np.bincount(self.query, values, minlength=self.n_queries)
        return sums.astype(np.float64)

    def _find_factor(self, measure: str) -> FusedArray:
        """Return what a rated candidate adds to a measure's sum, but for the factor of its rank."""
        if measure == RATED_SHARE:
            return np.ones(len(self.query))
        if measure == LEAST_RATING:
            return self.mean - self.low
        return self.mean if measure == MEAN_RATING else self._weigh_grades(int(measure[8:]))

    def _find(self) -> Breakpoints:
        return find_breakpoints(
            whole_lines(self.start[self.query], self.end[self.query], self.column)
        )

    def draw_curve(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return the curve of all measures: `w_lo`, `w_hi`, and a column for each; exact.

        Intervals include both ends, see `trace_curve`.
        """
        names = [MEAN_RATING, LEAST_RATING, RATED_SHARE, *(f"ndcg_at_{k}" for k in cutoffs)]
        factors = np.stack([self._find_factor(name) for name in names], axis=1)
        found = self._find()
        row, index, *ranks = list_ranks(found)

        def weigh(at: IntArray, rows: IntArray) -> FusedArray:
            shown = [discount(at, k) for k in (1, 1, 1, *cutoffs)]
            return np.stack(shown, axis=1) * factors[rows]

        below, here, above = (weigh(at, row) for at in ranks)
        changes, at_weight = np.zeros((2, len(found.weights), len(names)))
        np.add.at(changes, index, above - below)
        np.add.at(at_weight, index, here - below)
        initial = weigh(found.initial, np.arange(len(self.query))).sum(axis=0, keepdims=True)
        low, high, totals = place_steps(found.weights, initial, changes, at_weight)
        low, high, totals = join_equal(low, high, np.round(totals, DIGITS))
        shares = totals[:, 2]
        values = totals / len(self.start)
        values[:, 1] += self.low
        values[:, 0] = np.where(shares > 0, totals[:, 0] / np.where(shares > 0, shares, 1), np.nan)
        bounds = pd.DataFrame({"w_lo": low, "w_hi": high})
        return pd.concat([bounds, pd.DataFrame(values, columns=names)], axis="columns")


def draw_rated_lines(
    start: FusedArray, end: FusedArray, rated: RatedPictures, columns: IntArray
) -> RatedLines:
    """Return the lines of the queries with ratings.

    Args:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order.
        end: The same at weight 1.
        rated: The ratings of these queries.
        columns: Result of `rated.find_columns` for retrieval.

    Raises:
        ValueError: If no candidate is rated.
    """
    kept = np.flatnonzero(rated.is_rated)
    inside = columns >= 0
    if not inside.any():
        raise ValueError(
            f"none of the {len(columns)} rated pictures is among the candidates of its headline; "
            f"rated are pictures like {rated.image_ids[0]!r}"
        )
    grades = np.append(rated.grades, 0)[rated.table]
    return RatedLines(
        start[kept],
        end[kept],
        np.searchsorted(kept, rated.query[inside]),
        columns[inside],
        rated.means[inside],
        rated.grades[inside],
        -np.sort(-grades[kept], axis=1),
        rated.low,
    )
