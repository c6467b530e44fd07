"""The smallest weight that is not clearly worse than the best."""

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.interfaces import WeightRule


class OneStandardErrorRule(WeightRule):
    """Chooses the smallest weight whose value is within one standard error of the largest.

    The standard error is that of the paired difference, by a bootstrap over queries. After
    Breiman, Friedman, Olshen and Stone (1984), "Classification and regression trees", section
    3.4.3, where the simplest such model is chosen; retrieval alone is the simplest here.
    """

    def choose(
        self, bounds: FusedArray, values: FusedArray, errors: FusedArray, peaks: FusedArray
    ) -> tuple[float, float, float]:
        """See `WeightRule.choose`; the interval ends where the difference becomes larger."""
        near = values.max() - values <= errors
        first = int(np.argmax(near))
        beyond = np.flatnonzero(~near[first:])
        last = first + int(beyond[0]) if len(beyond) else len(near)
        weight = (bounds[first] + bounds[first + 1]) / 2 if first else 0.0
        return float(bounds[first]), float(weight), float(bounds[last])
