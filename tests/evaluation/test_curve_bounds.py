"""Intervals along a curve, against the comparison of two rankings at single weights."""

import numpy as np
import pytest

from newsimg.evaluation.curve import find_plateau, look_up, trace_curve
from newsimg.evaluation.curve_bounds import bound_curve
from newsimg.evaluation.stats import compare_means
from newsimg.evaluation.tuning import Lines


def make_lines(seed: int) -> Lines:
    """Return queries whose relevant image is found better by the second side up to a point."""
    random = np.random.default_rng(seed)
    start = -np.sort(-random.random((150, 8)), axis=1)
    gold_columns = random.integers(-1, 4, 150)
    end = random.random((150, 8))
    end[np.arange(150), gold_columns] += 0.4
    return Lines(start, 0.5 * end, gold_columns)


@pytest.mark.parametrize("measure", ["hits_at_1", "mrr_at_5"])
def test_bounds_of_a_curve_are_those_of_the_comparison_at_each_weight(measure: str) -> None:
    lines = make_lines(3)
    curve = trace_curve(lines.start, lines.end, lines.gold_columns, (1, 5))
    best = find_plateau(curve, measure).midpoint
    bounds = bound_curve(lines.start, lines.end, lines.gold_columns, measure, best)
    assert bounds["weight"].is_monotonic_increasing
    assert best in set(bounds["weight"])
    retrieval, at_best = lines.score(0.0, (1, 5)), lines.score(best, (1, 5))
    for row in bounds.iloc[::25].itertuples():
        assert row.value == pytest.approx(look_up(curve, row.weight)[measure])
        scores = lines.score(row.weight, (1, 5))
        gain = compare_means(retrieval, scores).loc[measure]
        assert row.low == pytest.approx(retrieval[measure].mean() + gain["low"])
        assert row.high == pytest.approx(retrieval[measure].mean() + gain["high"])
        loss = compare_means(at_best, scores).loc[measure]
        assert row.as_good == (loss["high"] >= 0)
    assert bounds["as_good"][bounds["weight"] == best].all()
    assert not bounds["as_good"].all()
