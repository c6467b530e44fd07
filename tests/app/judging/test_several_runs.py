"""Judgings of more than two runs: which pairs are asked about, and what the answers say."""

import io
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from simulated_judging import find_truth, judge, rank_runs
from simulated_ratings import make_population

from newsimg.app.judging import preferences
from newsimg.app.judging.exports import list_exports
from newsimg.app.judging.preferences import (
    compare_runs,
    measure_preference,
    rate_strengths,
    select_pair,
)
from newsimg.app.judging.questions import CHECK, PAIR, RATE, list_shown, plan_pairs, plan_ratings
from newsimg.app.judging.results import COLUMNS, list_rated, split_runs, to_ratings
from newsimg.evaluation.ratings.preference import fit_strengths
from newsimg.task.judged.judge import describe_plan

RUNS = {
    "x": {"q1": ["a", "b", "c"], "q2": ["m", "n"], "q3": ["s", "t"], "q9": ["z"]},
    "y": {"q1": ["b", "a", "c"], "q2": ["m", "n"], "q3": ["s", "t"]},
    "z": {"q1": ["c", "b", "a"], "q2": ["n", "m"], "q3": ["s", "t"]},
}


def plan(**changes: int | bool | None) -> list[tuple[str, str, str]]:
    values = {"n_pairs": None, "n_raters": 3, "n_checks": 0, "seed": 0} | changes
    asked = plan_pairs(list(RUNS.values()), **values)
    return [(one.article_id, one.first, one.second) for one in asked if one.kind == PAIR]


def test_two_pictures_are_asked_about_once_however_many_runs_show_them() -> None:
    found = plan()
    assert sorted(found) == [("q1", "a", "b"), ("q1", "a", "c"), ("q1", "b", "c"), ("q2", "m", "n")]
    asked = plan_pairs(list(RUNS.values()), n_pairs=None, n_raters=3, n_checks=9, seed=0)
    shown = list_shown(RUNS, asked)
    assert shown["q2", "m"] == ("x", "y")
    assert shown["q2", "n"] == ("z",)
    by_pictures = {(one.first, one.second): one.disagreement for one in asked}
    assert by_pictures["a", "b"] == pytest.approx((1 / 3) / 3)  # of one pair of three
    assert by_pictures["m", "n"] == pytest.approx((1 / 2 + 1 / 2) / 3)  # of two pairs of three
    checks = [one for one in asked if one.kind == CHECK]
    assert checks
    for one in checks:
        assert all(one.first in run[one.article_id] for run in RUNS.values())
        assert not any(one.second in run[one.article_id] for run in RUNS.values())


def test_a_budget_takes_each_pair_of_pictures_as_likely_as_any_other() -> None:
    drawn = [plan(n_pairs=2, seed=seed) for seed in range(400)]
    assert all(len(set(own)) == 2 for own in drawn)
    counts = pd.Series([pair for own in drawn for pair in own]).value_counts()
    assert len(counts) == 4
    assert (abs(counts - 200) < 4.5 * 10).all()  # binomial: standard deviation 10


def test_single_pictures_are_rated_once_and_the_budget_is_of_headlines() -> None:
    values = {"n_raters": 3, "n_checks": 0, "seed": 0, "whole": True}
    for n_headlines in (1, None):
        asked = plan_ratings(plan_pairs(list(RUNS.values()), n_pairs=n_headlines, **values))
        found = {}
        for one in asked:
            assert one.kind == RATE
            found.setdefault(one.article_id, []).append(one.first)
        pictures = {"q1": ["a", "b", "c"], "q2": ["m", "n"]}
        assert len(found) == (n_headlines or 2)
        assert {name: sorted(own) for name, own in found.items()}.items() <= pictures.items()


def test_a_plan_is_described_by_its_questions_where_a_headline_has_several() -> None:
    asked = plan_pairs(list(RUNS.values()), n_pairs=None, n_raters=3, n_checks=0, seed=0)
    assert describe_plan(asked, 2) == "4 pairs of pictures of 2 headlines"
    assert describe_plan(plan_ratings(asked), 2) == "5 pictures of 2 headlines"
    assert describe_plan(asked[:1], 1) == "1 headline"


def answer(rows: list[tuple[str, str, str, str, str]], kind: str = PAIR) -> pd.DataFrame:
    full = [(*row[:3], row[3], row[4], kind, 0, "first", 1.0) for row in rows]
    return pd.DataFrame(full, columns=list(COLUMNS))


SHOWN = {
    ("q1", "a"): ("x",),
    ("q1", "b"): ("y",),
    ("q1", "c"): ("z",),
    ("q2", "m"): ("x", "y"),
    ("q2", "n"): ("z",),
}


