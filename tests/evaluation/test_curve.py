"""The curve against brute force: sort anew at every weight, as the pipeline does."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from newsimg.datatypes import Candidates
from newsimg.evaluation.breakpoints import MAX_WIDTH, ROUNDING
from newsimg.evaluation.curve import (
    Plateau,
    find_plateau,
    look_up,
    rank_at,
    score_ranks,
    trace_curve,
)
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.pipeline import sort_candidates
from newsimg.weight.base import interpolate
from newsimg.weight.l1 import L1Weight
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.rank import RankWeight
from newsimg.weight.raw import RawWeight
from newsimg.weight.rrf import RRFWeight
from newsimg.weight.zscore import ZScoreWeight

WEIGHTS = [
    weight(value=0.5)
    for weight in (RawWeight, L1Weight, MinMaxWeight, ZScoreWeight, RankWeight, RRFWeight)
]

few = st.sampled_from([0.0, 0.25, 1.0, 2.0])  # many ties, duplicates, flat rows
whole = st.integers(-5, 5).map(float)
smooth = st.floats(-2, 2, width=32)
wild = st.floats(-(2.0**60), 2.0**60, width=32)


@st.composite
def score_pairs(draw, n_queries=1):
    shape = (n_queries, draw(st.integers(1, 9)))
    sides = [
        draw(arrays(np.float32, shape, elements=draw(st.sampled_from([few, whole, smooth, wild]))))
        for _ in range(2)
    ]
    gold_columns = draw(arrays(np.int64, n_queries, elements=st.integers(-1, shape[1] - 1)))
    return -np.sort(-sides[0], axis=1), sides[1], gold_columns


def brute_ranks(start, end, position, weights):
    """Rank one query's picture at many weights with the pipeline's own sort."""
    fused = interpolate(start, end, np.asarray(weights)[:, None])
    rows = np.broadcast_to(np.arange(start.shape[1]), fused.shape)
    ordered = sort_candidates(Candidates((), rows, fused), fused)
    return 1 + np.argmax(ordered.rows == position, axis=1)


def is_left_to_rounding(start, end, position, weight):
    """Tell in exact arithmetic whether a rival is nearer than the rounding error, yet no twin."""
    exact = Fraction(weight)
    for a, b in zip(start[0], end[0], strict=True):
        lead_a = Fraction(start[0, position]) - Fraction(a)
        lead_b = Fraction(end[0, position]) - Fraction(b)
        size = max(abs(a), abs(b)) + max(abs(start[0, position]), abs(end[0, position]))
        gap = abs((1 - exact) * lead_a + exact * lead_b)
        slope = abs(lead_b - lead_a)
        near = gap <= 2 * Fraction(ROUNDING) * Fraction(size) + 2 * Fraction(2.0**-53) * slope
        if near and (lead_a or lead_b):
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: type(weight).__name__)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(scores=score_pairs(), seed=st.integers(0, 2**32 - 1))
def test_the_curve_ranks_as_the_pipeline_sorts_at_any_weight_and_beside_each_breakpoint(
    weight, scores, seed
):
    retrieval, rerank, (position,) = scores
    start, end = weight.normalize(retrieval), weight.normalize(rerank)
    top_k = start.shape[1]
    # One query and every cutoff: the misses count the rank.
    curve = trace_curve(start, end, np.array([position]), range(1, top_k + 1))
    hits = curve.filter(like="hits_at_").to_numpy()
    ends = np.concatenate([curve["w_lo"], curve["w_hi"]])
    beside = [
        ends,
        np.nextafter(ends, 0),
        np.nextafter(ends, 1),
        ends - 2 * MAX_WIDTH,
        ends + 2 * MAX_WIDTH,
        (curve["w_lo"] + curve["w_hi"]) / 2,
        np.random.default_rng(seed).random(20),
    ]
    weights = np.unique(np.clip(np.concatenate(beside), 0, 1))
    rows = np.searchsorted(curve["w_hi"], weights)
    if position < 0:
        assert not hits.any()
        return
    found = 1 + top_k - hits.sum(axis=1)[rows]
    expected = brute_ranks(start, end, position, weights)
    points = np.array([position])
    direct = [rank_at(start, end, points, w)[0] for w in weights]
    np.testing.assert_array_equal(direct, expected)
    for w in weights[found != expected]:
        assert is_left_to_rounding(start, end, position, w), f"wrong at {w!r}"


@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: type(weight).__name__)
def test_off_its_breakpoints_the_curve_is_exact_and_leaves_no_weight_to_rounding(weight):
    random = np.random.default_rng(28)
    draws = [
        lambda shape: random.choice([0.0, 0.25, 1.0, 2.0], shape),
        lambda shape: random.integers(-5, 6, shape),
        lambda shape: random.uniform(-2, 2, shape),
        lambda shape: random.uniform(-(2.0**60), 2.0**60, shape),
    ]
    n_weights = 0
    for _ in range(150):
        top_k = int(random.integers(1, 10))
        scores = [draws[i]((1, top_k)).astype(np.float32) for i in random.integers(0, 4, 2)]
        start, end = weight.normalize(-np.sort(-scores[0], axis=1)), weight.normalize(scores[1])
        position = int(random.integers(0, top_k))
        curve = trace_curve(start, end, np.array([position]), range(1, top_k + 1))
        ends = np.concatenate([curve["w_lo"], curve["w_hi"]])
        middles = (curve["w_lo"] + curve["w_hi"]) / 2
        beside = [ends - 1.5 * MAX_WIDTH, ends + 1.5 * MAX_WIDTH, middles, random.random(20)]
        weights = np.unique(np.clip(np.concatenate(beside), 0, 1))
        weights = weights[abs(weights[:, None] - ends).min(axis=1) > MAX_WIDTH]
        hits = curve.filter(like="hits_at_").to_numpy()
        found = 1 + top_k - hits.sum(axis=1)[np.searchsorted(curve["w_hi"], weights)]
        np.testing.assert_array_equal(found, brute_ranks(start, end, position, weights))
        n_weights += len(weights)
    assert n_weights > 4000


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scores=score_pairs(n_queries=4), weight=st.sampled_from(WEIGHTS))
def test_the_curve_of_many_queries_is_the_mean_of_theirs_over_each_interval(scores, weight):
    retrieval, rerank, gold_columns = scores
    start, end = weight.normalize(retrieval), weight.normalize(rerank)
    curve = trace_curve(start, end, gold_columns, (1, 2, 5))
    assert curve["w_lo"].iloc[0] == 0
    assert curve["w_hi"].iloc[-1] == 1
    np.testing.assert_array_equal(
        np.nextafter(curve["w_hi"].to_numpy()[:-1], 2), curve["w_lo"].to_numpy()[1:]
    )
    for _, row in curve.iterrows():
        middle = (row["w_lo"] + row["w_hi"]) / 2
        if any(
            is_left_to_rounding(start[[i]], end[[i]], position, middle)
            for i, position in enumerate(gold_columns)
            if position >= 0 and row["w_lo"] < row["w_hi"]
        ):
            continue
        values = []
        for i, position in enumerate(gold_columns):
            rank = brute_ranks(start[[i]], end[[i]], position, [middle])[0]
            for k in (1, 2, 5):
                inside = position >= 0 and rank <= k
                values += [float(inside), inside / rank, inside / k]
        expected = np.reshape(values, (4, 9)).mean(axis=0)
        np.testing.assert_allclose(row.to_numpy()[2:], expected, atol=1e-12)


def test_a_large_collection_agrees_with_sorting_on_a_grid_and_at_its_own_breakpoints():
    random = np.random.default_rng(5)
    retrieval = -np.sort(-random.normal(0.25, 0.03, (60, 30)).astype(np.float32), axis=1)
    rerank = random.integers(1, 6, (60, 30)).astype(np.float32)  # a judge's marks: many ties
    gold_columns = random.integers(-1, 30, 60)
    for weight in WEIGHTS:
        start, end = weight.normalize(retrieval), weight.normalize(rerank)
        curve = trace_curve(start, end, gold_columns, (1, 5, 25))
        degenerate = curve.loc[curve["w_lo"] == curve["w_hi"], "w_lo"]
        grid = np.concatenate([np.arange(21) / 20, degenerate[:40]])
        for w in grid:
            fused = interpolate(start, end, w)
            order = np.argsort(-fused, axis=1, kind="stable")
            at = (order == gold_columns[:, None]).argmax(axis=1) + 1
            for k in (1, 5, 25):
                hits = ((at <= k) & (gold_columns >= 0)).mean()
                mrr = np.where((at <= k) & (gold_columns >= 0), 1 / at, 0).mean()
                row = look_up(curve, w)
                assert row[f"hits_at_{k}"] == pytest.approx(hits, abs=1e-12)
                assert row[f"mrr_at_{k}"] == pytest.approx(mrr, abs=1e-12)


def test_a_hand_made_case_has_its_breakpoint_where_the_lines_cross():
    # 0.75 -> 0 meets 0.5 -> 0.75 at 0.25; the tie there goes to the earlier candidate.
    start, end = np.array([[0.75, 0.5]]), np.array([[0.0, 0.75]])
    curve = trace_curve(start, end, np.array([1]), (1, 2))
    assert curve["hits_at_1"].tolist() == [0, 1]
    assert curve["mrr_at_2"].tolist() == [0.5, 1]
    assert curve["w_hi"][0] == 0.25
    assert curve["w_lo"][1] == np.nextafter(0.25, 1)
    # Seen from the earlier candidate the tie at 0.25 is won.
    assert trace_curve(start, end, np.array([0]), (1,))["w_hi"][0] == 0.25


def test_a_breakpoint_whose_value_differs_from_both_sides_is_an_interval_of_its_own():
    # At 0.5 all three are equal; the picture, first in retrieval, wins there and only there.
    start = np.array([[1.0, 2.0, 0.0]])
    end = np.array([[1.0, 0.0, 2.0]])
    curve = trace_curve(start, end, np.array([0]), (1,))
    assert curve[["w_lo", "w_hi"]].iloc[1].tolist() == [0.5, 0.5]
    assert curve["hits_at_1"].tolist() == [0, 1, 0]


def test_nearly_equal_candidates_of_one_query_do_not_blur_the_others():
    close = np.array([[1.0, np.nextafter(1.0, 0), 0.0], [0.6, 0.4, 0.0]])
    end = np.array([[1.0, np.nextafter(1.0, 2), 0.0], [0.0, 0.8, 0.0]])
    curve = trace_curve(close, end, np.array([1, 1]), (1,))
    assert look_up(curve, 0.1)["hits_at_1"] == 0
    assert look_up(curve, 0.3)["hits_at_1"] == 0.5
    assert look_up(curve, 0.9)["hits_at_1"] == 1


def test_equal_rows_give_one_interval_in_retrieval_order():
    flat = np.ones((1, 4))
    curve = trace_curve(flat, flat, np.array([2]), (1, 3))
    assert curve.to_numpy().tolist() == [[0, 1, 0, 0, 0, 1, *[pytest.approx(1 / 3)] * 2]]


def test_the_plateau_is_the_widest_interval_of_the_largest_value():
    # Largest on [0.1, 0.2] and, over two rows that differ in another measure, on [0.5, 1].
    table = pd.DataFrame(
        {
            "w_lo": [0, 0.1, 0.2, 0.5, 0.7],
            "w_hi": [0.1, 0.2, 0.5, 0.7, 1.0],
            "hits_at_1": [0, 1.0, 0, 1, 1],
        }
    )
    assert find_plateau(table, "hits_at_1") == Plateau(0.5, 1.0, 1.0)
    assert find_plateau(table, "hits_at_1").midpoint == 0.75
    with pytest.raises(ValueError, match="measure must be one of"):
        find_plateau(table, "hits_at_7")


def test_per_query_values_follow_the_definitions():
    values = score_ranks(np.array([0, 1, 2, 7]), (1, 5))
    assert values["hits_at_1"].tolist() == [0, 1, 0, 0]
    assert values["hits_at_5"].tolist() == [0, 1, 1, 0]
    assert values["mrr_at_5"].tolist() == [0, 1, 0.5, 0]


def test_lines_of_any_size_cross_without_floating_point_errors():
    # Equal at weight 0, and so nearly equal at 1 that the rounding of 1e300 spans all weights.
    start, end = np.array([[1e300, 1e300]]), np.array([[0.0, 5e-324]])
    with np.errstate(all="raise", under="ignore"):
        curve = trace_curve(start, end, np.array([1]), (1,))
    assert curve["hits_at_1"].iloc[-1] == 1


@pytest.mark.parametrize(
    ("start", "end", "gold_columns", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), np.zeros(2, int), r"\(2, 3\), \(2, 2\) and \(2,\)"),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([0, 3]), r"in \[-1, 2\], got 0 to 3"),
        (
            np.ones((1, 2)),
            np.array([[1, np.nan]]),
            np.zeros(1, int),
            "start and end must be finite",
        ),
        (
            np.array([[1, np.inf]]),
            np.ones((1, 2)),
            np.zeros(1, int),
            "start and end must be finite",
        ),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([-2, 0]), r"in \[-1, 2\], got -2 to 0"),
        (np.ones((2, 3)), np.ones((2, 3)), np.zeros(3, int), r"\(2, 3\), \(2, 3\) and \(3,\)"),
        (np.ones(3), np.ones(3), np.zeros(3, int), r"\(3,\), \(3,\) and \(3,\)"),
        (np.ones((0, 3)), np.ones((0, 3)), np.zeros(0, int), r"at least one query.*\(0, 3\)"),
        (np.ones((3, 0)), np.ones((3, 0)), np.full(3, -1), r"at least one query.*\(3, 0\)"),
    ],
)
def test_lines_that_do_not_fit_are_refused(start, end, gold_columns, message):
    with pytest.raises(ValueError, match=message):
        trace_curve(start, end, gold_columns, CUTOFFS)
