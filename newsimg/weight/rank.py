"""Rank normalisation (Borda count)."""

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight


class RankWeight(LinearWeight):
    """Fusion of ranks, as `1 - (rank - 1) / top_k`; equal scores get their mean rank.

    The Borda count of Aslam and Montague (2001), "Models for metasearch", scaled to (0, 1]. They
    divide the points of tied candidates evenly, which is the mean rank.
    """

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        from scipy.stats import rankdata  # takes half a second

        ranks = rankdata(-scores, axis=1, method="average")
        return 1.0 - (ranks - 1.0) / scores.shape[1]
