"""The maximum of the curve smoothed over the weight."""

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.interfaces import WeightRule


class SmoothedRule(WeightRule):
    """Chooses the centre of the window of weights over which the curve's mean is largest.

    The mean of a step function over a moving window is piecewise linear, so its maximum is where an
    end of the window is at a step, and is found exactly.

    Args:
        measure: See `WeightRule`.
        width: Width of the window, in weight; None for twice the standard deviation of the best
            weights on resamples.

    Raises:
        ValueError: If `width` is not in (0, 1].
    """

    def __init__(self, *, measure: str | None, width: float | None) -> None:
        super().__init__(measure=measure)
        if width is not None and not 0 < width <= 1:
            raise ValueError(f"rule.width must be in (0, 1] or null, got {width}")
        self.width = width

    def choose(
        self, bounds: FusedArray, values: FusedArray, errors: FusedArray, peaks: FusedArray
    ) -> tuple[float, float, float]:
        """See `WeightRule.choose`; the interval is the window."""
        width = min(2 * float(np.std(peaks)), 1.0) if self.width is None else self.width
        if width == 0:  # the best weight is the same on all resamples
            return peaks[0], peaks[0], peaks[0]
        areas = np.append(0.0, np.cumsum(values * np.diff(bounds)))
        low = np.unique(np.clip(np.append(bounds, bounds - width), 0, 1 - width))
        means = (np.interp(low + width, bounds, areas) - np.interp(low, bounds, areas)) / width
        # Of several equal maxima the middle one: a plateau wider than the window has many.
        best = np.flatnonzero(means >= means.max() - 1e-12)
        at = float(low[best[(len(best) - 1) // 2]])
        return at, at + width / 2, at + width
