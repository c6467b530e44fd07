"""Measures by ratings, against ir_measures, scipy, krippendorff and brute force."""

from collections.abc import Sequence
from pathlib import Path

import ir_measures
import krippendorff
import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from newsimg.datatypes import Candidates, Collection, Image, Query, Rating
from newsimg.evaluation.metrics import to_run
from newsimg.evaluation.ratings.agreement import measure_agreement
from newsimg.evaluation.ratings.correlation import correlate, correlate_scores
from newsimg.evaluation.ratings.measures import (
    bound_measures,
    find_shares,
    measure_ratings,
    resample_measure,
)
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings, gather_ratings
from newsimg.evaluation.ratings.resampling import Resamples, average_by, draw_resamples
from newsimg.evaluation.stats import correct_holm

N_QUERIES, N_IMAGES, TOP_K = 12, 30, 8


def make(
    seed: int = 0, share: float = 0.6, raters: Sequence[str] = ("a", "b", "c", "d")
) -> tuple[Collection, Candidates]:
    """Return queries with random candidates, some of which some people have rated."""
    random = np.random.default_rng(seed)
    images = tuple(Image(f"i{n:02}", Path(f"{n}")) for n in range(N_IMAGES))
    rows = np.stack([random.permutation(N_IMAGES)[:TOP_K] for _ in range(N_QUERIES)])
    scores = -np.sort(-random.random((N_QUERIES, TOP_K)), axis=1)
    ratings = [
        Rating(f"q{q}", f"i{i:02}", float(random.integers(1, 6)), rater)
        for q in range(N_QUERIES - 1)  # the last one has none
        for i in range(N_IMAGES)
        if random.random() < share
        for rater in raters
        if random.random() < 0.7
    ]
    queries = tuple(Query(f"q{n}", f"headline {n}") for n in range(N_QUERIES))
    collection = Collection("made", queries, images, None, ratings=tuple(ratings))
    return collection, Candidates(images, rows, scores, {"retrieval": scores})


def by_hand(collection: Collection) -> dict[tuple[str, str], list[float]]:
    given: dict[tuple[str, str], list[float]] = {}
    for rating in collection.ratings:
        given.setdefault((rating.article_id, rating.image_id), []).append(rating.value)
    return given


def test_ratings_of_a_picture_become_mean_count_spread_and_grade() -> None:
    collection, candidates = make()
    table = gather_ratings(collection, candidates).describe()
    given = by_hand(collection)
    assert len(table) == len(given)
    for row in table.itertuples():
        values = given[row.article_id, row.image_id]
        assert row.mean == pytest.approx(np.mean(values))
        assert row.count == len(values)
        assert row.grade == round(100 * (np.mean(values) - 1))
        if len(values) > 1:
            assert row.spread == pytest.approx(np.std(values, ddof=1))
        else:
            assert np.isnan(row.spread)


def test_ids_written_differently_are_those_of_the_searched_pictures() -> None:
    collection, candidates = make()
    ratings = (
        Rating("q0", "i03.jpg", 4.0),
        Rating("q0", "pictures/i04", 2.0),
        Rating("q1", "x", 1),
    )
    changed = Collection("made", collection.queries, collection.images, None, ratings=ratings)
    assert gather_ratings(changed, candidates).to_qrels() == {
        "q0": {"i03": 300, "i04": 100},
        "q1": {"x": 0},
    }


def test_ratings_of_other_headlines_alone_are_an_error_that_shows_both_ids() -> None:
    collection, candidates = make()
    ratings = (Rating("other", "i03", 4.0),)
    changed = Collection("made", collection.queries, collection.images, None, ratings=ratings)
    with pytest.raises(ValueError, match="'other', the headlines have ids like 'q0'"):
        gather_ratings(changed, candidates)


