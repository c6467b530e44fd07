"""No normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight


class RawWeight(LinearWeight):
    """Fusion of unchanged scores, for scores on the same scale, such as two cosines."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        return scores.astype(np.float64)

    def find_divisors(self, scores: FusedArray) -> FusedArray:
        """See `LinearWeight.find_divisors`."""
        return np.ones((len(scores), 1))
