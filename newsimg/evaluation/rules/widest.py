"""The weight in the middle of the widest interval of the very best value."""

from newsimg.datatypes import FusedArray
from newsimg.evaluation.curve import find_widest
from newsimg.interfaces import WeightRule


class WidestRule(WeightRule):
    """Chooses the midpoint of the widest interval on which the curve is largest."""

    def choose(
        self, bounds: FusedArray, values: FusedArray, errors: FusedArray, peaks: FusedArray
    ) -> tuple[float, float, float]:
        """See `WeightRule.choose`."""
        low, high = find_widest(bounds[:-1], bounds[1:], values)
        return low, (low + high) / 2, high
