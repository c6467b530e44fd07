"""Division by the plain sum, as the original system did."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, divide_rows


class SignedL1Weight(LinearWeight):
    """Fusion of scores divided by their row's sum; a row that sums to zero becomes zero.

    Without negative scores this equals `L1Weight`. A row with a negative sum is reversed: its worst
    candidate is ranked first, also at weight 0. Only for reproducing the original system.
    """

    def normalize(self, scores: FloatArray) -> FusedArray:
        """Divide each row by its sum, which reverses a row whose sum is negative."""
        exact = scores.astype(np.float64)
        return divide_rows(exact, exact.sum(axis=1, keepdims=True))
