"""The curve over the share of one member of an ensemble, the others fixed.

At share t the ensemble scores `(1 - t) * others + t * member`, a straight line in t. The run's
weight then divides each query's scores by a number S(t) of their own, such as their range.
Multiplied by S(t), which moves no rank, a fused score is `(1 - w) * retrieval * S(t) + w * (...)`,
and S(t) is straight but for a few bends. So these curves are exact, too: for the weights none, l1
and minmax at any value, for all others at value 1, where only the ensemble's own order counts. The
ensemble hands on its scores in float32, so that shares within about 1e-6 of a breakpoint may come
out on its other side.
"""

from collections.abc import Mapping

import numpy as np

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.breakpoints import Segments, whole_lines
from newsimg.weight.base import LinearWeight, interpolate


def draw_member(
    retrieval: FusedArray,
    members: Mapping[str, tuple[float, FusedArray]],
    name: str,
    weight: LinearWeight,
    gold_columns: IntArray,
) -> Segments | None:
    """Return the fused scores over the member's share, for `trace_segments`.

    Args:
        retrieval: (n_queries, top_k) normalised retrieval scores, in retrieval order.
        members: From `LinearEnsemble.normalize_members`, two or more.
        name: Of the member whose share goes from 0 to 1; the others keep their proportions.
        weight: The run's.
        gold_columns: (n_queries,) column of the editor's picture, -1 if it is not there.

    Returns:
        None if the fused scores are not straight in the share, see above.

    Raises:
        ValueError: If there are no others.
    """
    shares = [share for other, (share, _) in members.items() if other != name]
    if not shares:
        raise ValueError(f"the ensemble must have two members or more, got {name} alone")
    end = members[name][1]
    start: FusedArray = np.average(
        [scores for other, (_, scores) in members.items() if other != name], axis=0, weights=shares
    )
    if weight.value == 1:
        return whole_lines(start, end, gold_columns)
    divisors = weight.find_divisors(start)
    if divisors is None:
        return None
    # Bends nearer than 1e-9 are one: spans need a length.
    bends = np.round(np.sort(weight.find_bends(start, end), axis=1), 9)
    ends = np.hstack([np.zeros_like(divisors), bends, np.ones_like(divisors)])
    row, span = np.nonzero(ends[:, 1:] > ends[:, :-1])
    low, high = ends[row, span], ends[row, span + 1]

    def fuse(share: FusedArray) -> FusedArray:
        scores = interpolate(start[row], end[row], share[:, None])
        scale = np.asarray(weight.find_divisors(scores))
        return interpolate(retrieval[row] * scale, scores, weight.value)

    return Segments(fuse(low), fuse(high), gold_columns[row], low, high)
