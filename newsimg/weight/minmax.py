"""Min-max normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.fusion import LinearWeight, divide_rows


class MinMaxWeight(LinearWeight):
    """Maps each row's lowest score to 0 and its highest to 1; a row of equal scores to 0.

    Shaw and Fox (1994), as surveyed in Renda and Straccia (2003), "Web metasearch: rank vs. score".
    """

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        low = exact.min(axis=1, keepdims=True)
        return divide_rows(exact - low, exact.max(axis=1, keepdims=True) - low)
