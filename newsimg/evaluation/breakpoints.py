"""Where the line of an editor's picture meets those of its rivals, and what that does to its rank.

Rounding. The pipeline sorts float64 values that carry rounding errors, so around each breakpoint
there is a zone in which these decide. Overlapping zones are joined, and one weight stands for each.
"""

from dataclasses import dataclass

import numpy as np

from newsimg.datatypes import FusedArray, IntArray
from newsimg.weight.base import interpolate

ROUNDING = 2.0**-49  # bounds the relative error of comparing two fused scores, with a margin
MAX_WIDTH = 1e-9


@dataclass(frozen=True, eq=False)
class Segments:
    """Scores that are straight lines in the weight over a span of it: a row per query and span.

    Attributes:
        start: (n_rows, top_k) fused scores at the lower end, in retrieval order, which breaks ties.
        end: The same at the upper end.
        gold_columns: (n_rows,) column of the editor's picture, -1 if it is not there.
        low: (n_rows,) lower end of the span. The spans of a query follow each other, from 0 on.
        high: (n_rows,) upper end, up to 1.
    """

    start: FusedArray
    end: FusedArray
    gold_columns: IntArray
    low: FusedArray
    high: FusedArray


@dataclass(frozen=True, eq=False)
class Breakpoints:
    """Pairs of an editor's picture and a rival whose order depends on the weight.

    `before`, `middle` and `after` tell whether the rival is ahead (0 or 1) below the zone, at the
    weight that stands for it, and above. A query may also change its rank from one span to the
    next, inside a zone.
    """

    initial: IntArray  # (n_rows,) rank below all zones of the row; 0 if there is no picture
    final: IntArray  # (n_rows,) rank above them
    row: IntArray  # (n_pairs,)
    zone: IntArray  # (n_pairs,) position in `weights`
    before: IntArray
    middle: IntArray
    after: IntArray
    joint_row: IntArray  # (n_joints,) the row that such a change follows
    joint_zone: IntArray
    joint_is_below: IntArray  # 1 if it is below the weight that stands for the zone
    weights: FusedArray  # (n_zones,) ascending


def whole_lines(start: FusedArray, end: FusedArray, gold_columns: IntArray) -> Segments:
    """Return lines that are straight from weight 0 to weight 1."""
    return Segments(start, end, gold_columns, np.zeros(len(start)), np.ones(len(start)))


def find_breakpoints(segments: Segments) -> Breakpoints:
    """Find where each editor's picture meets each rival, and who is ahead on either side."""
    rows = np.flatnonzero(segments.gold_columns >= 0)
    own = segments.gold_columns[rows, None]
    low, length = segments.low[rows, None], (segments.high - segments.low)[rows, None]
    a, b = segments.start[rows].astype(np.float64), segments.end[rows].astype(np.float64)
    own_a, own_b = np.take_along_axis(a, own, axis=1), np.take_along_axis(b, own, axis=1)
    lead_a, lead_b = own_a - a, own_b - b  # of the picture over the rival, at both ends
    slope = lead_b - lead_a
    size = np.maximum(abs(a), abs(b)) + np.maximum(abs(own_a), abs(own_b))
    steep = np.where(slope == 0, 1.0, slope)
    with np.errstate(over="ignore"):  # nearly parallel lines meet far outside, or at infinity
        at = np.where(slope == 0, np.inf, -lead_a / steep)
        width = np.minimum((ROUNDING * size + 1e-300) / abs(steep), MAX_WIDTH / length)
    crosses = (at + width >= 0) & (at - width <= 1)

    earlier = np.arange(a.shape[1]) < own
    equal = (lead_a == 0) & (lead_b == 0)
    always = np.where(equal, earlier, lead_a + lead_b < 0)
    before = np.where(crosses, slope > 0, always)
    after = np.where(crosses, slope < 0, always)
    initial, final = np.zeros((2, len(segments.gold_columns)), dtype=np.int64)
    initial[rows], final[rows] = 1 + before.sum(axis=1), 1 + after.sum(axis=1)
    follows = np.append(segments.low[1:] > 0, False)
    joints = np.flatnonzero(follows & (np.append(initial[1:], 0) != final))

    n, rival = np.nonzero(crosses)
    at, width = np.clip(at[crosses], 0, 1), width[crosses]
    low, length = low[n, 0], length[n, 0]
    ends = [low + np.clip(local, 0, 1) * length for local in (at, at - width, at + width)]
    zone, weights = _merge_zones(*(np.append(end, segments.high[joints]) for end in ends))
    zone, joint_zone = zone[: len(n)], zone[len(n) :]
    here = np.clip((weights[zone] - low) / length, 0, 1)
    rival_score = interpolate(a[n, rival], b[n, rival], here)
    own_score = interpolate(own_a[n, 0], own_b[n, 0], here)
    ahead = (rival_score > own_score) | ((rival_score == own_score) & earlier[n, rival])
    # Only the span that the zone's weight lies in has a say there; its neighbours are over, or not
    # yet begun.
    ahead = np.where(weights[zone] > low + length, after[crosses], ahead)
    ahead = np.where((weights[zone] <= low) & (low > 0), before[crosses], ahead)
    return Breakpoints(
        initial=initial,
        final=final,
        row=rows[n],
        zone=zone,
        before=before[crosses].astype(np.int64),
        middle=ahead.astype(np.int64),
        after=after[crosses].astype(np.int64),
        joint_row=joints,
        joint_zone=joint_zone,
        joint_is_below=(segments.high[joints] < weights[joint_zone]).astype(np.int64),
        weights=weights,
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
    # People type 0.3, and breakpoints that are 0.3 but for rounding should be found there.
    short = np.round(middle, 12)
    weights = np.where((lowest <= short) & (short <= highest), short, middle)
    return zone, np.where(lowest <= 0, 0.0, np.where(highest >= 1, 1.0, weights))


def sum_changes(found: Breakpoints, gains: IntArray) -> tuple[IntArray, IntArray]:
    """Sum over the queries what the zones do to the measures.

    Args:
        found: The breakpoints.
        gains: (top_k + 1, n_measures) what a rank is worth; rank 0 stands for no candidate.

    Returns:
        changes: (n_zones, n_measures) from below each zone to above.
        excursions: (n_zones, n_measures) from below each zone to the weight that stands for it.
    """
    order = np.lexsort((found.zone, found.row))
    row, zone = found.row[order], found.zone[order]
    new_row = np.append(True, row[1:] != row[:-1])[: len(row)]
    first = np.flatnonzero(new_row | np.append(True, zone[1:] != zone[:-1])[: len(row)])
    changes, excursions = np.zeros((2, len(found.weights), gains.shape[1]), dtype=np.int64)
    if len(first):
        change = np.add.reduceat((found.after - found.before)[order], first)
        excursion = np.add.reduceat((found.middle - found.before)[order], first)
        row, zone = row[first], zone[first]
        so_far = np.cumsum(change) - change
        starts = np.flatnonzero(new_row[first])
        counts = np.diff(np.append(starts, len(row)))
        ranks = found.initial[row] + so_far - np.repeat(so_far[starts], counts)
        np.add.at(changes, zone, gains[ranks + change] - gains[ranks])
        np.add.at(excursions, zone, gains[ranks + excursion] - gains[ranks])
    jumps = gains[found.initial[found.joint_row + 1]] - gains[found.final[found.joint_row]]
    np.add.at(changes, found.joint_zone, jumps)
    np.add.at(excursions, found.joint_zone, jumps * found.joint_is_below[:, None])
    return changes, excursions
