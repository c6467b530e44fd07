"""Base classes of linear score fusion."""

from abc import abstractmethod

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.interfaces import Weight


class LinearWeight(Weight):
    """Linear fusion `(1 - value) * normalize(retrieval) + value * normalize(rerank)`.

    The normalisation does not depend on the weight, so a candidate's fused score is linear in
    `value`.
    """

    def __init__(self, *, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"weight.value must be in [0, 1], got {value}")
        self.value = float(value)

    @abstractmethod
    def normalize(self, scores: FloatArray) -> FusedArray:
        """Normalise each row of retrieval or rerank scores, preserving its order.

        Args:
            scores: (n_queries, top_k), larger is better.

        Returns:
            (n_queries, top_k) float64; a constant row remains constant.
        """

    def find_divisors(self, scores: FusedArray) -> FusedArray | None:
        """Return the divisor of each row, if `normalize` is a division and a shift.

        Returns:
            (n_queries, 1); None for other normalisations.
        """
        return None

    def find_bends(self, start: FusedArray, end: FusedArray) -> FusedArray:
        """Return where the divisor has a kink as the scores move linearly from `start` to `end`.

        Returns:
            (n_queries, n_bends) in [0, 1], 0 is `start`; additional values are allowed.
        """
        return np.zeros((len(start), 0))

    def combine(self, retrieval: FloatArray, rerank: FloatArray) -> FusedArray:
        """See `Weight.combine`."""
        check_scores(retrieval, rerank)
        return interpolate(self.normalize(retrieval), self.normalize(rerank), self.value)


def interpolate(retrieval: FusedArray, rerank: FusedArray, value: float | FusedArray) -> FusedArray:
    """Return `(1 - value) * retrieval + value * rerank`, in float64."""
    return (1.0 - value) * retrieval + value * rerank


def check_scores(retrieval: FloatArray, rerank: FloatArray) -> None:
    """Check that two score arrays can be fused.

    Raises:
        ValueError: If the shapes differ, are not (n_queries, top_k), or a score is not finite.
    """
    if retrieval.shape != rerank.shape or retrieval.ndim != 2:
        raise ValueError(
            "retrieval and rerank scores must both be (n_queries, top_k), "
            f"got {retrieval.shape} and {rerank.shape}"
        )
    for name, scores in (("retrieval", retrieval), ("rerank", rerank)):
        if not np.isfinite(scores).all():
            query, rank = np.argwhere(~np.isfinite(scores))[0]
            raise ValueError(
                f"{name} scores must be finite, got {scores[query, rank]} "
                f"for query row {query}, candidate {rank}"
            )


def divide_rows(scores: FusedArray, divisors: FusedArray) -> FusedArray:
    """Divide each row by its divisor; a row with divisor 0 becomes 0."""
    safe = np.where(divisors == 0, 1.0, divisors)
    return np.where(divisors == 0, 0.0, scores / safe)


def rank_rows(scores: FloatArray) -> FusedArray:
    """Return the ranks of each row's scores, 1 for the largest; equal ones get their mean rank.

    Those of `scipy.stats.rankdata(-scores, axis=1)`, whose import takes half a second.
    """
    order = np.argsort(-scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    column = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    differs = ordered[:, 1:] != ordered[:, :-1]
    opens = np.pad(differs, ((0, 0), (1, 0)))
    closes = np.pad(differs, ((0, 0), (0, 1)), constant_values=True)
    first = np.maximum.accumulate(np.where(opens, column, 0), axis=1)
    last = np.where(closes, column, scores.shape[1])
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, 1 + (first + last) / 2, axis=1)
    return ranks
