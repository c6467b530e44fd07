"""No normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight


class RawWeight(LinearWeight):
    """Takes the scores as they are: right where both sides are on one scale, as two cosines are."""

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        return scores.astype(np.float64)

    def find_divisors(self, scores: FusedArray) -> FusedArray:
        """See `LinearWeight.find_divisors`."""
        return np.ones((len(scores), 1))
