"""The files of a judging, which the task writes at its end and the page of results offers."""

from collections.abc import Mapping, Sequence

import pandas as pd

from newsimg.app.judging.results import (
    N_RESAMPLES,
    list_headlines,
    list_people,
    list_rated,
    list_rated_headlines,
    measure_preference,
    to_ratings,
    trace_progress,
)
from newsimg.datatypes import Rating
from newsimg.evaluation.metrics import format_qrels
from newsimg.evaluation.ratings.rated import arrange_ratings
from newsimg.evaluation.ratings.runs import measure_runs

RATINGS, QRELS = "ratings.csv", "qrels.txt"
LOWEST = 1.0  # of the ratings from 1 to 5


def list_exports(
    table: pd.DataFrame,
    names: tuple[str, str],
    shown: Mapping[tuple[str, str], str],
    seed: int,
) -> dict[str, str]:
    """Return the files of a judging: name -> content.

    `answers.csv` always; with answers `ratings.csv` (for `data.ratings`), `qrels.txt`,
    `headlines.csv` and `people.csv`; of pairs `progress.csv`, of single pictures `runs.csv`.

    Args:
        table: Result of `read_answers`.
        names: Names of the first and the second run.
        shown: Article and image id -> the run whose first picture it is.
        seed: Seed of the intervals.
    """
    files = {"answers.csv": table}
    if rated := list_rated(table, shown):
        files["headlines.csv"] = list_rated_headlines(rated)
        runs = measure_runs(rated, N_RESAMPLES, seed)
        assert runs is not None
        files["runs.csv"] = runs.reset_index()
    elif measure_preference(table, seed) is not None:
        rated = to_ratings(table, names)
        files["headlines.csv"] = list_headlines(table)
        files["progress.csv"] = trace_progress(table, seed)
    else:
        return {name: _to_csv(own) for name, own in files.items()}
    files["people.csv"] = list_people(table)
    low = LOWEST if "runs.csv" in files else 0.0
    return {name: _to_csv(own) for name, own in files.items()} | {
        RATINGS: format_ratings(rated),
        QRELS: _format_grades(rated, low),
    }


def format_ratings(ratings: Sequence[Rating]) -> str:
    """Return the text of a file of `data.ratings`."""
    table = pd.DataFrame([vars(one) for one in ratings]).rename(columns={"value": "rating"})
    columns = ["article_id", "image_id", "rating", "rater", "run"]
    return table.to_csv(columns=columns, index=False, float_format="%.10g", lineterminator="\n")


def _format_grades(ratings: Sequence[Rating], low: float) -> str:
    articles = list(dict.fromkeys(rating.article_id for rating in ratings))
    return format_qrels(arrange_ratings(ratings, articles, low).to_qrels())


def _to_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")
