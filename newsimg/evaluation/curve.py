"""Hits@k, MRR@k and Precision@k as functions of the weight: exact, for all weights, without a grid.

A normalisation that does not depend on the weight makes each candidate's fused score linear in it,
from the normalised retrieval score at weight 0 to the normalised rerank score at 1. The relevant
image changes rank only at breakpoints, where its line crosses that of a rival, so the measures are
step functions with at most `top_k - 1` breakpoints per query. That holds for every `LinearWeight`,
reciprocal rank fusion included: it fuses the ranks of the two sides, not of the fused list.

Rounding. The pipeline sorts float64 values that carry rounding errors. Each breakpoint is an
interval, about 1e-13 wide for common scores, in which these errors decide. Outside of it the curve
is proven to agree with the pipeline's sort; inside, one weight (where the lines cross, so a true
tie) is ranked as the pipeline ranks it and stands for the interval. Two candidates so nearly equal
on both sides that rounding errors decide over more than `MAX_WIDTH` are ordered by exact
arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.breakpoints import Segments, find_breakpoints, sum_changes, whole_lines
from newsimg.storage.text.suggest import check_choice
from newsimg.weight.base import interpolate

Totals = TypeVar("Totals", IntArray, FusedArray)


@dataclass(frozen=True)
class Plateau:
    """An interval of weights, both ends included, over which a measure keeps one value."""

    low: float
    high: float
    value: float

    @property
    def midpoint(self) -> float:
        """The weight farthest from both ends."""
        return (self.low + self.high) / 2


def trace_curve(
    start: FusedArray, end: FusedArray, gold_columns: IntArray, cutoffs: Sequence[int]
) -> pd.DataFrame:
    """Compute Hits@k, MRR@k and Precision@k for all weights in [0, 1].

    Args:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order, which breaks ties.
        end: (n_queries, top_k) fused scores at weight 1. Between them the pipeline interpolates.
        gold_columns: (n_queries,) column of the relevant image, -1 if it is not a candidate.
        cutoffs: The k of the measures.

    Returns:
        A row per interval: `w_lo`, `w_hi`, `hits_at_1`, `mrr_at_1` and so on for each cutoff.
        Intervals include both ends, and no float64 falls between one and the next.

    Raises:
        ValueError: If the shapes do not fit, a column is out of range, or a score not finite.
    """
    return trace_segments(whole_lines(start, end, gold_columns), cutoffs)


def trace_segments(segments: Segments, cutoffs: Sequence[int]) -> pd.DataFrame:
    """Compute the curve of scores that are piecewise linear in the weight; see `trace_curve`."""
    _check_lines(segments.start, segments.end, segments.gold_columns)
    first = segments.low == 0
    n_queries, top_k = int(first.sum()), segments.start.shape[1]
    names, gains, units = _count_gains(cutoffs, top_k, n_queries)
    found = find_breakpoints(segments)
    initial = gains[found.initial[first]].sum(axis=0, keepdims=True)
    changes, at_weight = sum_changes(found, gains)
    low, high, totals = place_steps(found.weights, initial, changes, at_weight)
    low, high, totals = join_equal(low, high, totals)
    bounds = pd.DataFrame({"w_lo": low, "w_hi": high})
    values = pd.DataFrame(totals / (units * n_queries).astype(np.float64), columns=pd.Index(names))
    return pd.concat([bounds, values], axis="columns")


def place_steps(
    weights: FusedArray, initial: Totals, changes: Totals, at_weight: Totals
) -> tuple[FusedArray, FusedArray, Totals]:
    """Return the intervals of weights between and at breakpoints, and the totals in them.

    Args:
        weights: (n_breakpoints,) ascending.
        initial: (1, n_measures) totals below all breakpoints.
        changes: (n_breakpoints, n_measures) from below each breakpoint to above it.
        at_weight: (n_breakpoints, n_measures) from below each breakpoint to its weight.

    Returns:
        (n_intervals,) lower ends, (n_intervals,) upper ends, both included, and
        (n_intervals, n_measures) totals. Intervals may contain no float64.
    """
    between = initial + np.vstack([np.zeros_like(initial), np.cumsum(changes, axis=0)])
    # The breakpoints and the intervals between them alternate.
    totals = np.empty((2 * len(weights) + 1, initial.shape[1]), dtype=initial.dtype)
    totals[::2], totals[1::2] = between, between[:-1] + at_weight
    low, high = np.empty(len(totals)), np.empty(len(totals))
    low[1::2] = high[1::2] = weights
    low[0], low[2::2] = 0.0, np.nextafter(weights, 2.0)
    high[-1], high[:-1:2] = 1.0, np.nextafter(weights, -1.0)
    return low, high, totals


def find_plateau(curve: pd.DataFrame, measure: str) -> Plateau:
    """Return the widest interval on which `measure` is largest; of equally wide ones the lowest.

    The midpoint of the widest plateau remains optimal if the true optimum is slightly shifted.

    Raises:
        ValueError: If the curve has no such measure.
    """
    check_choice("measure", measure, list(curve.columns[2:]))
    values = curve[measure].to_numpy()
    low, high = find_widest(curve["w_lo"].to_numpy(), curve["w_hi"].to_numpy(), values)
    return Plateau(low, high, float(values.max()))


def find_widest(low: FusedArray, high: FusedArray, values: FusedArray) -> tuple[float, float]:
    """Return the ends of the widest interval of the largest value; see `find_plateau`.

    Args:
        low: (n_intervals,) lower ends, ascending; each interval begins where the one before ends.
        high: (n_intervals,) upper ends.
        values: (n_intervals,)
    """
    best = values == values.max()
    first = np.flatnonzero(best & ~np.append(False, best[:-1]))
    last = np.flatnonzero(best & ~np.append(best[1:], False))
    lowest, highest = low[first], high[last]
    widest = int(np.argmax(highest - lowest))
    return float(lowest[widest]), float(highest[widest])


def look_up(curve: pd.DataFrame, weight: float) -> pd.Series:
    """Return the row of the curve that contains `weight`."""
    return curve.iloc[int(np.searchsorted(curve["w_hi"].to_numpy(), weight))]


def rank_at(start: FusedArray, end: FusedArray, gold_columns: IntArray, weight: float) -> IntArray:
    """Rank each relevant image at one weight, as the pipeline's stable sort would.

    Returns:
        (n_queries,) 1-based ranks; 0 where the relevant image is not among the candidates.
    """
    fused = interpolate(start, end, weight)
    own = np.take_along_axis(fused, np.maximum(gold_columns, 0)[:, None], axis=1)
    earlier = np.arange(fused.shape[1]) < gold_columns[:, None]
    ranks = 1 + ((fused > own) | ((fused == own) & earlier)).sum(axis=1)
    return np.where(gold_columns >= 0, ranks, 0)


def score_ranks(ranks: IntArray, cutoffs: Sequence[int]) -> pd.DataFrame:
    """Return each query's measures in the columns of `measure_run`; rank 0 counts 0.

    The query has one relevant image, so that Precision@k is Hits@k / k.
    """
    inverse = 1.0 / np.maximum(ranks, 1)
    values: dict[str, FusedArray] = {}
    for k in cutoffs:
        inside = (ranks > 0) & (ranks <= k)
        values |= {f"hits_at_{k}": inside.astype(float), f"mrr_at_{k}": inverse * inside}
        values |= {f"precision_at_{k}": inside / k}
    return pd.DataFrame(values)


def _check_lines(start: FusedArray, end: FusedArray, gold_columns: IntArray) -> None:
    if start.ndim != 2 or start.shape != end.shape or gold_columns.shape != start.shape[:1]:
        raise ValueError(
            "start and end must both be (n_queries, top_k), gold_columns (n_queries,), "
            f"got {start.shape}, {end.shape} and {gold_columns.shape}"
        )
    if not start.size:
        raise ValueError(f"there must be at least one query and candidate, got {start.shape}")
    if gold_columns.min() < -1 or gold_columns.max() >= start.shape[1]:
        raise ValueError(
            f"gold_columns must be in [-1, {start.shape[1] - 1}], "
            f"got {gold_columns.min()} to {gold_columns.max()}"
        )
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("start and end must be finite")


def _count_gains(
    cutoffs: Sequence[int], top_k: int, n_queries: int
) -> tuple[list[str], IntArray, IntArray]:
    """Return the measures' names, their integer value by rank (top_k + 1, ...), and its unit.

    Sums of integers are exact over a hundred thousand steps, so equal states have equal values.
    """
    per_rank = score_ranks(np.arange(top_k + 1), cutoffs)
    unit = 2**62 // n_queries
    units = np.array([n for k in cutoffs for n in (1, unit, k)])  # of Hits, MRR and Precision
    # unit / rank in integers; a float product would lose the last bits.
    inverse = np.append(0, unit // np.arange(1, top_k + 1))
    gains = np.where(units == unit, inverse[:, None], 1) * (per_rank.to_numpy() > 0)
    return list(per_rank), gains.astype(np.int64), units


def join_equal(
    low: FusedArray, high: FusedArray, totals: Totals
) -> tuple[FusedArray, FusedArray, Totals]:
    """Drop intervals without a float64, and join neighbours of equal totals."""
    real = low <= high
    low, high, totals = low[real], high[real], totals[real]
    opens = np.append(True, (totals[1:] != totals[:-1]).any(axis=1))
    last = np.append(np.flatnonzero(opens)[1:] - 1, len(low) - 1)
    return low[opens], high[last], totals[opens]
