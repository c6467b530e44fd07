"""Breakpoints of the rank of the relevant image as a function of the weight.

The fused scores of the relevant image and of a rival are straight lines in the weight; where they
cross, the rank of the relevant image changes.

Rounding. The pipeline sorts float64 values that carry rounding errors, so a breakpoint is an
interval of weights in which these errors decide. Overlapping intervals are merged, and one weight
stands for each.
"""

from dataclasses import dataclass

import numpy as np

from newsimg.datatypes import FusedArray, IntArray
from newsimg.weight.base import interpolate

ROUNDING = 2.0**-49  # bounds the relative error of comparing two fused scores, with a margin
MAX_WIDTH = 1e-9  # of a breakpoint, in weight


@dataclass(frozen=True, eq=False)
class Segments:
    """Scores that are linear in the weight over an interval of it: a row per query and segment.

    Attributes:
        start: (n_rows, top_k) fused scores at the lower end, in retrieval order, which breaks ties.
        end: (n_rows, top_k) fused scores at the upper end.
        gold_columns: (n_rows,) column of the relevant image, -1 if it is not a candidate.
        low: (n_rows,) lower end. The segments of a query follow each other, from weight 0 on.
        high: (n_rows,) upper end, at most 1.
    """

    start: FusedArray
    end: FusedArray
    gold_columns: IntArray
    low: FusedArray
    high: FusedArray


@dataclass(frozen=True, eq=False)
class Breakpoints:
    """Pairs of a relevant image and a rival whose order depends on the weight.

    `before`, `middle` and `after` tell whether the rival ranks higher (0 or 1) below the
    breakpoint, at the weight that stands for it, and above. The rank may also change at the
    boundary of two segments of a query.

    Attributes:
        initial: (n_rows,) rank below all breakpoints of the row; 0 without a relevant image.
        final: (n_rows,) rank above them.
        row: (n_pairs,) row of `Segments`.
        index: (n_pairs,) breakpoint, as a position in `weights`.
        before: (n_pairs,)
        middle: (n_pairs,)
        after: (n_pairs,)
        boundary_row: (n_boundaries,) row of `Segments` that ends where the rank changes.
        boundary_index: (n_boundaries,) breakpoint that the boundary is part of.
        boundary_is_below: (n_boundaries,) 1 if it is below the breakpoint's weight.
        weights: (n_breakpoints,) ascending.
    """

    initial: IntArray
    final: IntArray
    row: IntArray
    index: IntArray
    before: IntArray
    middle: IntArray
    after: IntArray
    boundary_row: IntArray
    boundary_index: IntArray
    boundary_is_below: IntArray
    weights: FusedArray


def whole_lines(start: FusedArray, end: FusedArray, gold_columns: IntArray) -> Segments:
    """Return one segment per query, from weight 0 to weight 1."""
    return Segments(start, end, gold_columns, np.zeros(len(start)), np.ones(len(start)))


def find_breakpoints(segments: Segments) -> Breakpoints:
    """Find where the order of each relevant image and each rival changes, and how."""
    rows = np.flatnonzero(segments.gold_columns >= 0)
    own = segments.gold_columns[rows, None]
    low, length = segments.low[rows, None], (segments.high - segments.low)[rows, None]
    a, b = segments.start[rows].astype(np.float64), segments.end[rows].astype(np.float64)
    own_a, own_b = np.take_along_axis(a, own, axis=1), np.take_along_axis(b, own, axis=1)
    lead_a, lead_b = own_a - a, own_b - b  # of the relevant image, at both ends
    slope = lead_b - lead_a
    size = np.maximum(abs(a), abs(b)) + np.maximum(abs(own_a), abs(own_b))
    steep = np.where(slope == 0, 1.0, slope)
    with np.errstate(over="ignore"):  # nearly parallel lines meet far outside, or at infinity
        at = np.where(slope == 0, np.inf, -lead_a / steep)
        width = np.minimum((ROUNDING * size + 1e-300) / abs(steep), MAX_WIDTH / length)
    crosses = (at + width >= 0) & (at - width <= 1)

    earlier = np.arange(a.shape[1]) < own
    always = np.where(lead_a == 0, earlier, lead_a < 0)  # a line that is equal at one end crosses
    before = np.where(crosses, slope > 0, always)
    after = np.where(crosses, slope < 0, always)
    initial, final = np.zeros((2, len(segments.gold_columns)), dtype=np.int64)
    initial[rows], final[rows] = 1 + before.sum(axis=1), 1 + after.sum(axis=1)
    follows = np.append(segments.low[1:] > 0, False)
    boundaries = np.flatnonzero(follows & (np.append(initial[1:], 0) != final))

    n, rival = np.nonzero(crosses)
    at, width = np.clip(at[crosses], 0, 1), width[crosses]
    low, length = low[n, 0], length[n, 0]
    ends = [low + np.clip(local, 0, 1) * length for local in (at, at - width, at + width)]
    index, weights = _merge_overlapping(
        *(np.append(end, segments.high[boundaries]) for end in ends)
    )
    index, boundary_index = index[: len(n)], index[len(n) :]
    here = np.clip((weights[index] - low) / length, 0, 1)
    rival_score = interpolate(a[n, rival], b[n, rival], here)
    own_score = interpolate(own_a[n, 0], own_b[n, 0], here)
    ahead = (rival_score > own_score) | ((rival_score == own_score) & earlier[n, rival])
    # At the breakpoint's weight only the segment that contains it counts; earlier segments have
    # their final order there, later ones their initial order.
    ahead = np.where(weights[index] > low + length, after[crosses], ahead)
    ahead = np.where((weights[index] <= low) & (low > 0), before[crosses], ahead)
    return Breakpoints(
        initial=initial,
        final=final,
        row=rows[n],
        index=index,
        before=before[crosses].astype(np.int64),
        middle=ahead.astype(np.int64),
        after=after[crosses].astype(np.int64),
        boundary_row=boundaries,
        boundary_index=boundary_index,
        boundary_is_below=(segments.high[boundaries] < weights[boundary_index]).astype(np.int64),
        weights=weights,
    )


