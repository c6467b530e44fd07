"""Intervals and tests against formulas, full enumeration and scipy's plain ways."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from newsimg.evaluation.stats import (
    Gain,
    bound_means,
    compare_means,
    compute_p_values,
    correct_holm,
    describe_gain,
    draw_resamples,
    measure_effective_weight,
)


def column(*values):
    return pd.DataFrame({"hits_at_1": values}, dtype=float)


def test_an_interval_of_hits_is_that_of_the_binomial_distribution():
    # Resampling n zeros and ones with k ones: their sum is binomial(n, k / n).
    hits = column(*[1] * 140 + [0] * 260)
    row = bound_means(hits).loc["hits_at_1"]
    exact = stats.binom(400, 0.35).ppf([0.025, 0.975]) / 400
    assert row["value"] == 0.35
    np.testing.assert_allclose(row[["low", "high"]].astype(float), exact, atol=0.004)


def test_an_interval_of_other_means_is_that_of_scipys_plain_bootstrap():
    values = np.random.default_rng(0).gamma(2, size=(120, 2))
    found = bound_means(pd.DataFrame(values, columns=["a", "b"]))
    for i, name in enumerate("ab"):
        plain = stats.bootstrap(
            (values[:, i],), np.mean, n_resamples=20_000, method="percentile", rng=1
        ).confidence_interval
        np.testing.assert_allclose(found.loc[name, ["low", "high"]], plain, atol=0.02)


@pytest.mark.parametrize("n_queries", [2, 5, 120])
def test_resamples_are_those_that_scipy_draws(n_queries):
    values = np.random.default_rng(2).random(n_queries)
    drawn = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(28)
    ).bootstrap_distribution
    np.testing.assert_allclose(draw_resamples(n_queries) @ values / n_queries, drawn, rtol=1e-12)


def test_intervals_of_equal_values_and_of_one_query_are_points():
    assert bound_means(column(1, 1, 1)).loc["hits_at_1"].tolist() == [1, 1, 1]
    assert bound_means(column(0.25)).loc["hits_at_1"].tolist() == [0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="at least one query, got 0"):
        bound_means(column())


def test_intervals_are_the_same_each_time():
    values = pd.DataFrame(np.random.default_rng(0).random((50, 3)), columns=list("abc"))
    pd.testing.assert_frame_equal(bound_means(values), bound_means(values))


@pytest.mark.parametrize(
    ("n_helped", "n_hurt", "expected"),
    [(0, 0, 1), (1, 0, 1), (5, 0, 2 / 2**5), (8, 2, 2 * (1 + 10 + 45) / 2**10), (4, 4, 1)],
)
def test_mcnemars_p_is_the_binomial_tail_counted_by_hand(n_helped, n_hurt, expected):
    differences = column(*[1] * n_helped + [-1] * n_hurt + [0] * 7)
    assert compute_p_values(differences)["hits_at_1"] == pytest.approx(min(expected, 1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_mcnemars_p_is_that_of_scipys_binomial_test(n_helped, n_hurt):
    found = compute_p_values(column(*[1] * n_helped + [-1] * n_hurt + [0] * 3))["hits_at_1"]
    n_changed = n_helped + n_hurt
    expected = stats.binomtest(n_helped, n_changed).pvalue if n_changed else 1
    assert found == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize("n_queries", [2, 11, 12, 90])  # all signs are tried up to 11
def test_the_p_of_graded_differences_is_that_of_scipys_permutation_test(n_queries):
    values = np.random.default_rng(n_queries).normal(0.2, 0.6, n_queries)
    expected = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=2499,
        rng=np.random.default_rng(28),
    ).pvalue  # fmt: skip
    assert compute_p_values(pd.DataFrame({"mrr": values}))["mrr"] == expected


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([-0.5, -0.25, 0.0, 0.2, 0.5, 0.75]), min_size=2, max_size=9))
def test_the_p_of_graded_differences_is_that_of_all_signs_enumerated(values):
    table = pd.DataFrame({"mrr_at_10": values})
    sums = np.array(
        [
            math.fsum(s * v for s, v in zip(signs, values, strict=True))
            for signs in itertools.product((1, -1), repeat=len(values))
        ]
    )
    observed = math.fsum(values)
    tails = [np.mean(sums >= observed - 1e-9), np.mean(sums <= observed + 1e-9)]
    expected = min(1.0, 2 * min(tails))
    assert compute_p_values(table)["mrr_at_10"] == pytest.approx(expected)


def test_the_p_of_many_graded_differences_is_near_that_of_the_paired_t_test():
    differences = np.random.default_rng(4).normal(0.1, 0.6, 150)
    found = compute_p_values(pd.DataFrame({"mrr": differences}))["mrr"]
    assert found == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_p_values_under_the_null_are_rarely_small():
    random = np.random.default_rng(6)
    before, after = (pd.DataFrame(random.random((100, 200)) < 0.4, dtype=float) for _ in range(2))
    p = compute_p_values(after - before)
    assert (p < 0.05).mean() < 0.08  # exact McNemar stays below 0.05 in the long run


def test_means_are_compared_column_by_column():
    before = pd.DataFrame({"hits_at_1": [0.0, 1, 0, 0], "mrr_at_5": [0.5, 1, 0.25, 0.2]})
    after = pd.DataFrame({"hits_at_1": [1.0, 1, 0, 1], "mrr_at_5": [1, 1, 0.5, 1]})
    found = compare_means(before, after)
    assert found["value"].tolist() == pytest.approx([0.5, 1.55 / 4])
    assert found["p"].tolist() == pytest.approx([0.5, 0.25])  # 2 of 2, and 1 of 2**3 signs, twice


def test_holms_correction_is_the_textbooks():
    # Holm's steps for 0.01, 0.02, 0.03, 0.04 of four: 4 x, 3 x, 2 x, 1 x, never falling.
    found = correct_holm(np.array([0.03, 0.01, 0.04, 0.02]))
    assert found.tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    found = correct_holm(np.array([0.9, np.nan, 0.4]))
    assert found[[0, 2]].tolist() == pytest.approx([0.9, 0.8])
    assert np.isnan(found[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_rejects_as_its_step_down_procedure_does(p_values):
    corrected = correct_holm(np.array(p_values))
    remaining = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    while remaining and p_values[remaining[0]] * len(remaining) < 0.05:
        rejected.add(remaining.pop(0))
    assert {i for i, p in enumerate(corrected) if p < 0.05} == rejected


def test_a_gain_is_described_with_its_significance():
    assert describe_gain("Hits@1", Gain(0.012, -0.004, 0.028, 0.21)) == (
        "Hits@1 rises by 0.0120 (95 % interval -0.0040 to +0.0280, p = 0.21): "
        "not significantly different from zero"
    )
    words = describe_gain("MRR@10", Gain(-0.05, -0.08, -0.02, 0.002), n_tried=11)
    assert words.startswith("MRR@10 falls by 0.0500")
    assert words.endswith(
        "p = 0.002, Holm-corrected for 11 configs): significantly different from zero"
    )
    assert describe_gain("Hits@1", Gain(0, 0, 0, 1)) == "Hits@1 does not change for any query"


def test_the_effective_weight_does_not_depend_on_scales_of_both_sides():
    start, end = np.array([[0.0, 1], [1, 3]]), np.array([[2.0, 0], [4, 0]])
    # Deviations: 0.5 and 1, 1 and 2; their means 0.75 and 1.5.
    assert measure_effective_weight(start, end, 0.25) == pytest.approx(
        0.25 * 1.5 / (0.75 * 0.75 + 0.25 * 1.5)
    )
    assert measure_effective_weight(start, start[::-1], 0.25) == 0.25
    assert measure_effective_weight(start, end, 1.0) == 1
    assert measure_effective_weight(start, np.zeros((2, 2)), 0.7) == 0
    assert measure_effective_weight(np.zeros((2, 2)), np.zeros((2, 2)), 0.7) == 0
