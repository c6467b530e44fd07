"""Curves of measures by ratings, against the measures computed at single weights."""

import numpy as np
import pytest

from newsimg.evaluation.curve import look_up
from newsimg.evaluation.ratings.curve import RatedLines, is_by_ratings
from newsimg.weight.base import interpolate

CUTOFFS = (1, 3, 5)


def make_lines(
    seed: int, n_queries: int = 25, top_k: int = 9, grid: int | None = None
) -> RatedLines:
    random = np.random.default_rng(seed)
    start = -np.sort(-random.random((n_queries, top_k)), axis=1)
    end = random.random((n_queries, top_k))
    if grid:  # ties on both sides, and breakpoints that several queries share
        start, end = np.round(start * grid) / grid, np.round(end * grid) / grid
    is_rated = random.random((n_queries, top_k)) < 0.5
    is_rated[0] = False  # a query whose rated pictures are no candidates
    query, column = np.nonzero(is_rated)
    mean = np.round(random.uniform(1, 5, len(query)), 2)
    grade = np.rint(100 * (mean - 1)).astype(int)
    best = np.zeros((n_queries, top_k + 2), int)
    for q in range(n_queries):
        missed = random.integers(0, 400, 2)
        values = -np.sort(-np.append(grade[query == q], missed))
        best[q, : len(values)] = values
    return RatedLines(start, end, query, column, mean, grade, best, 1.0)


def measure_by_hand(lines: RatedLines, weight: float) -> dict[str, float]:
    """Sort each query's candidates and average the measures."""
    fused = interpolate(lines.start, lines.end, weight)
    ratings, least, ndcg = [], [], {k: [] for k in CUTOFFS}
    for q in range(lines.n_queries):
        order = np.argsort(-fused[q], kind="stable").tolist()
        own = {
            int(c): (m, g)
            for c, m, g in zip(
                lines.column[lines.query == q],
                lines.mean[lines.query == q],
                lines.grade[lines.query == q],
                strict=True,
            )
        }
        least.append(own.get(order[0], (1.0, 0))[0])
        if order[0] in own:
            ratings.append(own[order[0]][0])
        for k in CUTOFFS:
            gain = sum(own.get(c, (0, 0))[1] / np.log2(n + 2) for n, c in enumerate(order[:k]))
            ideal = sum(g / np.log2(n + 2) for n, g in enumerate(lines.best[q][:k]))
            ndcg[k].append(gain / ideal)
    found = {"mean_rating": np.mean(ratings), "rated_share": len(ratings) / lines.n_queries}
    found["least_mean_rating"] = np.mean(least)
    return found | {f"ndcg_at_{k}": np.mean(values) for k, values in ndcg.items()}


@pytest.mark.parametrize(("seed", "grid"), [(0, None), (1, None), (2, 4), (3, 10)])
def test_the_curve_has_the_values_of_a_sort_at_every_weight(seed: int, grid: int | None) -> None:
    lines = make_lines(seed, grid=grid)
    curve = lines.draw_curve(CUTOFFS)
    assert curve["w_lo"].iloc[0] == 0
    assert curve["w_hi"].iloc[-1] == 1
    ends = curve[["w_lo", "w_hi"]].to_numpy()
    assert (np.nextafter(ends[:-1, 1], 2) == ends[1:, 0]).all()  # without gaps
    inside = ends.mean(axis=1)
    random = np.random.default_rng(9).random(60)
    for weight in [0.0, 1.0, 0.25, 0.5, *random, *inside[:: max(len(inside) // 80, 1)]]:
        expected = measure_by_hand(lines, weight)
        row = look_up(curve, weight)
        scored = lines.score(weight, CUTOFFS).mean()
        for name, value in expected.items():
            assert scored[name] == pytest.approx(value)
            assert row[name] == pytest.approx(value, abs=1e-8), (weight, name)


@pytest.mark.parametrize(
    "measure", ["mean_rating", "least_mean_rating", "rated_share", "ndcg_at_5"]
)
def test_the_curve_by_query_averages_to_the_curve_and_to_that_of_any_sample(measure: str) -> None:
    lines = make_lines(4)
    curve = lines.trace(measure)
    middles = (curve.bounds[1:] + curve.bounds[:-1]) / 2
    values = curve.average()
    some = np.array([3, 8, 20, 11])
    sampled = curve.take(some).average()
    counts = np.random.default_rng(0).integers(0, 3, lines.n_queries)
    weighted = curve.average(counts)
    for i in np.linspace(0, len(middles) - 1, 60).astype(int):
        table = lines.score(middles[i], CUTOFFS)[measure]
        assert values[i] == pytest.approx(table.mean(), abs=1e-8)
        if table[some].notna().any():
            assert sampled[i] == pytest.approx(table[some].mean(), abs=1e-8)
        known = table.notna().to_numpy()
        assert weighted[i] == pytest.approx(
            np.average(table[known], weights=counts[known]), abs=1e-8
        )
    taken = lines.take(some)
    assert taken.score(0.3, CUTOFFS).equals(
        lines.score(0.3, CUTOFFS).loc[some].reset_index(drop=True)
    )


def test_retrieval_alone_is_the_curve_at_weight_zero() -> None:
    lines = make_lines(5)
    assert lines.score_retrieval(CUTOFFS).equals(lines.score(0.0, CUTOFFS))


def test_measures_by_ratings_are_known_by_their_names() -> None:
    assert is_by_ratings("mean_rating")
    assert is_by_ratings("ndcg_at_10")
    assert not is_by_ratings("hits_at_1")
    with pytest.raises(ValueError, match="measure must be mean_rating or ndcg_at_K"):
        make_lines(0).trace("mrr_at_10")