def test_ndcg_and_the_mean_rating_of_the_first_picture_are_those_computed_by_hand() -> None:
    collection, candidates = make()
    rated = gather_ratings(collection, candidates)
    run = to_run(collection.queries, candidates)
    ranks = rated.find_columns(candidates) + 1
    table = measure_ratings(rated, run, ranks, [1, 5])
    given = by_hand(collection)
    assert list(table.index) == [f"q{n}" for n in range(N_QUERIES - 1)]
    for number, query_id in enumerate(table.index):
        ids = [candidates.images[row].image_id for row in candidates.rows[number]]
        grades = {i: round(100 * (np.mean(v) - 1)) for (q, i), v in given.items() if q == query_id}
        ideal = sorted(grades.values(), reverse=True)[:5]
        gain = sum(grades.get(i, 0) / np.log2(2 + n) for n, i in enumerate(ids[:5]))
        best = sum(grade / np.log2(2 + n) for n, grade in enumerate(ideal))
        assert table.loc[query_id, "ndcg_at_5"] == pytest.approx(gain / best)
        first = given.get((query_id, ids[0]))
        assert table.loc[query_id, "rated_share"] == (first is not None)
        least = 1.0 if first is None else np.mean(first)
        assert table.loc[query_id, "least_mean_rating"] == pytest.approx(least)
        if first is None:
            assert np.isnan(table.loc[query_id, "mean_rating"])
        else:
            assert table.loc[query_id, "mean_rating"] == pytest.approx(np.mean(first))


def test_a_resample_in_which_all_count_once_gives_the_measures_of_ir_measures() -> None:
    collection, candidates = make(seed=3)
    rated = gather_ratings(collection, candidates)
    run = to_run(collection.queries, candidates)
    ranks = rated.find_columns(candidates) + 1
    ones = np.ones((1, N_QUERIES))
    once = Resamples(ones, rated.means[None], np.ones_like(rated.means)[None], ones, 11, 4)
    expected = ir_measures.pytrec_eval.calc_aggregate([ir_measures.nDCG @ 5], rated.to_qrels(), run)
    values = resample_measure(rated, "ndcg_at_5", ranks, once)[0, rated.is_rated]
    # Grades are hundredths of a point.
    assert values.mean() == pytest.approx(expected[ir_measures.nDCG @ 5], abs=1e-3)


def test_people_who_count_twice_count_twice_in_each_mean() -> None:
    collection, candidates = make(seed=1)
    rated = gather_ratings(collection, candidates)
    people = np.array([[2.0, 0.0, 1.0, 3.0, 1.0]])
    weights = dict(zip(dict.fromkeys(r.rater for r in collection.ratings), people[0], strict=False))
    means, numbers = (values[0] for values in average_by(rated, people))
    for position, image_id in enumerate(rated.image_ids):
        own = [
            r
            for r in collection.ratings
            if (r.article_id, r.image_id) == (f"q{rated.query[position]}", image_id)
        ]
        counts = [weights[r.rater] for r in own]
        values = [r.value for r in own]
        expected = np.average(values, weights=counts) if sum(counts) else np.mean(values)
        assert means[position] == pytest.approx(expected)
        assert numbers[position] == sum(counts)


def test_unknown_people_are_not_drawn_again() -> None:
    collection, candidates = make(raters=("",))
    rated = gather_ratings(collection, candidates)
    assert rated.n_raters == 0
    resamples = draw_resamples(rated, 50, 0)
    assert (resamples.means == rated.means).all()
    assert (resamples.queries.sum(axis=1) == N_QUERIES - 2).all()  # one less than the rated ones
    assert (resamples.queries[:, -1] == 0).all()


def test_intervals_contain_the_value_and_a_difference_is_of_articles_rated_in_both() -> None:
    collection, candidates = make(seed=5)
    rated = gather_ratings(collection, candidates)
    turned = Candidates(candidates.images, candidates.rows[:, ::-1], candidates.scores)
    stages = {}
    for name, stage in (("retrieval", candidates), ("reranked", turned)):
        ranks = rated.find_columns(stage) + 1
        run = to_run(collection.queries, stage)
        stages[name] = measure_ratings(rated, run, ranks, [1, 5]), ranks
    bounds = bound_measures(rated, stages, draw_resamples(rated, 400, 1))
    assert (bounds["low"] <= bounds["value"]).all()
    assert (bounds["value"] <= bounds["high"]).all()
    before, after = (stages[name][0]["mean_rating"] for name in stages)
    both = before.notna() & after.notna()
    assert 0 < both.sum() < len(both)
    assert bounds["value"]["delta/mean_rating"] == pytest.approx(
        after[both].mean() - before[both].mean()
    )
    p = bounds["p"].dropna()
    assert len(p) == 5
    delta = bounds.loc[p.index]
    assert ((p < 0.05) == ((delta["low"] > 0) | (delta["high"] < 0))).all()