def test_an_answer_counts_for_every_pair_of_runs_that_shows_the_pictures() -> None:
    table = answer(
        [
            ("q1", "b", "c", "r1", "first"),
            ("q1", "a", "b", "r1", "second"),
            ("q2", "m", "n", "r1", "second"),
            ("q2", "m", "n", "r2", "tie"),
        ]
    )
    found = compare_runs(table, ["z", "x", "y"], SHOWN, 0).set_index(["first_run", "second_run"])
    assert found["preference"].to_dict() == {
        ("z", "x"): pytest.approx(-0.5),  # of q2 alone: q1 was asked of other pairs
        ("z", "y"): pytest.approx((1 - 0.5) / 2),
        ("x", "y"): pytest.approx(1),  # q2 shows one picture of both
    }
    assert found["n_answers"].to_dict() == {("z", "x"): 2, ("z", "y"): 3, ("x", "y"): 1}
    turned = select_pair(table, SHOWN, ("z", "y"))
    assert turned["choice"].tolist() == ["second", "first", "tie"]
    assert turned["first"].tolist() == ["c", "n", "n"]
    ratings = to_ratings(table, SHOWN)
    assert [(r.image_id, r.value, r.run) for r in ratings if r.rater == "r2"] == [
        ("m", 0.5, "x+y"),
        ("n", 0.5, "z"),
    ]


def test_runs_without_a_chain_of_comparisons_between_them_have_no_strengths() -> None:
    table = answer([("q1", "a", "b", "r1", "first"), ("q1", "a", "b", "r2", "tie")])
    assert rate_strengths(table, ["x", "y"], SHOWN, 0) is not None
    assert rate_strengths(table, ["x", "y", "z"], SHOWN, 0) is None


def test_strengths_are_those_of_all_comparisons() -> None:
    population = make_population(60, 5, seed=1)
    runs = rank_runs(population, {"x": 0.0, "y": 0.4, "z": 1.0})
    table, shown = judge(population, runs, np.random.default_rng(0))
    found = rate_strengths(table, list(runs), shown, 0)
    assert found is not None
    wins, ties = np.zeros((2, 3, 3))
    for row in table.itertuples():
        for i, j in combinations(range(3), 2):
            names = [runs[name][row.article_id][0] for name in ("x", "y", "z")]
            if {names[i], names[j]} == {row.first, row.second}:
                chosen = {"first": row.first, "second": row.second}.get(row.choice)
                wins[i, j] += chosen == names[i]
                wins[j, i] += chosen == names[j]
                ties[i, j] += chosen is None
                ties[j, i] += chosen is None
    expected = dict(zip(runs, fit_strengths(wins, ties)[0], strict=True))
    assert found["strength"].to_dict() == pytest.approx(expected, abs=1e-6)
    assert found["strength"].is_monotonic_decreasing


def test_the_files_have_every_pair_and_the_strengths() -> None:
    population = make_population(40, 5, seed=1)
    runs = rank_runs(population, {"x": 0.0, "y": 0.4, "z": 1.0})
    table, shown = judge(population, runs, np.random.default_rng(0))
    files = {
        name: pd.read_csv(io.StringIO(text))
        for name, text in list_exports(table, list(runs), shown, 0).items()
        if name.endswith(".csv")
    }
    pairs = files["preferences.csv"]
    assert list(zip(pairs["first_run"], pairs["second_run"], strict=True)) == [
        ("x", "y"),
        ("x", "z"),
        ("y", "z"),
    ]
    assert pairs["power"].between(0, 1).all()
    assert set(files["runs.csv"]["run"]) == {"x", "y", "z"}
    last = files["progress.csv"].groupby(["first_run", "second_run"]).tail(1)
    assert last["preference"].tolist() == pytest.approx(pairs["preference"].tolist())
    assert len(files["ratings.csv"]) == 2 * len(table)
    headlines = files["headlines.csv"]
    assert headlines["disagreement"].is_monotonic_decreasing
    assert len(headlines) == len(table.drop_duplicates(["article_id", "first", "second"]))


def test_a_rated_picture_counts_for_each_run_that_shows_it() -> None:
    table = answer([("q2", "m", "", "r1", "4"), ("q2", "n", "", "r1", "2")], RATE)
    rated = list_rated(table, SHOWN)
    assert [one.run for one in rated] == ["x+y", "z"]
    by_run = [(one.run, one.value) for one in split_runs(rated, SHOWN)]
    assert by_run == [("x", 4), ("y", 4), ("z", 2)]


@pytest.mark.slow
def test_intervals_of_preferences_and_strengths_contain_the_truth_and_runs_are_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preferences, "N_RESAMPLES", 300)
    weights = {"a": 0.0, "b": 0.25, "d": 1.0}
    population = make_population(1500, 6, seed=3)
    truth, strengths = find_truth(population, rank_runs(population, weights))
    order = [list(weights)[i] for i in np.argsort(-strengths)]
    inside, within, right = [], [], 0
    for seed in range(60):
        random = np.random.default_rng([5, seed])
        drawn = population.take(random.permutation(1500)[:60])
        table, shown = judge(drawn, rank_runs(drawn, weights), random)
        for pair, value in truth.items():
            found = measure_preference(select_pair(table, shown, pair), seed)
            assert found is not None
            inside.append(found.low <= value <= found.high)
        rated = rate_strengths(table, list(weights), shown, seed)
        assert rated is not None
        for name, value in zip(weights, strengths, strict=True):
            within.append(rated.loc[name, "low"] <= value <= rated.loc[name, "high"])
        right += list(rated.index) == order
    assert np.mean(inside) >= 0.93
    assert np.mean(within) >= 0.93
    assert right > 0.8 * 60
