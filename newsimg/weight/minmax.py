"""Min-max normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray
from newsimg.weight.base import LinearWeight, divide_rows


class MinMaxWeight(LinearWeight):
    """Fusion of scores scaled to [0, 1] in each row; a row of equal scores becomes 0.

    Shaw and Fox (1994), as surveyed in Renda and Straccia (2003), "Web metasearch: rank vs. score".
    """

    def normalize(self, scores: FloatArray) -> FusedArray:
        """See `LinearWeight.normalize`."""
        exact = scores.astype(np.float64)
        return divide_rows(exact - exact.min(axis=1, keepdims=True), self.find_divisors(exact))

    def find_divisors(self, scores: FusedArray) -> FusedArray:
        """See `LinearWeight.find_divisors`."""
        return np.ptp(scores, axis=1, keepdims=True)

    def find_bends(self, start: FusedArray, end: FusedArray) -> FusedArray:
        """See `LinearWeight.find_bends`: where another score becomes the highest or the lowest."""
        return np.hstack([find_overtakings(start, end), find_overtakings(-start, -end)])


def find_overtakings(start: FusedArray, end: FusedArray) -> FusedArray:
    """Return where the maximum of each row's lines passes to another line.

    Args:
        start: (n_queries, top_k) values of the lines at 0.
        end: (n_queries, top_k) values at 1.

    Returns:
        (n_queries, n_changes) in [0, 1], padded with 1.
    """
    rise = end - start
    rows, at, found = np.arange(len(start)), np.zeros(len(start)), []
    highest = np.argmax(start, axis=1)
    for _ in range(start.shape[1]):
        faster = rise - rise[rows, highest][:, None]
        behind = start[rows, highest][:, None] - start
        meets = np.where(faster > 0, behind / np.where(faster > 0, faster, 1.0), np.inf)
        meets = np.where(meets >= at[:, None], meets, np.inf)
        at, highest = np.minimum(meets.min(axis=1), 1.0), np.argmin(meets, axis=1)
        found.append(at)
        if (at >= 1).all():
            break
    return np.stack(found, axis=1)