def arrange_complete(matrix: np.ndarray) -> RatedPictures:
    """Return ratings by people (rows) of one picture of each article (columns); NaN for none."""
    n_articles = matrix.shape[1]
    ratings = [
        Rating(f"q{a}", "i", float(matrix[r, a]), f"r{r}")
        for r in range(len(matrix))
        for a in range(n_articles)
        if np.isfinite(matrix[r, a])
    ]
    return arrange_ratings(ratings, [f"q{a}" for a in range(n_articles)], 1.0)


def test_agreement_is_krippendorffs_alpha() -> None:
    random = np.random.default_rng(0)
    matrix = np.clip(np.round(random.normal(3, 1, 40) + random.normal(0, 0.7, (5, 40))), 1, 5)
    matrix[random.random(matrix.shape) < 0.3] = np.nan
    found = measure_agreement(arrange_complete(matrix), seed=0)
    assert found is not None
    expected = krippendorff.alpha(reliability_data=matrix, level_of_measurement="ordinal")
    assert found.alpha == pytest.approx(expected)
    assert found.low < found.alpha < found.high


def test_there_is_no_agreement_of_one_person_or_of_unknown_people() -> None:
    assert measure_agreement(arrange_complete(np.ones((1, 5))), 0) is None
    unknown = arrange_ratings([Rating("q", "i", 1.0), Rating("q", "i", 2.0)], ["q"], 1.0)
    assert measure_agreement(unknown, 0) is None


def test_correlations_inside_articles_are_those_of_scipy() -> None:
    collection, candidates = make(seed=7)
    rated = gather_ratings(collection, candidates)
    columns = rated.find_columns(candidates)
    coarse = np.round(candidates.scores, 1)  # with ties
    scores = np.where(columns >= 0, coarse[rated.query, columns], np.nan)
    kendall, spearman = correlate(rated, scores, rated.means[None])
    for query in range(N_QUERIES):
        own = (rated.query == query) & np.isfinite(scores)
        if own.sum() < 2 or len(set(scores[own])) < 2 or len(set(rated.means[own])) < 2:
            assert np.isnan(kendall[0, query])
            assert np.isnan(spearman[0, query])
            continue
        assert kendall[0, query] == pytest.approx(kendalltau(scores[own], rated.means[own])[0])
        assert spearman[0, query] == pytest.approx(spearmanr(scores[own], rated.means[own])[0])
    assert np.isfinite(kendall).sum() > 6


def test_a_table_of_correlations_is_corrected_for_the_number_of_scores() -> None:
    collection, candidates = make(seed=7)
    rated = gather_ratings(collection, candidates)
    random = np.random.default_rng(0)
    scores = {
        "right": rated.means + random.normal(0, 0.3, len(rated.means)),
        "random": random.random(len(rated.means)),
    }
    table = correlate_scores(rated, scores, draw_resamples(rated, 200, 0))
    kendall = correlate(rated, scores["right"], rated.means[None])[0][0]
    assert table.loc["right", "kendall"] == pytest.approx(np.nanmean(kendall))
    assert table.loc["right", "kendall_low"] > 0
    assert table.loc["random", "kendall_low"] < 0 < table.loc["random", "kendall_high"]
    assert (table["p_holm"] == correct_holm(table["p"].to_numpy())).all()
    assert table.loc["right", "p_holm"] < 0.05 < table.loc["random", "p_holm"]


@pytest.mark.parametrize(
    "measure", ["mean_rating", "least_mean_rating", "rated_share", "ndcg_at_5"]
)
def test_measures_of_several_rankings_are_averaged_in_each_resample(measure: str) -> None:
    collection, candidates = make(share=0.8)
    rated = gather_ratings(collection, candidates)
    resamples = draw_resamples(rated, 40, 0)
    columns = rated.find_columns(candidates)
    random = np.random.default_rng(3)
    ranks = []
    for _ in range(3):
        order = np.stack([random.permutation(TOP_K) for _ in range(N_QUERIES)])
        ranks.append(np.where(columns >= 0, order[rated.query, columns] + 1, 0))
    each = [resample_measure(rated, measure, own, resamples) for own in ranks]
    found = resample_measure(rated, measure, np.stack(ranks), resamples)
    np.testing.assert_allclose(found, np.mean(each, axis=0))
    assert np.isfinite(found).any()
    shares = find_shares(rated, measure, np.stack(ranks), resamples)
    expected = [find_shares(rated, measure, own, resamples) for own in ranks]
    np.testing.assert_allclose(shares, np.mean(expected, axis=0))
