"""Strengths of runs by Davidson's model."""

import choix
import numpy as np
import pytest
from scipy.optimize import minimize

from newsimg.datatypes import Rating
from newsimg.evaluation.ratings.preference import (
    Pairs,
    fit_strengths,
    pair_ratings,
    rate_runs,
)
from newsimg.evaluation.ratings.runs import measure_runs


def test_two_runs_with_ties_have_the_probabilities_of_the_shares() -> None:
    wins, ties = np.array([[0.0, 50.0], [20.0, 0.0]]), np.array([[0.0, 30.0], [30.0, 0.0]])
    strengths, v = fit_strengths(wins, ties, prior=0)
    p, q = np.exp(strengths)
    total = p + q + v * np.sqrt(p * q)
    assert p / total == pytest.approx(0.5, abs=1e-5)
    assert q / total == pytest.approx(0.2, abs=1e-5)


def test_without_ties_the_strengths_are_those_of_choix() -> None:
    random = np.random.default_rng(0)
    pairs = [tuple(random.permutation(5)[:2]) for _ in range(300)]
    wins = np.zeros((5, 5))
    for winner, loser in pairs:
        wins[winner, loser] += 1
    expected = choix.ilsr_pairwise(5, pairs)
    strengths, v = fit_strengths(wins, np.zeros((5, 5)), prior=0)
    assert strengths == pytest.approx(expected - expected.mean(), abs=1e-4)
    assert v == 0


def test_with_ties_the_likelihood_is_the_largest_that_another_method_finds() -> None:
    random = np.random.default_rng(1)
    wins = random.integers(0, 20, (4, 4)).astype(float)
    ties = random.integers(0, 9, (4, 4)).astype(float)
    wins[np.diag_indices(4)] = ties[np.diag_indices(4)] = 0
    ties += ties.T

    def loss(x: np.ndarray) -> float:
        p, v = np.exp(np.append(x[:3], 0)), np.exp(x[3])
        total = 0.0
        for i in range(4):
            for j in range(i):
                d = p[i] + p[j] + v * np.sqrt(p[i] * p[j])
                total -= wins[i, j] * np.log(p[i] / d) + wins[j, i] * np.log(p[j] / d)
                total -= ties[i, j] * np.log(v * np.sqrt(p[i] * p[j]) / d)
        return total

    other = minimize(loss, np.zeros(4), method="Nelder-Mead", options={"maxiter": 4000})
    strengths, v = fit_strengths(wins, ties, prior=0)
    assert strengths - strengths[3] == pytest.approx(np.append(other.x[:3], 0), abs=1e-2)
    assert v == pytest.approx(np.exp(other.x[3]), rel=1e-2)
    assert loss(np.append(strengths[:3] - strengths[3], np.log(v))) <= other.fun + 1e-6


def test_a_run_that_always_wins_has_a_finite_strength() -> None:
    strengths, _ = fit_strengths(np.array([[0.0, 9.0], [0.0, 0.0]]), np.zeros((2, 2)))
    assert np.isfinite(strengths).all()
    assert strengths[0] > strengths[1]


def test_ratings_of_one_person_for_one_article_become_preferences() -> None:
    pairs = pair_ratings(
        {"a": [(0, 0, 4.0), (1, 0, 2.0)], "b": [(0, 0, 3.0), (0, 1, 5.0), (1, 0, 2.0)]}
    )
    assert pairs.names == ["a", "b"]
    assert pairs.outcome.tolist() == [1, 0]  # of article 0 by person 0, and article 1
    wins, ties = pairs.count()
    assert wins.tolist() == [[0, 1], [0, 0]]
    assert ties.tolist() == [[0, 1], [1, 0]]
    assert pairs.count(np.array([3.0, 0.5]))[0].tolist() == [[0, 3], [0, 0]]


def test_intervals_of_strengths_tell_runs_apart_that_differ() -> None:
    random = np.random.default_rng(2)
    n = 300
    outcome = random.choice([1, 0, -1], n, p=[0.6, 0.2, 0.2])
    pairs = Pairs(
        ["good", "bad"],
        np.zeros(n, int),
        np.ones(n, int),
        outcome,
        random.integers(0, 40, n),
        random.integers(0, 10, n),
    )
    table = rate_runs(pairs, 100, 0)
    assert list(table.index) == ["good", "bad"]
    assert table.loc["bad", "high"] < 0 < table.loc["good", "low"]
    # Without ties the better one is preferred with the odds of the shares, 3 : 1.
    odds = np.exp(table.loc["good", "strength"] - table.loc["bad", "strength"])
    n_good, n_bad = (outcome == 1).sum(), (outcome == -1).sum()
    assert odds == pytest.approx(n_good / n_bad, rel=0.02)


def test_runs_of_a_survey_have_their_means_over_articles_and_an_order_by_them() -> None:
    ratings = [
        Rating("q1", "x", 5.0, "r1", "ours"),
        Rating("q1", "x", 3.0, "r2", "ours"),
        Rating("q2", "y", 2.0, "r1", "ours"),
        Rating("q1", "z", 1.0, "r1", "other"),
        Rating("q2", "z", 2.0, "r1", "other"),
    ]
    table = measure_runs(ratings, 50, 0)
    assert table is not None
    assert table["mean"].to_dict() == {"ours": (4.0 + 2.0) / 2, "other": 1.5}
    assert table["n_articles"].to_dict() == {"ours": 2, "other": 2}
    assert table.loc["ours", "strength"] > table.loc["other", "strength"]
    assert measure_runs([Rating("q", "i", 1.0)], 50, 0) is None
