"""Reciprocal rank fusion."""

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, rank_rows


class RRFWeight(LinearWeight):
    """Fusion of reciprocal ranks `1 / (k + rank)`; equal scores get their mean rank.

    Cormack, Clarke and Buettcher (2009), "Reciprocal rank fusion outperforms Condorcet and
    individual rank learning methods", whose unweighted sum is `value=0.5` here. They do not
    specify ties; the mean rank is that of the Borda count, see `RankWeight`.
    """

    def __init__(self, *, value: float, k: float = 60.0) -> None:
        super().__init__(value=value)
        if k < 0:
            raise ValueError(f"weight.k must be at least 0, got {k}")
        self.k = float(k)

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        return 1.0 / (self.k + rank_rows(scores))
