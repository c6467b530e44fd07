"""A measure of each query as a step function of the weight, for resampling queries.

`trace_curve` gives means over all queries. Here the steps are kept by query, so that the exact
curve of any sample of the queries is a sum of steps, without finding breakpoints again. Values at
the breakpoints themselves, intervals of a width of about 1e-13, are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.breakpoints import find_breakpoints, list_ranks, whole_lines
from newsimg.evaluation.curve import find_widest, score_ranks

DIGITS = 9  # sums of steps that differ only by rounding must count as equal


@dataclass(frozen=True, eq=False)
class CurveSample:
    """A curve and its sampling error.

    Attributes:
        bounds: (n_intervals + 1,) weights, ascending from 0 to 1; the ends of the intervals.
        values: (n_intervals,) mean of the measure over the queries.
        errors: (n_intervals,) bootstrap standard error of the paired difference to the best
            interval, the one in the middle of the widest with the largest value.
        peaks: (n_resamples,) best weight on each bootstrap resample of the queries: the midpoint
            of the widest interval with the largest value.
    """

    bounds: FusedArray
    values: FusedArray
    errors: FusedArray
    peaks: FusedArray

    @property
    def noise(self) -> float:
        """Width of the central half of `peaks`."""
        low, high = np.quantile(self.peaks, (0.25, 0.75))
        return float(high - low)


@dataclass(frozen=True, eq=False)
class QueryCurve:
    """A measure of each query as a step function of the weight.

    Attributes:
        bounds: (n_intervals + 1,) weights, ascending from 0 to 1; the ends of the intervals.
        initial: (n_queries,) value at weight 0.
        query: (n_steps,) row of a query whose value changes.
        interval: (n_steps,) interval at whose lower end it changes.
        step: (n_steps,) the change.
    """

    bounds: FusedArray
    initial: FusedArray
    query: IntArray
    interval: IntArray
    step: FusedArray

    def take(self, queries: IntArray) -> Self:
        """Return the curve of some of the queries, over the same intervals."""
        kept, position = renumber(self.query, queries, len(self.initial))
        return replace(
            self,
            initial=self.initial[queries],
            query=position,
            interval=self.interval[kept],
            step=self.step[kept],
        )

    def average(self, counts: IntArray | None = None) -> FusedArray:
        """Return the mean over the queries in each interval: (n_intervals,).

        Args:
            counts: (n_queries,) how often each query counts; None for once.
        """
        n_intervals = len(self.bounds) - 1
        steps, total = self.step, self.initial.sum()
        n_queries = len(self.initial)
        if counts is not None:
            steps, total = steps * counts[self.query], counts @ self.initial
            n_queries = int(counts.sum())
        sums = np.bincount(self.interval, weights=steps, minlength=n_intervals)
        return np.round((total + np.cumsum(sums)) / n_queries, DIGITS)

    def find_interval(self, weight: float) -> int:
        """Return the interval that contains a weight."""
        return int(np.searchsorted(self.bounds[1:-1], weight))

    def sample(self, n_resamples: int, seed: int) -> CurveSample:
        """Return the mean curve with its sampling error, by a bootstrap over queries."""
        values = self.average()
        best = self.find_interval(self._find_peak(values))
        peaks, total, squares = [], np.zeros_like(values), np.zeros_like(values)
        for resampled in self._resample(n_resamples, seed):
            peaks.append(self._find_peak(resampled))
            lead = resampled[best] - resampled
            total += lead
            squares += lead**2
        variances = squares / n_resamples - (total / n_resamples) ** 2
        return CurveSample(self.bounds, values, np.sqrt(np.maximum(variances, 0)), np.array(peaks))

    def _resample(self, n_resamples: int, seed: int) -> Iterator[FusedArray]:
        random, n_queries = np.random.default_rng(seed), len(self.initial)
        for _ in range(n_resamples):
            drawn = random.integers(n_queries, size=n_queries)
            yield self.average(np.bincount(drawn, minlength=n_queries))

    def _find_peak(self, values: FusedArray) -> float:
        low, high = find_widest(self.bounds[:-1], self.bounds[1:], values)
        return (low + high) / 2


def trace_queries(
    start: FusedArray, end: FusedArray, gold_columns: IntArray, measure: str
) -> QueryCurve:
    """Compute a measure of each query for all weights; see `trace_curve` for the arguments.

    Raises:
        ValueError: If the measure is not Hits@k or MRR@k.
    """
    if not re.fullmatch(r"(hits|mrr)_at_[1-9]\d*", measure):
        raise ValueError(f"measure must be hits_at_K or mrr_at_K, got {measure!r}")
    cutoff = int(measure.rpartition("_")[2])
    gains = score_ranks(np.arange(start.shape[1] + 1), [cutoff])[measure].to_numpy()
    found = find_breakpoints(whole_lines(start, end, gold_columns))
    query, index, below, _, above = list_ranks(found)
    steps = gains[above] - gains[below]
    used, interval = np.unique(index[steps != 0], return_inverse=True)
    return QueryCurve(
        bounds=np.concatenate([[0.0], found.weights[used], [1.0]]),
        initial=gains[found.initial],
        query=query[steps != 0],
        interval=interval + 1,
        step=steps[steps != 0],
    )


def renumber(
    query: IntArray, queries: IntArray, n_queries: int
) -> tuple[NDArray[np.bool_], IntArray]:
    """Return which rows are of some of the queries, and the positions of their queries in these.

    Args:
        query: (n_rows,) the query of each row.
        queries: The queries that are taken.
        n_queries: Number of all queries.
    """
    position = np.full(n_queries, -1)
    position[queries] = np.arange(len(queries))
    kept = position[query] >= 0
    return kept, position[query[kept]]
