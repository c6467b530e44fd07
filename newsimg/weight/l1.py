"""L1 normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, divide_rows


class L1Weight(LinearWeight):
    """Fusion of scores divided by their row's sum of absolute values; a zero row remains zero."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        return divide_rows(exact, self.find_divisors(exact))

    def find_divisors(self, scores: FusedArray) -> FusedArray:
        """See `LinearWeight.find_divisors`."""
        return np.abs(scores).sum(axis=1, keepdims=True)

    def find_bends(self, start: FusedArray, end: FusedArray) -> FusedArray:
        """See `LinearWeight.find_bends`: where a score changes sign."""
        changes = start * end < 0
        return np.where(changes, start / np.where(changes, start - end, 1.0), 0.0)
