"""Intervals contain the truth of simulated people at their rate; reported gains are true."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_ratings import MODEL, ask_people, find_columns, make_population

from newsimg.evaluation.ratings.curve import draw_rated_lines
from newsimg.evaluation.ratings.measures import bound_measures
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.evaluation.rules.bagged import BaggedRule
from newsimg.evaluation.tuning import Chooser, cross_validate, rate_options
from newsimg.task.judged.lines import rank_unseen

pytestmark = pytest.mark.slow
N_SIMULATIONS = 200


def test_intervals_of_the_mean_rating_contain_the_truth_in_at_least_95_of_100_surveys() -> None:
    population = make_population(1500, 4, seed=0)
    truth = population.expect(0.0).mean()
    inside = inside_if_ratings_were_independent = 0
    for seed in range(N_SIMULATIONS):
        random = np.random.default_rng([1, seed])
        articles = population.take(random.permutation(1500)[:60])
        first = np.zeros((60, 1), int)
        rated = ask_people(articles, random, n_raters=6, columns=first)
        ranks = find_columns(rated) + 1
        lines = draw_rated_lines(articles.retrieval, articles.rerank, rated, ranks - 1)
        stages = {stage: (lines.score_retrieval([]), ranks) for stage in ("retrieval", "reranked")}
        row = bound_measures(rated, stages, draw_resamples(rated, 300, seed)).loc[
            "retrieval/mean_rating"
        ]
        inside += row["low"] <= truth <= row["high"]
        error = 1.96 * rated.value.std() / np.sqrt(len(rated.value))
        inside_if_ratings_were_independent += abs(rated.value.mean() - truth) <= error
    assert 0.93 <= inside / N_SIMULATIONS <= 1
    # What the clusters are for: without them the intervals are far too narrow.
    assert inside_if_ratings_were_independent / N_SIMULATIONS < 0.8


def test_the_tuned_weight_truly_gains_what_is_reported_on_other_articles() -> None:
    population = make_population(1500, 6, seed=1)
    chooser = Chooser(BaggedRule(measure=None), "mean_rating", n_resamples=15, seed=1)
    before = population.expect(0.0).mean()
    reported, true = [], []
    for seed in range(40):
        random = np.random.default_rng([2, seed])
        drawn = random.permutation(1500)
        lines = []
        for part in (drawn[:50], drawn[50:150]):
            articles = population.take(part)
            rated = ask_people(articles, random)
            columns = find_columns(rated)
            lines.append(draw_rated_lines(articles.retrieval, articles.rerank, rated, columns))
        choice = rate_options({"only": lines[0]}, chooser)[0]
        at = [lines[1].score(weight, [])["mean_rating"].mean() for weight in (0, choice.weight)]
        reported.append(at[1] - at[0])
        true.append(population.expect(choice.weight).mean() - before)
    error = np.std(np.subtract(reported, true)) / np.sqrt(40)
    assert abs(np.mean(reported) - np.mean(true)) < 3 * error
    assert np.mean(true) > 0.03
    grid = [population.expect(weight).mean() - before for weight in np.linspace(0, 1, 41)]
    assert np.mean(true) > 0.8 * max(grid)


def test_the_gain_of_a_cross_validation_is_true_and_its_interval_is_over_people_too() -> None:
    """People who differ much in what they like.

    All folds have the same six people, whose tastes the chosen weight follows: their number of
    tastes is small, so that a share of 95 % is not reached.
    """
    population = make_population(600, 6, seed=1)
    chooser = Chooser(BaggedRule(measure=None), "mean_rating", n_resamples=10, seed=1)
    inside = over_articles = 0
    n_simulations = 60
    for seed in range(n_simulations):
        random = np.random.default_rng([3, seed])
        articles = population.take(random.permutation(600)[:40])
        taste = random.normal(0, 1.5, 6)  # what a person makes of the rerank score, on average 0
        rated = ask_people(articles, random, n_raters=6)
        columns = find_columns(rated)
        liked = taste[rated.rater] * (articles.rerank - 0.5)[rated.query, columns][rated.picture]
        rated = replace(rated, value=rated.value + liked)
        lines = {"only": draw_rated_lines(articles.retrieval, articles.rerank, rated, columns)}
        folds = cross_validate(lines, chooser, [], n_folds=4, n_repeats=2, seed=seed)
        before = lines["only"].score_retrieval([])
        stages = {
            "retrieval": (before, columns + 1),
            "reranked": (folds.reported, rank_unseen(lines, folds)),
        }
        row = bound_measures(rated, stages, draw_resamples(rated, 300, seed)).loc[
            "delta/mean_rating"
        ]
        weights = [choice.weight for choice in folds.choices]
        truth = np.mean([population.expect(weight).mean() for weight in weights])
        truth -= population.expect(0.0).mean()
        inside += row["low"] <= truth <= row["high"]
        gains = (folds.reported - before)["mean_rating"]
        over_articles += abs(gains.mean() - truth) <= 1.96 * gains.std() / np.sqrt(len(gains))
    assert inside >= 0.85 * n_simulations
    assert over_articles < inside - 0.1 * n_simulations


def test_the_expected_mean_is_that_of_very_many_people() -> None:
    population = make_population(20, 3, seed=2)
    rated = ask_people(population, np.random.default_rng(0), n_raters=4000, n_ratings=4000)
    expected = MODEL.expect(population.appeal)[rated.query, find_columns(rated)]
    np.testing.assert_allclose(rated.means, expected, atol=0.06)
