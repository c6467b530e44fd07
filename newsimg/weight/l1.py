"""L1 normalisation, the original system's."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.fusion import LinearWeight, divide_rows


class L1Weight(LinearWeight):
    """Divides each row by the sum of its absolute values. A row of zeros stays one."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        return divide_rows(exact, np.abs(exact).sum(axis=1, keepdims=True))
