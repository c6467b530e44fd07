"""The answers of a judging as tables: headlines, pictures, people and ratings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sqlalchemy import select

from newsimg.app.judging.asking import UNJUDGEABLE
from newsimg.app.judging.questions import CHECK, PAIR, POINTS, RATE, Shown
from newsimg.app.judging.tables import Database, answers, assignments, questions
from newsimg.datatypes import Rating

VALUES = {"first": -1.0, "tie": 0.0, "neither": 0.0, "second": 1.0}
COLUMNS = ("article_id", "first", "second", "rater", "choice", "kind", "turn", "left", "seconds")
JOINT = "+"  # between the names of runs that show one picture


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


def list_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers to pairs, without repeats."""
    return table[(table["kind"] == PAIR) & (table["turn"] == 0)]


def list_preferences(table: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of `list_pairs` that count for the preference."""
    pairs = list_pairs(table)
    return pairs[pairs["choice"].isin(list(VALUES))]


def join_runs(shown: Shown, article_id: str, image_id: str) -> str:
    """Return the names of the runs that show a picture first."""
    return JOINT.join(shown[article_id, image_id])


def list_headlines(table: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return a row for each pair of pictures, those that people disagree about first.

    Columns: `article_id`, `first_runs` and `second_runs` (the runs that show the pictures), the
    number of each choice, `preference` (mean of +1 for the second, -1 for the first and 0) and
    `disagreement`, the standard deviation of these.

    Args:
        table: Result of `read_answers`.
        shown: The runs that show each picture first.
    """
    pairs = list_pairs(table).copy()
    for side in ("first", "second"):
        own = zip(pairs["article_id"], pairs[side], strict=True)
        pairs[f"{side}_runs"] = [join_runs(shown, *key) for key in own]
    keys = [pairs[name] for name in ("article_id", "first_runs", "second_runs")]
    counts = pd.crosstab(keys, pairs["choice"])
    counts = counts.reindex(columns=[*VALUES, *UNJUDGEABLE], fill_value=0)
    values = pairs["choice"].map(VALUES).astype(float).groupby(keys)
    listed = counts.assign(preference=values.mean(), disagreement=values.std(ddof=0))
    order = listed.sort_values(
        ["disagreement", "preference"], ascending=[False, True], kind="stable"
    )
    return order.reset_index().rename_axis(columns=None)


def list_rated_headlines(rated: Sequence[Rating], shown: Shown) -> pd.DataFrame:
    """Return a row for each article with rated pictures, those with the most disagreement first.

    Columns: `article_id`, the mean rating of each run's picture as `mean/RUN`, `n_answers`, and
    `disagreement`, the mean over its pictures of the standard deviation of their ratings.

    Args:
        rated: Result of `list_rated`.
        shown: The runs that show each picture first.
    """
    table, by_run = (
        pd.DataFrame([vars(one) for one in own]) for own in (rated, split_runs(rated, shown))
    )
    by_article = table.groupby("article_id")
    spread = table.groupby(["article_id", "image_id"])["value"].std(ddof=0)
    means = by_run.pivot_table(index="article_id", columns="run", values="value")
    listed = means.add_prefix("mean/").assign(
        n_answers=by_article.size(), disagreement=spread.groupby("article_id").mean()
    )
    order = listed.sort_values("disagreement", ascending=False, kind="stable")
    return order.reset_index().rename_axis(columns=None)


def describe_pictures(table: pd.DataFrame, shown: Shown) -> dict[str, dict[str, str]]:
    """Return the answers in words: article -> image id -> those for the picture.

    The articles that people disagree about come first. The id "" has the other answers.

    Args:
        table: Result of `read_answers`.
        shown: The runs that show each picture first.
    """
    if rated := list_rated(table, shown):
        order = list_rated_headlines(rated, shown)["article_id"]
        ratings = pd.DataFrame([vars(one) for one in rated])
        told = ratings.groupby(["article_id", "image_id"], sort=False)["value"].mean()
        texts = {key: f"{value:.2f}" for key, value in told.items()}
    else:
        order = list_headlines(table, shown)["article_id"]
        texts = {}
    described: dict[str, dict[str, str]] = {article_id: {} for article_id in order}
    pairs = list_pairs(table)
    for article_id, own in pairs.groupby("article_id", sort=False):
        sides = own[["first", "second"]].to_numpy().ravel()
        chosen = own["first"].where(own["choice"] == "first")
        chosen = chosen.fillna(own["second"].where(own["choice"] == "second"))
        texts |= {(article_id, one): str((chosen == one).sum()) for one in dict.fromkeys(sides)}
        others = own.loc[chosen.isna(), "choice"].value_counts()
        names = [name for name in (*VALUES, *UNJUDGEABLE) if name in others]
        note = ", ".join(f"{name.replace('_', ' ')} {others[name]}" for name in names)
        described[str(article_id)] |= {"": note} if note else {}
    for (article_id, image_id), text in texts.items():
        runs = join_runs(shown, article_id, image_id)
        described[article_id][image_id] = f"{runs}: {text}"
    return described


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
                "repeat_agreement": measure_repeats(own[own["kind"] == PAIR]),
                "median_seconds": own["seconds"].median(),
            }
        )
    return pd.DataFrame(rows)


def measure_repeats(pairs: pd.DataFrame) -> float:
    """Return the share of repeated pairs with the same answer; NaN without any."""
    keys = ["article_id", "first", "second", "rater"]
    first, again = (pairs[pairs["turn"] == turn].set_index(keys)["choice"] for turn in (0, 1))
    both = first.index.intersection(again.index)
    return float((first.loc[both] == again.loc[both]).mean()) if len(both) else np.nan


def list_rated(table: pd.DataFrame, shown: Shown) -> list[Rating]:
    """Return the ratings of single pictures.

    Args:
        table: Result of `read_answers`.
        shown: The runs that show each picture first.
    """
    rated = table[(table["kind"] == RATE) & table["choice"].isin(POINTS)]
    columns = rated[["article_id", "first", "choice", "rater"]]
    return [
        Rating(article_id, image_id, float(choice), rater, join_runs(shown, article_id, image_id))
        for article_id, image_id, choice, rater in columns.itertuples(index=False)
    ]


def to_ratings(table: pd.DataFrame, shown: Shown) -> list[Rating]:
    """Return preferences as ratings of pictures: 1 preferred, 0.5 tied, 0 not preferred.

    Neither picture fits: 0 for both. Answers that a headline or picture cannot be judged are none.

    Args:
        table: Result of `read_answers`.
        shown: The runs that show each picture first.
    """
    ratings = []
    points = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5), "neither": (0.0, 0.0)}
    for row in list_preferences(table).itertuples():
        for image_id, value in zip((row.first, row.second), points[row.choice], strict=True):
            run = join_runs(shown, row.article_id, image_id)
            ratings.append(Rating(row.article_id, image_id, value, row.rater, run))
    return ratings


def split_runs(ratings: Sequence[Rating], shown: Shown) -> list[Rating]:
    """Return a rating for each run that shows the picture, for measures of the runs."""
    return [
        replace(rating, run=run)
        for rating in ratings
        for run in shown[rating.article_id, rating.image_id]
    ]
