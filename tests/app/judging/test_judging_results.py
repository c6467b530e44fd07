"""What the answers say, against hand-made tables."""

import io
import re

import numpy as np
import pandas as pd
import pytest

from newsimg.app.judging.exports import list_exports
from newsimg.app.judging.preferences import (
    describe_needed,
    measure_preference,
    measure_quality,
    trace_progress,
)
from newsimg.app.judging.questions import CHECK, PAIR, RATE
from newsimg.app.judging.results import (
    COLUMNS,
    describe_pictures,
    list_headlines,
    list_people,
    to_ratings,
)
from newsimg.datatypes import Rating


def make_table(rows: list[tuple[str, str, str, str, int, str]]) -> pd.DataFrame:
    """Return answers: article, person, choice, kind, turn, and the side on the left."""
    full = [
        (article, f"{article}-1", f"{article}-2", rater, choice, kind, turn, left, 2.0)
        for article, rater, choice, kind, turn, left in rows
    ]
    return pd.DataFrame(full, columns=list(COLUMNS))


ANSWERS = make_table(
    [
        ("q1", "r1", "second", PAIR, 0, "first"),
        ("q1", "r2", "second", PAIR, 0, "second"),
        ("q1", "r1", "first", PAIR, 1, "second"),  # a repeat, answered otherwise
        ("q2", "r1", "first", PAIR, 0, "first"),
        ("q2", "r2", "second", PAIR, 0, "second"),
        ("q3", "r1", "tie", PAIR, 0, "first"),
        ("q3", "r2", "headline_unclear", PAIR, 0, "first"),
        ("q4", "r1", "neither", PAIR, 0, "first"),
        ("q5", "r1", "first", CHECK, 0, "first"),
        ("q6", "r2", "second", CHECK, 0, "first"),
    ]
)

SHOWN = {
    (f"q{i}", f"q{i}-{side}"): (run,) for i in range(1, 7) for side, run in ((1, "old"), (2, "new"))
}


def test_the_preference_is_the_mean_over_articles_without_repeats_and_checks() -> None:
    found = measure_preference(ANSWERS, seed=0)
    assert found is not None
    assert found.value == pytest.approx((1 + 0 + 0 + 0) / 4)
    assert found.low <= found.value <= found.high
    assert (found.n_answers, found.n_articles) == (6, 4)
    quality = measure_quality(ANSWERS)
    assert quality.left_share == pytest.approx(3 / 5)  # of q1 twice, its repeat, and q2 twice
    assert quality.repeat_agreement == 0
    assert quality.check_share == 0.5
    assert measure_preference(ANSWERS[:0], seed=0) is None


def test_headlines_that_people_disagree_about_come_first() -> None:
    table = list_headlines(ANSWERS, SHOWN)
    assert table["article_id"].iloc[0] == "q2"
    row = table.iloc[0]
    assert (row["first_runs"], row["second_runs"]) == ("old", "new")
    assert (row["first"], row["second"], row["preference"], row["disagreement"]) == (1, 1, 0.0, 1.0)
    assert table.set_index("article_id")["headline_unclear"].to_dict()["q3"] == 1


def test_people_are_listed_with_their_checks_and_repeats() -> None:
    table = list_people(ANSWERS).set_index("rater")
    assert table["n_answers"].to_dict() == {"r1": 6, "r2": 4}
    assert table["checks_passed"].to_dict() == {"r1": 1.0, "r2": 0.0}
    assert table.loc["r1", "repeat_agreement"] == 0
    assert np.isnan(table.loc["r2", "repeat_agreement"])


def test_preferences_become_ratings_of_both_pictures() -> None:
    ratings = to_ratings(ANSWERS, SHOWN)
    assert len(ratings) == 2 * 6  # not of what cannot be judged
    assert ratings[:2] == [
        Rating("q1", "q1-1", 0.0, "r1", "old"),
        Rating("q1", "q1-2", 1.0, "r1", "new"),
    ]
    values = {(r.article_id, r.rater, r.run): r.value for r in ratings}
    assert values["q3", "r1", "old"] == values["q3", "r1", "new"] == 0.5
    assert values["q4", "r1", "old"] == values["q4", "r1", "new"] == 0.0


