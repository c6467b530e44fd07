"""Hits@k and MRR@k as functions of the weight: exact, everywhere, without a grid.

A normalisation that does not look at the weight makes each candidate's fused score a straight line
in it, from its retrieval side at 0 to its rerank side at 1. The editor's picture changes rank only
where its line crosses a rival's, so the measures are step functions, and all their steps follow
from at most `top_k - 1` crossings for each query. That holds for every `LinearWeight`, reciprocal
rank fusion included: the ranks it is made of are those of the two sides, not of the fused list.

Rounding. The pipeline sorts float64 values that carry rounding errors. Around each crossing there
is a zone, about 1e-13 wide for common scores, where these decide. Outside the zones the curve is
proven to agree with the pipeline's sort; inside, one weight (where the lines meet, so a true tie)
is ranked just as the pipeline ranks it and stands for the zone. Two candidates so nearly equal on
both sides that rounding decides over more than `MAX_ZONE` are placed as exact arithmetic would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.fusion import interpolate

ROUNDING = 2.0**-49  # bounds the relative error of comparing two fused scores, with a margin
MAX_ZONE = 1e-9


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


@dataclass(frozen=True)
class _Crossings:
    """Pairs of an editor's picture and a rival whose order depends on the weight.

    `before`, `middle` and `after` tell whether the rival is ahead (0 or 1) below the zone, at the
    weight that stands for it, and above.
    """

    initial: IntArray  # (n_queries,) rank below all zones; 0 if the picture is no candidate
    query: IntArray  # (n_pairs,)
    zone: IntArray  # (n_pairs,) position in `weights`
    before: IntArray
    middle: IntArray
    after: IntArray
    weights: FusedArray  # (n_zones,) ascending


def trace_curve(
    start: FusedArray, end: FusedArray, positions: IntArray, cutoffs: Sequence[int]
) -> pd.DataFrame:
    """Compute Hits@k and MRR@k for all weights in [0, 1].

    Args:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order, which breaks ties.
        end: The same at weight 1. Between them the pipeline interpolates.
        positions: (n_queries,) column of each query's editor's picture, -1 if it is not there.
        cutoffs: The k of Hits@k and MRR@k.

    Returns:
        A row per interval: `w_lo`, `w_hi`, `hits_at_1`, `mrr_at_1` and so on for each cutoff.
        Intervals include both ends, and no float64 falls between one and the next.

    Raises:
        ValueError: If the shapes do not fit, a position is out of range, or a score not finite.
    """
    _check_lines(start, end, positions)
    n_queries, top_k = start.shape
    names, gains, units = _count_gains(cutoffs, top_k, n_queries)
    found = _find_crossings(start, end, positions)
    totals = gains[found.initial].sum(axis=0, keepdims=True)
    low, high = np.array([0.0]), np.array([1.0])
    if len(found.weights):
        changes, excursions = _sum_changes(found, gains)
        between = totals + np.vstack([np.zeros_like(totals), np.cumsum(changes, axis=0)])
        # The weights of the zones and the intervals between them take turns.
        totals = np.empty((2 * len(found.weights) + 1, len(names)), dtype=np.int64)
        totals[::2], totals[1::2] = between, between[:-1] + excursions
        low, high = np.empty(len(totals)), np.empty(len(totals))
        low[1::2] = high[1::2] = found.weights
        low[0], low[2::2] = 0.0, np.nextafter(found.weights, 2.0)
        high[-1], high[:-1:2] = 1.0, np.nextafter(found.weights, -1.0)
    return _join_equal(low, high, totals, pd.Index(names), units * n_queries)


def find_plateau(curve: pd.DataFrame, measure: str) -> Plateau:
    """Return the widest interval on which `measure` is largest; of equally wide ones the lowest.

    Wide is safe: a weight in the middle of the widest plateau is right even if the true optimum
    is a little off.

    Raises:
        ValueError: If the curve has no such measure.
    """
    if measure not in curve:
        raise ValueError(f"measure must be one of {', '.join(curve.columns[2:])}, got {measure}")
    best = curve[measure].to_numpy() == curve[measure].max()
    first = np.flatnonzero(best & ~np.append(False, best[:-1]))
    last = np.flatnonzero(best & ~np.append(best[1:], False))
    low, high = curve["w_lo"].to_numpy()[first], curve["w_hi"].to_numpy()[last]
    widest = int(np.argmax(high - low))
    return Plateau(float(low[widest]), float(high[widest]), float(curve[measure].max()))


def look_up(curve: pd.DataFrame, weight: float) -> pd.Series:
    """Return the row of the curve that `weight` falls into."""
    return curve.iloc[int(np.searchsorted(curve["w_hi"].to_numpy(), weight))]


def rank_at(start: FusedArray, end: FusedArray, positions: IntArray, weight: float) -> IntArray:
    """Rank each editor's picture at one weight, as the pipeline's stable sort would.

    Returns:
        (n_queries,) 1-based ranks; 0 where the picture is not among the candidates.
    """
    fused = interpolate(start, end, weight)
    own = np.take_along_axis(fused, np.maximum(positions, 0)[:, None], axis=1)
    earlier = np.arange(fused.shape[1]) < positions[:, None]
    ranks = 1 + ((fused > own) | ((fused == own) & earlier)).sum(axis=1)
    return np.where(positions >= 0, ranks, 0)


def score_ranks(ranks: IntArray, cutoffs: Sequence[int]) -> pd.DataFrame:
    """Return each query's Hits@k and MRR@k, in the columns of `measure_run`; rank 0 counts 0."""
    inverse = np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)
    values: dict[str, FusedArray] = {}
    for k in cutoffs:
        inside = (ranks > 0) & (ranks <= k)
        values |= {f"hits_at_{k}": inside.astype(float), f"mrr_at_{k}": inverse * inside}
    return pd.DataFrame(values)


