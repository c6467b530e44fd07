"""Standardisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, divide_rows


class ZScoreWeight(LinearWeight):
    """Gives each row mean 0 and standard deviation 1; a row of equal scores becomes 0."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        # The mean of equal numbers may round to another number, whose tiny deviations would then
        # be blown up to 1: a flat row is told by its range, which is exact.
        flat = exact.max(axis=1, keepdims=True) == exact.min(axis=1, keepdims=True)
        deviations = np.where(flat, 0.0, exact - exact.mean(axis=1, keepdims=True))
        return divide_rows(deviations, np.where(flat, 0.0, exact.std(axis=1, keepdims=True)))
