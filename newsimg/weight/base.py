"""Base classes of linear score fusion."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, FusedArray, Query
from newsimg.interfaces import Reranker, Weight


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


class LinearEnsemble(Reranker):
    """A reranker whose score is the weighted sum of its members' normalised scores."""

    @abstractmethod
    def normalize_members(
        self, queries: Sequence[Query], candidates: Candidates
    ) -> Mapping[str, tuple[float, FusedArray]]:
        """Return each member's share (they sum to 1) and normalised (n_queries, top_k) scores."""


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
