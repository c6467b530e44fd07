"""The mean of the best weights on resamples of the queries."""

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.interfaces import WeightRule


class BaggedRule(WeightRule):
    """Chooses the mean of the best weights on bootstrap resamples of the queries.

    Bagging (Breiman, 1996, "Bagging predictors") of `WidestRule`.
    """

    def choose(
        self, bounds: FusedArray, values: FusedArray, errors: FusedArray, peaks: FusedArray
    ) -> tuple[float, float, float]:
        """See `WeightRule.choose`; the interval holds the central half of the best weights."""
        weight = float(np.mean(peaks))
        low, high = np.quantile(peaks, (0.25, 0.75))
        return min(float(low), weight), weight, max(float(high), weight)
