"""Which of the runs people prefer: each pair of runs, and the strengths of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from newsimg.app.judging.questions import CHECK, PAIR, Shown
from newsimg.app.judging.results import VALUES, list_preferences, measure_repeats
from newsimg.datatypes import Rating
from newsimg.evaluation.ratings.power import find_needed
from newsimg.evaluation.ratings.preference import Pairs, rate_runs
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.evaluation.ratings.runs import N_FITS

N_RESAMPLES = 1000
FIRST, GROWTH = 10, 1.5  # of the numbers of answers in `trace_progress`
TURNED = {"first": "second", "second": "first"}


@dataclass(frozen=True)
class Preference:
    """Which of two runs people prefer.

    Attributes:
        value: Mean over articles of +1 (the second run's picture is preferred), -1 (the first's)
            and 0 (a tie, or neither fits).
        low: Lower end of the 95 % interval over articles and people.
        high: Upper end.
        n_answers: Answers that it is made of.
        n_articles: Articles.
    """

    value: float
    low: float
    high: float
    n_answers: int
    n_articles: int


@dataclass(frozen=True)
class Quality:
    """How careful the answers are.

    Attributes:
        left_share: Share of answers for the left picture among those for either side; 0.5 without
            position bias.
        repeat_agreement: Share of pairs that are answered the same with sides swapped; NaN without
            repeats.
        check_share: Share of attention checks with the right answer; NaN without checks.
    """

    left_share: float
    repeat_agreement: float
    check_share: float


@dataclass(frozen=True)
class More:
    """How many more answers are needed to tell two runs apart.

    Attributes:
        power: The probability that another survey like this one would tell them apart.
        n_articles: Articles in all that make it 80 %; None if no number does, with these people.
        n_answers: Answers that are missing for it.
    """

    power: float
    n_articles: int | None
    n_answers: int


def select_pair(table: pd.DataFrame, shown: Shown, pair: tuple[str, str]) -> pd.DataFrame:
    """Return the answers that tell two runs apart.

    Args:
        table: Result of `read_answers`.
        shown: The runs that show each picture first.
        pair: Names of the runs: in the result "first" is the first one's picture.
    """
    pairs = table[table["kind"] == PAIR]

    def show(run: str, side: str) -> NDArray[np.bool_]:
        pictures = zip(pairs["article_id"], pairs[side], strict=True)
        return np.array([run in shown.get(picture, ()) for picture in pictures], bool)

    straight = pairs[show(pair[0], "first") & show(pair[1], "second")]
    turned = pairs[show(pair[0], "second") & show(pair[1], "first")].rename(columns=TURNED)
    for name in ("choice", "left"):
        turned[name] = turned[name].map(lambda side: TURNED.get(side, side))
    return pd.concat([straight, turned[straight.columns]]).sort_index()


def measure_preference(table: pd.DataFrame, seed: int) -> Preference | None:
    """Compute which of two runs people prefer; None without answers.

    Repeats do not count.

    Args:
        table: Result of `select_pair`.
        seed: Seed of the resamples.
    """
    counted = list_preferences(table)
    if counted.empty:
        return None
    rated = _arrange(counted)
    values = np.full((N_RESAMPLES, len(rated.query_ids)), np.nan)
    resamples = draw_resamples(rated, N_RESAMPLES, seed)
    values[:, rated.query] = resamples.means
    value = float(rated.means.mean())
    low, high, _ = resamples.bound(values, value)
    low, high = max(low, -1.0), min(high, 1.0)  # of few people it would be wider than possible
    return Preference(value, low, high, len(counted), len(rated.query_ids))


def compare_runs(
    table: pd.DataFrame, names: Sequence[str], shown: Shown, seed: int
) -> pd.DataFrame:
    """Return the preference of every pair of runs that there are answers for.

    Args:
        table: Result of `read_answers`.
        names: Names of the runs.
        shown: The runs that show each picture first.
        seed: Seed of the resamples.

    Returns:
        A row per pair: `first_run`, `second_run`, `preference` (of the second), `low`, `high`,
        `n_answers`, `n_articles`; and, from two articles on, `power` and `n_more`, the answers that
        are missing for a power of 80 % (missing if no number does); see `find_more`.
    """
    rows = []
    for pair in combinations(names, 2):
        own = select_pair(table, shown, pair)
        found, more = measure_preference(own, seed), find_more(own, seed)
        if found is not None:
            row: dict[str, Any] = {"first_run": pair[0], "second_run": pair[1]}
            row |= {"preference": found.value, **vars(found)}
            del row["value"]
            row["power"] = np.nan if more is None else more.power
            known = more is not None and more.n_articles is not None
            row["n_more"] = more.n_answers if more is not None and known else None
            rows.append(row)
    columns = ["first_run", "second_run", "preference", "low", "high", "n_answers", "n_articles"]
    listed = pd.DataFrame(rows, columns=[*columns, "power", "n_more"])
    return listed.astype({"n_more": "Int64"})


def rate_strengths(
    table: pd.DataFrame, names: Sequence[str], shown: Shown, seed: int
) -> pd.DataFrame | None:
    """Fit the strengths of the runs by all answers; None where they do not connect all runs.

    An answer counts for each pair of runs that shows the two pictures; "neither fits" is a tie.

    Args:
        table: Result of `read_answers`.
        names: Names of the runs.
        shown: The runs that show each picture first.
        seed: Seed of the resamples.

    Returns:
        A row per run, the strongest first; see `rate_runs`.
    """
    from scipy.sparse.csgraph import connected_components  # slow import

    parts = []
    for i, j in combinations(range(len(names)), 2):
        own = list_preferences(select_pair(table, shown, (names[i], names[j])))
        outcome = -own["choice"].map(VALUES).astype(float)
        parts.append(own[["article_id", "rater"]].assign(first=i, second=j, outcome=outcome))
    joined = pd.concat(parts).astype({"first": int, "second": int, "outcome": int})
    first, second, outcome = (joined[name].to_numpy() for name in ("first", "second", "outcome"))
    linked = np.zeros((len(names), len(names)))
    linked[first, second] = 1
    if connected_components(linked, directed=False)[0] > 1:
        return None
    article, rater = (pd.factorize(joined[name])[0] for name in ("article_id", "rater"))
    return rate_runs(Pairs(names, first, second, outcome, article, rater), N_FITS, seed)


def measure_quality(table: pd.DataFrame) -> Quality:
    """Return how careful the answers are.

    Args:
        table: Result of `read_answers`.
    """
    pairs = table[(table["kind"] == PAIR) & table["choice"].isin(list(VALUES))]
    sided = pairs[pairs["choice"].isin(["first", "second"])]
    checks = table[table["kind"] == CHECK]
    return Quality(
        float((sided["choice"] == sided["left"]).mean()),
        measure_repeats(pairs),
        float((checks["choice"] == "first").mean()) if len(checks) else np.nan,
    )


def trace_progress(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the preference after the first answers, half as many again each time, up to all.

    Columns: `n_answers`, `preference`, `low` and `high`.

    Args:
        table: Result of `select_pair`.
        seed: Seed of the resamples.
    """
    rows = []
    counted = list_preferences(table)
    size = float(FIRST)
    while True:
        found = measure_preference(counted.head(int(size)), seed)
        if found is None:
            break
        rows.append((found.n_answers, found.value, found.low, found.high))
        if size >= len(counted):
            break
        size *= GROWTH
    return pd.DataFrame(rows, columns=["n_answers", "preference", "low", "high"])