def test_the_preference_is_traced_over_the_answers_and_what_is_missing_is_told() -> None:
    random = np.random.default_rng(0)
    choices = random.choice(["second", "first", "tie"], 60, p=[0.6, 0.22, 0.18])
    table = make_table(
        [(f"q{i // 2}", f"r{i % 6}", str(choices[i]), PAIR, 0, "first") for i in range(60)]
    )
    traced = trace_progress(table, seed=0)
    assert traced["n_answers"].tolist() == [10, 15, 22, 33, 50, 60]
    for row in traced.itertuples():
        found = measure_preference(table.head(row.n_answers), seed=0)
        assert found is not None
        assert (row.preference, row.low) == (found.value, found.low)
    widths = traced["high"] - traced["low"]
    assert widths.iloc[-1] < widths.iloc[0]
    text = describe_needed(table, seed=0)
    assert re.search(r"with \d+ % probability", text)
    alike = make_table([(f"q{i}", "r1", "tie", PAIR, 0, "first") for i in range(20)])
    assert "more headlines alone, with these people, would not" in describe_needed(alike, seed=0)
    clear = make_table([(f"q{i}", "r1", "second", PAIR, 0, "first") for i in range(9)])
    clear = pd.concat([clear, make_table([("q9", "r1", "tie", PAIR, 0, "first")])])
    assert describe_needed(clear, seed=0).endswith("with 100 % probability")
    unclear = make_table(
        [(f"q{i}", "r1", ("second", "first")[i % 3 == 0], PAIR, 0, "first") for i in range(30)]
    )
    assert re.search(
        r"about \d+ more answers \(\d+ headlines in all\)", describe_needed(unclear, 0)
    )
    assert describe_needed(table[:1], seed=0) == ""


def test_answers_to_a_headline_are_described_by_picture_and_the_others_beside() -> None:
    described = describe_pictures(ANSWERS, SHOWN)
    assert next(iter(described)) == "q2"  # people disagree
    assert described["q2"] == {"q2-1": "old: 1", "q2-2": "new: 1"}
    assert described["q3"] == {
        "q3-1": "old: 0",
        "q3-2": "new: 0",
        "": "tie 1, headline unclear 1",
    }


def test_exports_of_rated_pictures_have_their_means_and_grades_above_one_point() -> None:
    shown = {("q1", "a"): ("plain",), ("q1", "b"): ("reranked",), ("q2", "a"): ("plain",)}
    given = [("q1", "a", "r1", "5"), ("q1", "a", "r2", "1"), ("q1", "b", "r1", "4")]
    given += [("q2", "a", "r1", "2")]
    table = pd.DataFrame(
        [(a, i, "", rater, value, RATE, 0, "first", 1.0) for a, i, rater, value in given],
        columns=list(COLUMNS),
    )
    files = list_exports(table, ("plain", "reranked"), shown, 0)
    assert files["qrels.txt"].splitlines() == ["q1 0 a 200", "q1 0 b 300", "q2 0 a 100"]
    assert files["ratings.csv"].splitlines()[:2] == [
        "article_id,image_id,rating,rater,run",
        "q1,a,5,r1,plain",
    ]
    headlines = pd.read_csv(io.StringIO(files["headlines.csv"]), index_col="article_id")
    assert headlines.loc["q1", ["mean/plain", "mean/reranked", "n_answers"]].tolist() == [3, 4, 3]
    assert headlines["disagreement"].to_dict() == {"q1": 1, "q2": 0}
    assert list(headlines.index) == ["q1", "q2"]
    assert describe_pictures(table, shown)["q2"] == {"a": "plain: 2.00"}


def test_without_answers_there_is_only_the_empty_table_to_save() -> None:
    assert list(list_exports(ANSWERS[:0], ("a", "b"), {}, 0)) == ["answers.csv"]
    assert list_headlines(ANSWERS[:0], {}).empty
