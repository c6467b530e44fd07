"""How often 95 % intervals by ratings contain the truth, with simulated people.

    python tests/bench/bench_ratings.py [simulations] [articles] [people]

Each simulation draws articles and people anew. Reported are the intervals of the mean rating of the
first picture, of its gain, of Kendall's correlation, of the gain at a weight that was tuned on
other articles, and of that of a cross-validation; and the mean rating that the choosing articles
promised against the true one.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from simulated_ratings import (  # type: ignore[import-not-found]
    Population,
    ask_people,
    find_columns,
    make_population,
)

from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.correlation import correlate, correlate_scores
from newsimg.evaluation.ratings.curve import RatedLines, draw_rated_lines
from newsimg.evaluation.ratings.measures import bound_measures
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.evaluation.rules.bagged import BaggedRule
from newsimg.evaluation.tuning import Chooser, cross_validate, rate_options
from newsimg.task.judged.lines import rank_unseen

WEIGHT = 0.2
CHOOSER = Chooser(BaggedRule(measure=None), "mean_rating", n_resamples=30, seed=1)


def draw_lines(population: Population, rated: RatedPictures) -> RatedLines:
    """Return the lines of the rated candidates."""
    return draw_rated_lines(population.retrieval, population.rerank, rated, find_columns(rated))


def measure_gain(
    population: Population, rated: RatedPictures, weight: float, seed: int, n_resamples: int
) -> pd.DataFrame:
    """Return the measures of retrieval and of a weight with their intervals."""
    lines = draw_lines(population, rated)
    ranks = find_columns(rated) + 1
    stages = {
        "retrieval": (lines.score_retrieval([]), ranks),
        "reranked": (lines.score(weight, []), lines.rank(weight)),
    }
    return bound_measures(rated, stages, draw_resamples(rated, n_resamples, seed))


def cross_validate_gain(
    population: Population, rated: RatedPictures, seed: int, n_resamples: int
) -> tuple[pd.Series, FusedArray]:
    """Return the gain of a cross-validation with its interval, and the weight of each article."""
    lines = {"only": draw_lines(population, rated)}
    folds = cross_validate(lines, CHOOSER, [], n_folds=5, n_repeats=2, seed=seed)
    ranks = find_columns(rated) + 1
    stages = {
        "retrieval": (lines["only"].score_retrieval([]), ranks),
        "reranked": (folds.reported, rank_unseen(lines, folds)),
    }
    bounds = bound_measures(rated, stages, draw_resamples(rated, n_resamples, seed))
    weights = np.array([[c.weight] * len(queries) for f in folds.repeats for queries, c in f])
    return bounds.loc["delta/mean_rating"], weights.ravel()


def covers(row: pd.Series, truth: float) -> bool:
    """Return whether an interval contains the truth."""
    return bool(row["low"] <= truth <= row["high"])


def simulate(
    population: Population, n_articles: int, n_raters: int, seed: int, n_resamples: int = 400
) -> dict[str, float]:
    """Draw articles and people once, and compare intervals with the truth of the population."""
    random = np.random.default_rng([7, seed])
    drawn = random.permutation(len(population.appeal))[: 2 * n_articles]
    chosen, reported = (population.take(part) for part in np.split(drawn, 2))
    rated = ask_people(reported, random, n_raters)
    before = population.expect(0.0).mean()

    table = measure_gain(reported, rated, WEIGHT, seed, n_resamples)
    found: dict[str, float] = {
        "mean rating": covers(table.loc["retrieval/mean_rating"], before),
        "gain": covers(table.loc["delta/mean_rating"], population.expect(WEIGHT).mean() - before),
    }

    choice = rate_options(
        {"only": draw_lines(chosen, ask_people(chosen, random, n_raters))}, CHOOSER
    )[0]
    tuned = measure_gain(reported, rated, choice.weight, seed, n_resamples)
    truth = population.expect(choice.weight).mean()
    found |= {
        "gain at the tuned weight": covers(tuned.loc["delta/mean_rating"], truth - before),
        "promised minus true gain": choice.gain - (truth - before),
        "reported minus true gain": tuned.loc["delta/mean_rating", "value"] - (truth - before),
        "tuned weight": choice.weight,
    }
    row, weights = cross_validate_gain(reported, rated, seed, n_resamples)
    truth = np.mean([population.expect(one).mean() for one in weights[::10]]) - before
    return found | {
        "gain by cross-validation": covers(row, truth),
        "cross-validated minus true gain": row["value"] - truth,
    }


def simulate_correlation(
    population: Population, truth: float, n_articles: int, n_raters: int, seed: int
) -> bool:
    """Return whether the interval of Kendall's correlation contains the truth."""
    random = np.random.default_rng([8, seed])
    drawn = population.take(random.permutation(len(population.appeal))[:n_articles])
    rated = ask_people(drawn, random, n_raters)
    scores = {"rerank": drawn.rerank[rated.query, find_columns(rated)]}
    row = correlate_scores(rated, scores, draw_resamples(rated, 200, seed)).loc["rerank"]
    return bool(row["kendall_low"] <= truth <= row["kendall_high"])


def find_tau(population: Population, n_raters: int) -> float:
    """Return the mean correlation over all articles, in many surveys of as many people."""
    taus = []
    for seed in range(10):
        rated = ask_people(population, np.random.default_rng([9, seed]), n_raters)
        scores = population.rerank[rated.query, find_columns(rated)]
        taus.append(np.nanmean(correlate(rated, scores, rated.means[None])[0]))
    return float(np.mean(taus))


def main(n_simulations: int = 200, n_articles: int = 100, n_raters: int = 12) -> None:
    """Print the shares and the means over all simulations."""
    population = make_population(3000, 8, seed=0)
    seeds = range(n_simulations)
    table = pd.DataFrame([simulate(population, n_articles, n_raters, seed) for seed in seeds])
    tau = find_tau(population, n_raters)
    table["Kendall"] = [
        simulate_correlation(population, tau, n_articles, n_raters, seed) for seed in seeds
    ]
    print(f"{n_simulations} simulations, {n_articles} articles, {n_raters} people, 3 ratings each")
    for name in table:
        values = table[name].astype(float)
        what = f"mean {values.mean():+.4f}, standard deviation {values.std():.4f}"
        print(f"{name:28} {f'covered in {values.mean():.1%}' if set(values) <= {0, 1} else what}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
