"""Rank normalisation (Borda count)."""

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, rank_rows


class RankWeight(LinearWeight):
    """Fusion of ranks, as `1 - (rank - 1) / top_k`; equal scores get their mean rank.

    The Borda count of Aslam and Montague (2001), "Models for metasearch", scaled to (0, 1]. They
    divide the points of tied candidates evenly, which is the mean rank.
    """

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        ranks = rank_rows(scores)
        return 1.0 - (ranks - 1.0) / scores.shape[1]
