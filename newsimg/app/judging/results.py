"""Results of a judging: preferences, position bias, checks, and exports."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import select

from newsimg.app.judging.asking import UNJUDGEABLE
from newsimg.app.judging.questions import CHECK, PAIR, POINTS, RATE
from newsimg.app.judging.tables import Database, answers, assignments, questions
from newsimg.datatypes import Rating
from newsimg.evaluation.ratings.power import find_needed
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples

VALUES = {"first": -1.0, "tie": 0.0, "neither": 0.0, "second": 1.0}
N_RESAMPLES = 1000
FIRST, GROWTH = 10, 1.5  # of the numbers of answers in `trace_progress`
COLUMNS = ("article_id", "first", "second", "rater", "choice", "kind", "turn", "left", "seconds")


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
        left_share: Share of answers for the left picture among those for either side; 0.5 without
            position bias.
        repeat_agreement: Share of pairs that are answered the same with sides swapped; NaN without
            repeats.
        check_share: Share of attention checks with the right answer; NaN without checks.
    """

    value: float
    low: float
    high: float
    n_answers: int
    n_articles: int
    left_share: float
    repeat_agreement: float
    check_share: float


def read_answers(database: Database) -> pd.DataFrame:
    """Return a row for each answer that counts.

    `choice` is first, second, tie, neither, headline_unclear or picture_unusable; `left` the side
    that was on the left, first or second; `rater` a pseudonym; `turn` is 1 for a repeat.
    """
    with database.begin() as connection:
        found = connection.execute(
            select(
                questions.c.article_id,
                questions.c.first,
                questions.c.second,
                questions.c.kind,
                assignments.c.person_id,
                assignments.c.turn,
                assignments.c.swapped,
                answers.c.choice,
                answers.c.seconds,
            )
            .select_from(answers.join(assignments).join(questions))
            .where(answers.c.withdrawn.is_(None))
            .order_by(answers.c.id)
        ).all()
    rows = []
    for row in found:
        sides = ("second", "first") if row.swapped else ("first", "second")
        choice = {"left": sides[0], "right": sides[1]}.get(row.choice, row.choice)
        rows.append(
            (
                *(row.article_id, row.first, row.second, f"r{row.person_id}", choice),
                *(row.kind, row.turn, sides[0], row.seconds),
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measure_preference(
    table: pd.DataFrame, seed: int, without: Sequence[str] = ()
) -> Preference | None:
    """Compute which run people prefer; None without answers.

    Repeats and attention checks do not count for the preference.

    Args:
        table: Result of `read_answers`.
        seed: Seed of the resamples.
        without: People whose answers do not count, e.g. for failed checks.
    """
    table = table[~table["rater"].isin(list(without))]
    pairs = table[(table["kind"] == PAIR) & table["choice"].isin(list(VALUES))]
    counted = _list_preferences(table)
    if counted.empty:
        return None
    rated = _arrange(counted)
    values = np.full((N_RESAMPLES, len(rated.query_ids)), np.nan)
    resamples = draw_resamples(rated, N_RESAMPLES, seed)
    values[:, rated.query] = resamples.means
    value = float(rated.means.mean())
    low, high, _ = resamples.bound(values, value)
    sided = pairs[pairs["choice"].isin(["first", "second"])]
    checks = table[table["kind"] == CHECK]
    return Preference(
        value,
        low,
        high,
        len(counted),
        len(rated.query_ids),
        float((sided["choice"] == sided["left"]).mean()),
        _measure_repeats(pairs),
        float((checks["choice"] == "first").mean()) if len(checks) else np.nan,
    )


def trace_progress(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the preference after the first answers, half as many again each time, up to all.

    Columns: `n_answers`, `preference`, `low` and `high`.
    """
    rows = []
    counted = _list_preferences(table)
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


def describe_needed(table: pd.DataFrame, seed: int) -> str:
    """Describe how many more answers are needed to tell the runs apart; empty without answers."""
    counted = _list_preferences(table)
    if counted["article_id"].nunique() < 2:
        return ""
    needed = find_needed(_arrange(counted), N_RESAMPLES, seed)
    per_article = len(counted) / counted["article_id"].nunique()
    so_far = counted["article_id"].nunique()
    chance = f"{100 * needed.power:.0f} % probability"
    text = f"another survey like this one would tell them apart with {chance}"
    if needed.n_articles is None:
        return f"{text}; more headlines alone, with these people, would not make it 80 %"
    if needed.n_articles <= so_far:
        return text
    more = int(np.ceil((needed.n_articles - so_far) * per_article))
    return f"{text}; about {more} more answers ({needed.n_articles} headlines in all) for 80 %"


def list_headlines(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each article, those that people disagree about first.

    Columns: `article_id`, the number of each choice, `preference` (mean of +1, 0 and -1) and
    `disagreement`, the standard deviation of these.
    """
    pairs = _list_pairs(table)
    counts = pd.crosstab(pairs["article_id"], pairs["choice"])
    counts = counts.reindex(columns=[*VALUES, *UNJUDGEABLE], fill_value=0)
    values = pairs.assign(value=pairs["choice"].map(VALUES).astype(float)).groupby("article_id")[
        "value"
    ]
    listed = counts.assign(preference=values.mean(), disagreement=values.std(ddof=0))
    order = listed.sort_values(["disagreement", "preference"], ascending=[False, True])
    return order.reset_index().rename_axis(columns=None)


def list_rated_headlines(rated: Sequence[Rating]) -> pd.DataFrame:
    """Return a row for each article with rated pictures, those with the most disagreement first.

    Columns: `article_id`, the mean rating of each run's picture as `mean/RUN`, `n_answers`, and
    `disagreement`, the mean over its pictures of the standard deviation of their ratings.
    """
    table = pd.DataFrame([vars(one) for one in rated])
    by_article = table.groupby("article_id")
    spread = table.groupby(["article_id", "image_id"])["value"].std(ddof=0)
    means = table.pivot_table(index="article_id", columns="run", values="value")
    listed = means.add_prefix("mean/").assign(
        n_answers=by_article.size(), disagreement=spread.groupby("article_id").mean()
    )
    order = listed.sort_values("disagreement", ascending=False, kind="stable")
    return order.reset_index().rename_axis(columns=None)


def describe_answers(row: Mapping[Hashable, Any], names: tuple[str, str]) -> dict[str, str]:
    """Return the answers to a headline in words: run -> those for its picture, "" -> the others.

    Args:
        row: A row of `list_headlines` or `list_rated_headlines`.
        names: Names of the first and the second run.
    """
    if "first" not in row:
        means = {name: row.get(f"mean/{name}", np.nan) for name in names}
        return {name: f"{name}: {value:.2f}" for name, value in means.items() if value == value}
    sides = {
        name: f"{name}: {row[side]}" for name, side in zip(names, ("first", "second"), strict=True)
    }
    others = {choice: row[choice] for choice in ("tie", "neither", *UNJUDGEABLE) if row[choice]}
    note = ", ".join(f"{choice.replace('_', ' ')} {n}" for choice, n in others.items())
    return sides | ({"": note} if note else {})


def list_people(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each person: answers, passed checks, agreement of repeats, seconds."""
    rows = []
    for rater, own in table.groupby("rater", sort=False):
        checks = own[own["kind"] == CHECK]
        rows.append(
            {
                "rater": rater,
                "n_answers": len(own),
                "checks_passed": (checks["choice"] == "first").mean() if len(checks) else np.nan,
                "repeat_agreement": _measure_repeats(own[own["kind"] == PAIR]),
                "median_seconds": own["seconds"].median(),
            }
        )
    return pd.DataFrame(rows)


def list_rated(table: pd.DataFrame, shown: Mapping[tuple[str, str], str]) -> list[Rating]:
    """Return the ratings of single pictures.

    Args:
        table: Result of `read_answers`.
        shown: Article and image id -> the run whose first picture it is.
    """
    rated = table[(table["kind"] == RATE) & table["choice"].isin(POINTS)]
    columns = rated[["article_id", "first", "choice", "rater"]]
    return [
        Rating(article_id, image_id, float(choice), rater, shown[article_id, image_id])
        for article_id, image_id, choice, rater in columns.itertuples(index=False)
    ]


def to_ratings(table: pd.DataFrame, names: tuple[str, str]) -> list[Rating]:
    """Return preferences as ratings of pictures: 1 preferred, 0.5 tied, 0 not preferred.

    Neither picture fits: 0 for both. Answers that a headline or picture cannot be judged are none.

    Args:
        table: Result of `read_answers`.
        names: Names of the first and the second run.
    """
    ratings = []
    points = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5), "neither": (0.0, 0.0)}
    for row in _list_pairs(table).itertuples():
        for image_id, value, run in zip(
            (row.first, row.second), points.get(row.choice, ()), names, strict=False
        ):
            ratings.append(Rating(row.article_id, image_id, value, row.rater, run))
    return ratings


def _list_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers to pairs, without repeats."""
    return table[(table["kind"] == PAIR) & (table["turn"] == 0)]


def _list_preferences(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of `_list_pairs` that count for the preference."""
    pairs = _list_pairs(table)
    return pairs[pairs["choice"].isin(list(VALUES))]


def _arrange(counted: pd.DataFrame) -> RatedPictures:
    ratings = [
        Rating(row.article_id, "pair", VALUES[row.choice], row.rater)
        for row in counted.itertuples()
    ]
    return arrange_ratings(ratings, list(dict.fromkeys(counted["article_id"])), -1.0)


def _measure_repeats(pairs: pd.DataFrame) -> float:
    """Return the share of repeated pairs with the same answer; NaN without any."""
    keys = ["article_id", "rater"]
    first, again = (pairs[pairs["turn"] == turn].set_index(keys)["choice"] for turn in (0, 1))
    both = first.index.intersection(again.index)
    return float((first.loc[both] == again.loc[both]).mean()) if len(both) else np.nan