def find_more(table: pd.DataFrame, seed: int) -> More | None:
    """Return how many more answers tell two runs apart; None below two articles.

    Args:
        table: Result of `select_pair`.
        seed: Seed of the simulations.
    """
    counted = list_preferences(table)
    so_far = counted["article_id"].nunique()
    if so_far < 2:
        return None
    needed = find_needed(_arrange(counted), N_RESAMPLES, seed)
    missing = max((needed.n_articles or 0) - so_far, 0)
    n_answers = int(np.ceil(missing * len(counted) / so_far))
    return More(needed.power, needed.n_articles, n_answers)


def describe_needed(table: pd.DataFrame, seed: int) -> str:
    """Describe how many more answers are needed to tell two runs apart; empty without answers.

    Args:
        table: Result of `select_pair`.
        seed: Seed of the simulations.
    """
    more = find_more(table, seed)
    if more is None:
        return ""
    chance = f"{100 * more.power:.0f} % probability"
    text = f"another survey like this one would tell them apart with {chance}"
    if more.n_articles is None:
        return f"{text}; more headlines alone, with these people, would not make it 80 %"
    if not more.n_answers:
        return text
    return (
        f"{text}; about {more.n_answers} more answers ({more.n_articles} headlines in all) for 80 %"
    )


def _arrange(counted: pd.DataFrame) -> RatedPictures:
    ratings = [
        Rating(row.article_id, "pair", VALUES[row.choice], row.rater)
        for row in counted.itertuples()
    ]
    return arrange_ratings(ratings, list(dict.fromkeys(counted["article_id"])), -1.0)
