"""Rules that choose a weight, against curves traced anew and against brute force."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from newsimg.evaluation.curve import find_plateau, look_up, rank_at, trace_curve
from newsimg.evaluation.query_curve import trace_queries
from newsimg.evaluation.rules.bagged import BaggedRule
from newsimg.evaluation.rules.one_standard_error import OneStandardErrorRule
from newsimg.evaluation.rules.smoothed import SmoothedRule
from newsimg.evaluation.rules.widest import WidestRule
from newsimg.weight.l1 import L1Weight
from newsimg.weight.rank import RankWeight

BOUNDS = np.array([0.0, 0.2, 0.25, 0.4, 0.8, 1.0])
VALUES = np.array([0.50, 0.58, 0.52, 0.57, 0.40])
NONE = np.zeros(5)


def make_lines(seed, weight, n_queries=80, top_k=9):
    random = np.random.default_rng(seed)
    gold_columns = random.integers(-1, top_k, n_queries)
    start = -np.sort(-random.normal(0.3, 0.05, (n_queries, top_k)), axis=1)
    end = random.normal(5, 1, (n_queries, top_k))
    end[np.arange(n_queries), np.maximum(gold_columns, 0)] += 0.7
    return weight.normalize(start), weight.normalize(end.astype(np.float32)), gold_columns


@pytest.mark.parametrize("measure", ["hits_at_1", "hits_at_5", "mrr_at_5", "mrr_at_10"])
@pytest.mark.parametrize("weight", [L1Weight(value=0), RankWeight(value=0)])
def test_the_curve_by_query_is_the_exact_curve_of_any_of_the_queries(weight, measure):
    start, end, gold_columns = make_lines(1, weight)
    curve = trace_queries(start, end, gold_columns, measure)
    random = np.random.default_rng(2)
    middles = (curve.bounds[:-1] + curve.bounds[1:]) / 2
    wide = np.flatnonzero(np.diff(curve.bounds) > 1e-9)
    for queries in (np.arange(80), np.sort(random.choice(80, 30, replace=False))):
        part = start[queries], end[queries], gold_columns[queries]
        cutoff = int(measure.rpartition("_")[2])
        exact = trace_curve(*part, [cutoff])
        values = curve.take(queries).average()
        expected = [look_up(exact, middles[i])[measure] for i in wide]
        np.testing.assert_allclose(values[wide], expected, atol=1e-8)
        if isinstance(weight, RankWeight):  # its largest value may be that of a tie alone
            continue
        low, _, high = WidestRule(measure=None).choose(curve.bounds, values, NONE, NONE)
        plateau = find_plateau(exact.round(9), measure)
        assert (low, high) == pytest.approx((plateau.low, plateau.high), abs=1e-9)
    counts = random.integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), counts)
    ranks = np.stack(
        [rank_at(start[repeated], end[repeated], gold_columns[repeated], w) for w in middles[wide]]
    )
    cutoff = int(measure.rpartition("_")[2])
    gains = (ranks > 0) & (ranks <= cutoff)
    gains = gains / np.maximum(ranks, 1) if measure.startswith("mrr") else gains
    np.testing.assert_allclose(curve.average(counts)[wide], gains.mean(axis=1), atol=1e-8)


def test_errors_and_peaks_are_those_of_a_bootstrap_over_queries():
    start, end, gold_columns = make_lines(3, L1Weight(value=0), n_queries=150)
    curve = trace_queries(start, end, gold_columns, "hits_at_1")
    sample = curve.sample(2000, seed=1)
    plateau = find_plateau(trace_curve(start, end, gold_columns, [1]), "hits_at_1")
    best = rank_at(start, end, gold_columns, plateau.midpoint) == 1
    for i in np.argsort(-np.diff(curve.bounds))[:4]:
        own = rank_at(start, end, gold_columns, (curve.bounds[i] + curve.bounds[i + 1]) / 2) == 1
        expected = bootstrap(
            (best.astype(float) - own,),
            np.mean,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(5),
        ).standard_error
        assert sample.errors[i] == pytest.approx(expected, rel=0.08, abs=1e-12)
    low, high = np.quantile(sample.peaks, (0.25, 0.75))
    assert sample.noise == high - low > 0
    assert len(sample.peaks) == 2000
    again = curve.sample(2000, seed=1)
    np.testing.assert_array_equal(again.peaks, sample.peaks)


def test_the_widest_rule_takes_the_very_best_and_the_smoothed_one_the_broad_hill():
    assert WidestRule(measure=None).choose(BOUNDS, VALUES, NONE, NONE) == (0.2, 0.225, 0.25)
    low, weight, high = SmoothedRule(measure=None, width=0.2).choose(BOUNDS, VALUES, NONE, NONE)
    # Any window within the hill has the same mean; the one in its middle is chosen.
    assert 0.4 <= low < high <= 0.8
    assert high - low == pytest.approx(0.2)
    assert weight == pytest.approx((low + high) / 2)


@pytest.mark.parametrize("width", [0.03, 0.1, 0.35, 0.9, 1.0])
def test_the_smoothed_rule_finds_the_best_window_of_a_fine_grid(width):
    random = np.random.default_rng(int(100 * width))
    bounds = np.concatenate([[0], np.sort(random.random(30)), [1]])
    values = random.random(31)
    low, weight, high = SmoothedRule(measure=None, width=width).choose(
        bounds, values, np.zeros(31), np.zeros(31)
    )
    grid = np.linspace(0, 1, 200_001)
    heights = values[np.minimum(np.searchsorted(bounds[1:-1], grid), 30)]

    def average(start):
        inside = (grid >= start) & (grid <= start + width)
        return heights[inside].mean()

    others = [average(start) for start in np.linspace(0, 1 - width, 300)]
    assert average(low) >= max(others) - 1e-4
    assert (low, high) == pytest.approx((weight - width / 2, weight + width / 2))


def test_without_a_width_the_window_is_twice_the_spread_of_the_peaks():
    peaks = np.array([0.1, 0.3, 0.2, 0.6])
    low, _, high = SmoothedRule(measure=None, width=None).choose(BOUNDS, VALUES, NONE, peaks)
    assert high - low == pytest.approx(2 * np.std(peaks))
    same = SmoothedRule(measure=None, width=None).choose(BOUNDS, VALUES, NONE, np.full(4, 0.3))
    assert same == (0.3, 0.3, 0.3)


def test_one_standard_error_takes_the_smallest_weight_that_is_near_the_best():
    rule = OneStandardErrorRule(measure=None)
    near = rule.choose(BOUNDS, VALUES, np.array([0.01, 0, 0.01, 0.02, 0.01]), NONE)
    assert near == pytest.approx((0.2, 0.225, 0.25))
    joined = rule.choose(BOUNDS, VALUES, np.array([0.01, 0, 0.07, 0.02, 0.01]), NONE)
    assert joined == pytest.approx((0.2, 0.225, 0.8))
    # Where retrieval alone is as good, it is chosen.
    assert rule.choose(BOUNDS, VALUES, np.array([0.09, 0, 0.07, 0.02, 0.2]), NONE) == (0, 0, 1)


def test_the_bagged_rule_takes_the_mean_of_the_peaks():
    peaks = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    found = BaggedRule(measure=None).choose(BOUNDS, VALUES, NONE, peaks)
    assert found == pytest.approx((0.2, 0.38, 0.4))
    low, weight, high = BaggedRule(measure=None).choose(
        BOUNDS, VALUES, NONE, np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    )
    assert (low, weight, high) == pytest.approx((0, 0.2, 0.2))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"rule.width must be in \(0, 1\] or null, got 0"):
        SmoothedRule(measure=None, width=0)
    with pytest.raises(ValueError, match="measure must be hits_at_K or mrr_at_K, got 'ndcg'"):
        trace_queries(*make_lines(1, L1Weight(value=0)), "ndcg")
