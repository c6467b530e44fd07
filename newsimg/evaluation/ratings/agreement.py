"""Agreement of raters: Krippendorff's alpha."""

from dataclasses import dataclass

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.ratings.resampling import bound

N_RESAMPLES = 200  # alpha takes long


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha with its 95 % interval: 1 for full agreement, 0 for that of chance."""

    alpha: float
    low: float
    high: float


def measure_agreement(rated: RatedPictures, seed: int) -> Agreement | None:
    """Compute Krippendorff's alpha for ordinal ratings, with an interval over articles.

    Of several ratings of a picture by one person the first counts.

    Returns:
        None if the people are not known, or no picture has ratings by two of them.

    Raises:
        ImportError: If the package krippendorff is not installed.
    """
    matrix = np.full((rated.n_raters, len(rated.image_ids)), np.nan)
    known = np.flatnonzero(rated.rater >= 0)[::-1]  # the first one is written last
    matrix[rated.rater[known], rated.picture[known]] = rated.value[known]
    paired = np.isfinite(matrix).sum(axis=0) > 1
    if not paired.any():
        return None
    matrix, query = matrix[:, paired], rated.query[paired]
    random, drawn = np.random.default_rng(seed), []
    articles = np.unique(query)
    own = [np.flatnonzero(query == article) for article in articles]
    for _ in range(N_RESAMPLES):
        chosen = random.integers(len(articles), size=len(articles))
        drawn.append(_compute_alpha(matrix[:, np.concatenate([own[i] for i in chosen])]))
    alpha = _compute_alpha(matrix)
    return Agreement(alpha, *bound(np.array(drawn), alpha))


def _compute_alpha(matrix: FusedArray) -> float:
    try:
        import krippendorff
    except ImportError as error:
        raise ImportError("data.ratings needs: pip install newsimg[ratings]") from error
    if len(np.unique(matrix[np.isfinite(matrix)])) < 2:
        return np.nan  # all ratings are equal: neither agreement nor disagreement can be told
    return float(krippendorff.alpha(reliability_data=matrix, level_of_measurement="ordinal"))
