"""The number of headlines that tell two runs apart, against the textbook's formula."""

import numpy as np
import pytest
from scipy.stats import norm

from newsimg.datatypes import Rating
from newsimg.evaluation.ratings.power import find_needed
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings


def answer(values: np.ndarray, n_raters: int = 0) -> RatedPictures:
    ratings = [
        Rating(f"q{i}", "pair", float(value), f"r{i % n_raters}" if n_raters else "")
        for i, value in enumerate(values)
    ]
    return arrange_ratings(ratings, [f"q{i}" for i in range(len(values))], -1.0)


def draw(n: int, shares: tuple[float, float, float]) -> np.ndarray:
    """Return n preferences of -1, 0 and 1 in these shares, exactly."""
    return np.repeat([-1.0, 0.0, 1.0], [round(n * share) for share in shares])


@pytest.mark.parametrize("shares", [(0.3, 0.2, 0.5), (0.35, 0.2, 0.45)])
def test_the_number_is_that_of_the_normal_approximation(shares: tuple[float, float, float]) -> None:
    values = draw(100, shares)
    found = find_needed(answer(values), 4000, 0)
    effect = abs(values.mean()) / values.std()
    expected = ((norm.ppf(0.975) + norm.ppf(0.8)) / effect) ** 2
    assert found.n_articles is not None
    assert found.n_articles == pytest.approx(expected, rel=0.13)  # in steps of ten per cent
    power = norm.cdf(effect * np.sqrt(100) - norm.ppf(0.975))
    assert found.power == pytest.approx(power, abs=0.03)


def test_a_clear_difference_needs_no_more_and_none_at_all_has_no_number() -> None:
    clear = find_needed(answer(draw(60, (0.1, 0.1, 0.8))), 500, 0)
    assert clear.n_articles == 60
    assert clear.power > 0.99
    assert find_needed(answer(draw(60, (0.4, 0.2, 0.4))), 500, 0).n_articles is None


def test_people_who_differ_much_are_not_made_up_for_by_more_headlines() -> None:
    # Of three people one always prefers the first run: that stays so for any number of headlines.
    values = np.tile([1.0, 1.0, -1.0], 30)
    unknown, known = (find_needed(answer(values, n), 2000, 0) for n in (0, 3))
    assert unknown.power > 0.8
    assert known.power < 0.5
    assert known.n_articles is None
