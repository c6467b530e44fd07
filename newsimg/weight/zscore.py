"""Standardisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, divide_rows


class ZScoreWeight(LinearWeight):
    """Fusion of standardised rows (mean 0, deviation 1); a row of equal scores becomes 0."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        # The mean of equal numbers may be rounded, and the tiny deviations would be scaled up to 1.
        # Constant rows are therefore detected by their range, which is exact.
        constant = exact.max(axis=1, keepdims=True) == exact.min(axis=1, keepdims=True)
        deviations = np.where(constant, 0.0, exact - exact.mean(axis=1, keepdims=True))
        return divide_rows(deviations, exact.std(axis=1, keepdims=True))