def _check_lines(start: FusedArray, end: FusedArray, positions: IntArray) -> None:
    if start.ndim != 2 or start.shape != end.shape or positions.shape != start.shape[:1]:
        raise ValueError(
            "start and end must both be (n_queries, top_k), positions (n_queries,), "
            f"got {start.shape}, {end.shape} and {positions.shape}"
        )
    if not start.size:
        raise ValueError(f"there must be at least one query and candidate, got {start.shape}")
    if positions.min() < -1 or positions.max() >= start.shape[1]:
        raise ValueError(
            f"positions must be in [-1, {start.shape[1] - 1}], "
            f"got {positions.min()} to {positions.max()}"
        )
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("start and end must be finite")


def _count_gains(
    cutoffs: Sequence[int], top_k: int, n_queries: int
) -> tuple[list[str], IntArray, IntArray]:
    """Return the measures' names, their integer value by rank (top_k + 1, ...), and its unit.

    Sums of integers do not drift over a hundred thousand steps: equal states have equal values.
    """
    per_rank = score_ranks(np.arange(top_k + 1), cutoffs)
    unit = 2**62 // n_queries
    units = np.array([1 if name.startswith("hits") else unit for name in per_rank])
    # unit / rank in integers; a float product would lose the last bits.
    inverse = np.append(0, unit // np.arange(1, top_k + 1))
    gains = np.where(units == 1, 1, inverse[:, None]) * (per_rank.to_numpy() > 0)
    return list(per_rank), gains.astype(np.int64), units


def _find_crossings(start: FusedArray, end: FusedArray, positions: IntArray) -> _Crossings:
    """Find where each editor's picture meets each rival, and who is ahead on either side."""
    queries = np.flatnonzero(positions >= 0)
    own = positions[queries, None]
    a, b = start[queries].astype(np.float64), end[queries].astype(np.float64)
    own_a, own_b = np.take_along_axis(a, own, axis=1), np.take_along_axis(b, own, axis=1)
    lead_a, lead_b = own_a - a, own_b - b  # of the picture over the rival, at weights 0 and 1
    slope = lead_b - lead_a
    size = np.maximum(abs(a), abs(b)) + np.maximum(abs(own_a), abs(own_b))
    steep = np.where(slope == 0, 1.0, slope)
    with np.errstate(over="ignore"):  # nearly parallel lines meet far outside, or at infinity
        at = np.where(slope == 0, np.inf, -lead_a / steep)
        width = np.minimum((ROUNDING * size + 1e-300) / abs(steep), MAX_ZONE)
    crosses = (at + width >= 0) & (at - width <= 1)

    earlier = np.arange(a.shape[1]) < own
    equal = (lead_a == 0) & (lead_b == 0)
    always = np.where(equal, earlier, lead_a + lead_b < 0)
    before = np.where(crosses, slope > 0, always)
    initial = np.zeros(len(positions), dtype=np.int64)
    initial[queries] = 1 + before.sum(axis=1)

    row, rival = np.nonzero(crosses)
    at, width = np.clip(at[crosses], 0, 1), width[crosses]
    zone, weights = _merge_zones(at, np.maximum(at - width, 0), np.minimum(at + width, 1))
    here = weights[zone]
    rival_score = interpolate(a[row, rival], b[row, rival], here)
    own_score = interpolate(own_a[row, 0], own_b[row, 0], here)
    ahead = (rival_score > own_score) | ((rival_score == own_score) & earlier[row, rival])
    below = before[crosses]
    return _Crossings(
        initial,
        queries[row],
        zone,
        below.astype(np.int64),
        ahead.astype(np.int64),
        1 - below.astype(np.int64),
        weights,
    )


def _merge_zones(at: FusedArray, low: FusedArray, high: FusedArray) -> tuple[IntArray, FusedArray]:
    """Join overlapping zones; return each pair's zone, and the weight that stands for each zone."""
    if not len(at):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    order = np.argsort(low, kind="stable")
    reach = np.maximum.accumulate(high[order])
    opens = np.append(True, low[order][1:] > reach[:-1])
    zone = np.empty(len(at), dtype=np.int64)
    zone[order] = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    lowest, highest = low[order][first], reach[np.append(first[1:] - 1, len(at) - 1)]
    middle = (np.minimum.reduceat(at[order], first) + np.maximum.reduceat(at[order], first)) / 2
    # People type 0.3, and crossings that are 0.3 but for rounding should be found there.
    short = np.round(middle, 12)
    weights = np.where((lowest <= short) & (short <= highest), short, middle)
    return zone, np.where(lowest <= 0, 0.0, np.where(highest >= 1, 1.0, weights))


def _sum_changes(found: _Crossings, gains: IntArray) -> tuple[IntArray, IntArray]:
    """Return by how much the sums change over each zone, and at its weight: (n_zones, ...)."""
    order = np.lexsort((found.zone, found.query))
    query, zone = found.query[order], found.zone[order]
    new_query = np.append(True, query[1:] != query[:-1])
    first = np.flatnonzero(new_query | np.append(True, zone[1:] != zone[:-1]))
    change = np.add.reduceat((found.after - found.before)[order], first)
    excursion = np.add.reduceat((found.middle - found.before)[order], first)

    query, zone = query[first], zone[first]
    so_far = np.cumsum(change) - change
    starts = np.flatnonzero(new_query[first])
    counts = np.diff(np.append(starts, len(query)))
    ranks = found.initial[query] + so_far - np.repeat(so_far[starts], counts)

    by_zone = np.argsort(zone, kind="stable")
    zone_starts = np.searchsorted(zone[by_zone], np.arange(len(found.weights)))
    return tuple(
        np.add.reduceat((gains[ranks + step] - gains[ranks])[by_zone], zone_starts, axis=0)
        for step in (change, excursion)
    )  # type: ignore[return-value]


def _join_equal(
    low: FusedArray, high: FusedArray, totals: IntArray, names: pd.Index, scale: IntArray
) -> pd.DataFrame:
    """Drop intervals without a float64 in [0, 1], and join neighbours of equal values."""
    real = (low <= high) & (low <= 1) & (high >= 0)
    low, high, totals = low[real], high[real], totals[real]
    opens = np.append(True, (totals[1:] != totals[:-1]).any(axis=1))
    last = np.append(np.flatnonzero(opens)[1:] - 1, len(low) - 1)
    bounds = pd.DataFrame({"w_lo": low[opens], "w_hi": high[last]})
    values = pd.DataFrame(totals[opens] / scale.astype(np.float64), columns=names)
    return pd.concat([bounds, values], axis="columns")
