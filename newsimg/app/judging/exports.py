"""The files of a judging, which the task writes at its end and the page of results offers."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from newsimg.app.judging.preferences import (
    N_RESAMPLES,
    compare_runs,
    rate_strengths,
    select_pair,
    trace_progress,
)
from newsimg.app.judging.questions import Shown
from newsimg.app.judging.results import (
    list_headlines,
    list_people,
    list_preferences,
    list_rated,
    list_rated_headlines,
    split_runs,
    to_ratings,
)
from newsimg.datatypes import Rating
from newsimg.evaluation.metrics import format_qrels
from newsimg.evaluation.ratings.rated import arrange_ratings
from newsimg.evaluation.ratings.runs import measure_runs

RATINGS, QRELS = "ratings.csv", "qrels.txt"
LOWEST = 1.0  # of the ratings from 1 to 5


def list_exports(
    table: pd.DataFrame, names: Sequence[str], shown: Shown, seed: int
) -> dict[str, str]:
    """Return the files of a judging: name -> content.

    `answers.csv` always; with answers `ratings.csv` (for `data.ratings`), `qrels.txt`,
    `headlines.csv` and `people.csv`; of pairs `preferences.csv`, `progress.csv` and, of more than
    two runs, `runs.csv` with their strengths; of single pictures `runs.csv` with their means.

    Args:
        table: Result of `read_answers`.
        names: Names of the runs.
        shown: The runs that show each picture first.
        seed: Seed of the intervals.
    """
    files = {"answers.csv": table}
    if rated := list_rated(table, shown):
        files["headlines.csv"] = list_rated_headlines(rated, shown)
        runs = measure_runs(split_runs(rated, shown), N_RESAMPLES, seed)
        assert runs is not None
        files["runs.csv"] = runs.reset_index()
        low = LOWEST
    elif len(list_preferences(table)):
        rated, low = to_ratings(table, shown), 0.0
        files["headlines.csv"] = list_headlines(table, shown)
        files["preferences.csv"] = compare_runs(table, names, shown, seed)
        files["progress.csv"] = _trace_pairs(table, names, shown, seed)
        strengths = rate_strengths(table, names, shown, seed) if len(names) > 2 else None
        if strengths is not None:
            files["runs.csv"] = strengths.reset_index()
    else:
        return {name: _to_csv(own) for name, own in files.items()}
    files["people.csv"] = list_people(table)
    return {name: _to_csv(own) for name, own in files.items()} | {
        RATINGS: format_ratings(rated),
        QRELS: _format_grades(rated, low),
    }


def format_ratings(ratings: Sequence[Rating]) -> str:
    """Return the text of a file of `data.ratings`."""
    table = pd.DataFrame([vars(one) for one in ratings]).rename(columns={"value": "rating"})
    columns = ["article_id", "image_id", "rating", "rater", "run"]
    return table.to_csv(columns=columns, index=False, float_format="%.10g", lineterminator="\n")


def _trace_pairs(
    table: pd.DataFrame, names: Sequence[str], shown: Shown, seed: int
) -> pd.DataFrame:
    traced = []
    for pair in combinations(names, 2):
        own = trace_progress(select_pair(table, shown, pair), seed)
        own.insert(0, "first_run", pair[0])
        own.insert(1, "second_run", pair[1])
        traced.append(own)
    return pd.concat([own for own in traced if len(own)])


def _format_grades(ratings: Sequence[Rating], low: float) -> str:
    articles = list(dict.fromkeys(rating.article_id for rating in ratings))
    return format_qrels(arrange_ratings(ratings, articles, low).to_qrels())


def _to_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")
