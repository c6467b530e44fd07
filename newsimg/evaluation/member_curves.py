"""The curve over the share of one member of an ensemble, the others fixed.

At share t the score of the ensemble is `(1 - t) * others + t * member`, linear in t. The
normalisation divides the scores of each query by a number S(t), such as their range. Multiplied by
S(t), which changes no rank, a fused score is `(1 - w) * retrieval * S(t) + w * (...)`, and S(t) is
piecewise linear. These curves are therefore exact for the weights none, l1 and minmax at any value,
and for all others at value 1, where only the order of the ensemble counts. Ensemble scores are
float32, so that shares within about 1e-6 of a breakpoint may fall on its other side.
"""

from collections.abc import Mapping

import numpy as np

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.breakpoints import Segments, whole_lines
from newsimg.storage.text.suggest import check_choice
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
        members: See `RerankScores.members`; two or more.
        name: Name of the member whose share varies from 0 to 1; the other members keep their
            proportions.
        weight: Weight of the run.
        gold_columns: (n_queries,) column of the relevant image, -1 if it is not a candidate.

    Returns:
        The segments, or None if the fused scores are not piecewise linear in the share.

    Raises:
        ValueError: If there is only one member.
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
    # Breakpoints closer than 1e-9 are merged, as segments need a length.
    bends = np.round(np.sort(weight.find_bends(start, end), axis=1), 9)
    ends = np.hstack([np.zeros_like(divisors), bends, np.ones_like(divisors)])
    row, span = np.nonzero(ends[:, 1:] > ends[:, :-1])
    low, high = ends[row, span], ends[row, span + 1]

    def fuse(share: FusedArray) -> FusedArray:
        scores = interpolate(start[row], end[row], share[:, None])
        scale = np.asarray(weight.find_divisors(scores))
        return interpolate(retrieval[row] * scale, scores, weight.value)

    return Segments(fuse(low), fuse(high), gold_columns[row], low, high)


def draw_share(
    retrieval: FusedArray,
    members: Mapping[str, tuple[float, FusedArray]],
    name: str,
    weight: LinearWeight,
) -> tuple[FusedArray, FusedArray]:
    """Return the fused scores at share 0 and at share 1, between which they are linear.

    Args:
        retrieval: See `draw_member`.
        members: See `draw_member`.
        name: See `draw_member`.
        weight: See `draw_member`.

    Raises:
        ValueError: If there is no such member, it is the only one, or the scores are not linear.
    """
    if not members:
        raise ValueError(f"task.share={name} names a member of reranker=ensemble, and this is none")
    check_choice("task.share", name, list(members))
    segments = draw_member(retrieval, members, name, weight, np.zeros(len(retrieval), np.int64))
    if segments is None or len(segments.start) > len(retrieval):
        raise ValueError(
            "task.share needs scores that are linear in the share: weight=none, or weight.value=1, "
            f"got {type(weight).__name__} with weight.value {weight.value:g}"
        )
    return segments.start, segments.end
