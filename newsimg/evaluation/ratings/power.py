"""How many headlines are needed to tell two runs apart, by simulation."""

from dataclasses import dataclass

import numpy as np

from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.ratings.resampling import average_by, draw_people, weigh
from newsimg.evaluation.stats import CONFIDENCE

POWER = 0.8
MAX_FACTOR = 100  # of the headlines so far, beyond which no number is given
STEP = 1.1  # by which the number is raised


@dataclass(frozen=True)
class Needed:
    """Headlines that are needed for an interval that excludes 0, with a probability of 80 %.

    Attributes:
        n_articles: Their number in all, those so far included; None if even a hundred times as
            many would not do.
        power: The probability with as many headlines as there are.
    """

    n_articles: int | None
    power: float


def find_needed(rated: RatedPictures, n_simulations: int, seed: int) -> Needed:
    """Return how many headlines tell two runs apart if the difference is as large as it looks.

    Surveys of other sizes are simulated from the answers so far: as many headlines are drawn with
    replacement, with their answers, and so are the people, whose number stays. As the true
    difference may be smaller than it looks, the number is rather too low.

    Args:
        rated: One value per article and person, whose mean is the difference.
        n_simulations: Number of simulated surveys of each size.
        seed: Seed of the draws.
    """
    random = np.random.default_rng(seed)
    n_articles = len(rated.query_ids)
    values, numbers = average_by(rated, draw_people(random, rated.n_raters, n_simulations))
    shares = numbers / rated.counts
    power = _simulate(random, values, shares, n_articles)
    size = float(n_articles)
    found = power
    while found < POWER:
        size *= STEP
        if size > MAX_FACTOR * n_articles:
            return Needed(None, power)
        found = _simulate(random, values, shares, int(np.ceil(size)))
    return Needed(int(np.ceil(size)), power)


def _simulate(
    random: np.random.Generator, values: FusedArray, shares: FusedArray, n_articles: int
) -> float:
    """Return the share of surveys of a size whose interval excludes 0 on the side of the mean.

    Args:
        random: Draws the headlines.
        values: (n_simulations, n_known) value of each known headline, by the drawn people.
        shares: (n_simulations, n_known) how often its answers count.
        n_articles: Headlines of a survey.
    """
    from scipy.special import ndtri

    n_simulations, n_known = values.shape
    counts = random.multinomial(n_articles, np.full(n_known, 1 / n_known), n_simulations)
    means = weigh(values, counts * shares)
    error = ndtri((1 + CONFIDENCE) / 2) * np.nanstd(means)
    return float(np.nanmean(np.sign(np.nanmean(means)) * means > error))