def _merge_overlapping(
    at: FusedArray, low: FusedArray, high: FusedArray
) -> tuple[IntArray, FusedArray]:
    """Merge overlapping intervals; return the index of each one's breakpoint, and their weights."""
    if not len(at):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    order = np.argsort(low, kind="stable")
    reach = np.maximum.accumulate(high[order])
    opens = np.append(True, low[order][1:] > reach[:-1])
    index = np.empty(len(at), dtype=np.int64)
    index[order] = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    lowest, highest = low[order][first], reach[np.append(first[1:] - 1, len(at) - 1)]
    middle = (np.minimum.reduceat(at[order], first) + np.maximum.reduceat(at[order], first)) / 2
    # A breakpoint that equals 0.3 up to rounding is placed at 0.3, which users type.
    short = np.round(middle, 12)
    weights = np.where((lowest <= short) & (short <= highest), short, middle)
    return index, np.where(lowest <= 0, 0.0, np.where(highest >= 1, 1.0, weights))


def list_ranks(found: Breakpoints) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """List how the rank of each relevant image changes, in the order of rows and breakpoints.

    Returns:
        Five arrays (n_changes,): row of `Segments`; index of the breakpoint; and the rank below the
        breakpoint, at its weight and above it.
    """
    order = np.lexsort((found.index, found.row))
    row, index = found.row[order], found.index[order]
    if not len(row):
        return row, index, row, row, row
    new_row = np.append(True, row[1:] != row[:-1])
    first = np.flatnonzero(new_row | np.append(True, index[1:] != index[:-1]))
    change = np.add.reduceat((found.after - found.before)[order], first)
    here = np.add.reduceat((found.middle - found.before)[order], first)
    row, index = row[first], index[first]
    so_far = np.cumsum(change) - change
    starts = np.flatnonzero(new_row[first])
    counts = np.diff(np.append(starts, len(row)))
    ranks = found.initial[row] + so_far - np.repeat(so_far[starts], counts)
    return row, index, ranks, ranks + here, ranks + change


def sum_changes(found: Breakpoints, gains: IntArray) -> tuple[IntArray, IntArray]:
    """Sum the changes of the measures at the breakpoints over the queries.

    Args:
        found: The breakpoints.
        gains: (top_k + 1, n_measures) value of each rank; rank 0 stands for no candidate.

    Returns:
        changes: (n_breakpoints, n_measures) from below each breakpoint to above it.
        at_weight: (n_breakpoints, n_measures) from below each breakpoint to its weight.
    """
    changes, at_weight = np.zeros((2, len(found.weights), gains.shape[1]), dtype=np.int64)
    _, index, below, here, above = list_ranks(found)
    np.add.at(changes, index, gains[above] - gains[below])
    np.add.at(at_weight, index, gains[here] - gains[below])
    jumps = gains[found.initial[found.boundary_row + 1]] - gains[found.final[found.boundary_row]]
    np.add.at(changes, found.boundary_index, jumps)
    np.add.at(at_weight, found.boundary_index, jumps * found.boundary_is_below[:, None])
    return changes, at_weight
