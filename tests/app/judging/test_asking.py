"""Questions and answers in a database, for many people at once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from postgres_server import run_postgres
from sqlalchemy import func, select

from newsimg.app.judging.asking import CHOICES, Judging
from newsimg.app.judging.questions import CHECK, PAIR, Question, Rules, plan_pairs, plan_ratings
from newsimg.app.judging.results import list_rated, read_answers
from newsimg.app.judging.tables import Database, answers, assignments, questions
from newsimg.datatypes import Rating

ASKED = [Question(PAIR, f"q{i}", f"a{i}", f"b{i}", 0.5, 2) for i in range(8)]
CHECKED = [*ASKED, *(Question(CHECK, f"q{i}", f"a{i}", f"z{i}", 0, 0) for i in range(4))]


def make_rules(**changes: Any) -> Rules:
    values: dict[str, Any] = {
        "check_share": 0.0,
        "repeat_share": 0.0,
        "repeat_gap": 3,
        "order": "random",
        "expire": 1800.0,
        "seed": 1,
    }
    return Rules(**(values | changes))


def open_judging(
    url: str = "sqlite:///judging.db", asked: list[Question] | None = None, **changes: Any
) -> Judging:
    clock = changes.pop("clock", time.time)
    return Judging(Database(url), asked or ASKED, make_rules(**changes), clock)


def answer_all(judging: Judging, person: int, choice: str = "left") -> list[str]:
    """Answer until nothing is left; return the articles in the order in which they came."""
    seen = []
    while (asked := judging.ask(person)) is not None:
        assert judging.answer(person, asked.assignment, choice, 2.0)
        seen.append(asked.article_id)
    return seen


def test_a_person_is_asked_about_each_pair_once_in_an_order_of_their_own() -> None:
    judging = open_judging()
    ada, bo = judging.enter("token of Ada"), judging.enter("token of Bo")
    seen = [answer_all(judging, person) for person in (ada, bo)]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(one.article_id for one in ASKED)
    assert seen[0] != seen[1]
    assert judging.enter("token of Ada") == ada != bo
    third = judging.enter("token of Cy")
    assert judging.ask(third) is None  # two people have answered each pair


def test_sides_are_random_and_the_answer_counts_for_the_picture_that_was_there() -> None:
    judging = open_judging(asked=[Question(PAIR, f"q{i}", "A", "B", 0.5, 9) for i in range(40)])
    person = judging.enter("t")
    lefts = Counter()
    while (asked := judging.ask(person)) is not None:
        lefts[asked.left] += 1
        judging.answer(person, asked.assignment, "left" if asked.left == "A" else "right", 1.0)
    assert min(lefts["A"], lefts["B"]) > 8
    assert set(read_answers(judging.database)["choice"]) == {"first"}


def test_an_open_question_is_the_same_after_a_reload_and_an_answer_counts_once() -> None:
    judging = open_judging()
    person = judging.enter("t")
    first = judging.ask(person)
    assert first is not None
    assert judging.ask(person) == first == open_judging().ask(person)
    assert judging.answer(person, first.assignment, "tie", 1.0)
    assert not judging.answer(person, first.assignment, "left", 1.0)
    other = judging.enter("other")
    second = judging.ask(person)
    assert second is not None
    assert not judging.answer(other, second.assignment, "left", 1.0)  # it is not theirs
    assert list(read_answers(judging.database)["choice"]) == ["tie"]
    with pytest.raises(ValueError, match="the answer must be one of left, right, tie"):
        judging.answer(person, second.assignment, "lefft", 1.0)


def test_what_cannot_be_judged_is_an_answer_and_does_not_come_back() -> None:
    judging = open_judging()
    person = judging.enter("t")
    seen = answer_all(judging, person, "headline_unclear")
    assert len(seen) == len(set(seen)) == len(ASKED)
    assert set(read_answers(judging.database)["choice"]) == {"headline_unclear"}


def test_undo_opens_the_last_question_again_as_often_as_wanted() -> None:
    judging = open_judging()
    person = judging.enter("t")
    asked = []
    for choice in ("left", "right", "tie"):
        one = judging.ask(person)
        assert one is not None
        asked.append(one)
        judging.answer(person, one.assignment, choice, 1.0)
    judging.ask(person)  # a fourth is open
    assert judging.undo(person) == asked[2]
    assert judging.undo(person) == asked[1]
    assert judging.measure_progress(person).n_answered == 1
    assert judging.ask(person) == asked[1]
    assert judging.answer(person, asked[1].assignment, "neither", 1.0)
    choices = read_answers(judging.database).set_index("article_id")["choice"]
    assert len(choices) == 2
    assert choices[asked[1].article_id] == "neither"
    assert len(answer_all(judging, person)) == len(ASKED) - 2  # what was given back comes again
    with judging.database.begin() as connection:
        reserved = connection.execute(select(questions.c.n_reserved)).scalars().all()
    assert reserved == [1] * len(ASKED)


def test_an_unanswered_question_is_given_to_others_after_a_while() -> None:
    now = [0.0]
    judging = open_judging(
        asked=[Question(PAIR, "q", "a", "b", 0.5, 1)], expire=60.0, clock=lambda: now[0]
    )
    slow, quick = judging.enter("slow"), judging.enter("quick")
    held = judging.ask(slow)
    assert held is not None
    assert judging.ask(quick) is None
    now[0] = 61.0
    other = judging.ask(quick)
    assert other is not None
    assert judging.answer(quick, other.assignment, "left", 1.0)
    assert not judging.answer(slow, held.assignment, "right", 1.0)
    assert list(read_answers(judging.database)["rater"]) == ["r2"]


def test_answers_of_a_person_and_about_stale_news_are_withdrawn_in_bulk() -> None:
    judging = open_judging()
    ada, bo = judging.enter("ada"), judging.enter("bo")
    answer_all(judging, ada)
    answer_all(judging, bo)
    assert judging.withdrawals.add("failed checks", people=[ada]) == 8
    assert set(read_answers(judging.database)["rater"]) == {"r2"}
    cy = judging.enter("cy")
    assert judging.withdrawals.add("the news went stale", articles=["q0", "q1"]) == 2
    assert sorted(answer_all(judging, cy)) == [f"q{i}" for i in range(2, 8)]
    assert judging.ask(ada) is None  # who has answered is not asked again


@pytest.mark.parametrize(
    ("reason", "chosen", "message"),
    [
        ("everything", {}, "of some people or about some articles"),
        (" ", {"people": [1]}, "needs a reason"),
        ("late", {"people": [1, 9]}, "the person must be one of r1, got 'r9'"),
        ("late", {"articles": ["q0", "q99"]}, "the article must be one of .*, got 'q99'"),
    ],
)
def test_a_withdrawal_of_nothing_known_or_without_a_reason_is_refused(
    reason: str, chosen: dict[str, Any], message: str
) -> None:
    judging = open_judging()
    with pytest.raises(ValueError, match="nobody has answered"):
        judging.withdrawals.add("late", people=[1])
    answer_all(judging, judging.enter("ada"))
    with pytest.raises(ValueError, match=message):
        judging.withdrawals.add(reason, **chosen)
    assert len(read_answers(judging.database)) == 8
    assert judging.withdrawals.list() == []


def test_the_latest_withdrawal_is_undone_and_its_pairs_are_asked_as_before() -> None:
    judging = open_judging()
    ada, bo = judging.enter("ada"), judging.enter("bo")
    answer_all(judging, ada)
    before = read_answers(judging.database)
    withdrawals = judging.withdrawals
    withdrawals.add("late", people=[ada])
    withdrawals.add("stale", articles=["q0", "q1"])
    assert [(one.reason, one.n_answers) for one in withdrawals.list()] == [
        ("stale", 0),
        ("late", 8),
    ]
    late, stale = (one.number for one in withdrawals.list()[::-1])
    with pytest.raises(ValueError, match="only the latest"):
        withdrawals.undo(late)
    assert withdrawals.undo(stale) == (0, 0)
    assert withdrawals.undo(late) == (8, 0)
    assert read_answers(judging.database).equals(before)
    with pytest.raises(ValueError, match="only the latest"):
        withdrawals.undo(late)
    assert sorted(answer_all(judging, bo)) == [f"q{i}" for i in range(8)]  # the stale ones too
    assert judging.ask(judging.enter("cy")) is None  # two people each, as before


def test_an_open_question_about_stale_news_is_not_shown_any_more() -> None:
    judging = open_judging()
    ada = judging.enter("ada")
    held = judging.ask(ada)
    assert held is not None
    judging.withdrawals.add("stale", articles=[held.article_id])
    other = judging.ask(ada)
    assert other is not None
    assert other.article_id != held.article_id
    assert not judging.answer(ada, held.assignment, "left", 1.0)


def test_an_answer_whose_pair_was_given_away_meanwhile_stays_withdrawn() -> None:
    judging = open_judging()
    ada, bo, cy = (judging.enter(name) for name in ("ada", "bo", "cy"))
    answer_all(judging, ada)
    answer_all(judging, bo)
    judging.withdrawals.add("late", people=[ada])
    held = judging.ask(cy)
    assert held is not None
    (late,) = judging.withdrawals.list()
    assert judging.withdrawals.undo(late.number) == (7, 1)
    assert judging.answer(cy, held.assignment, "left", 1.0)
    assert set(read_answers(judging.database)["article_id"].value_counts()) == {2}


def test_checks_and_swapped_repeats_come_in_between() -> None:
    judging = open_judging(
        asked=[
            *(Question(PAIR, f"q{i}", f"a{i}", f"b{i}", 0.5, 2) for i in range(60)),
            *CHECKED[8:],
        ],
        check_share=0.1,
        repeat_share=0.25,
    )
    person = judging.enter("t")
    while (asked := judging.ask(person)) is not None:
        right = "left" if asked.left.startswith("a") else "right"
        judging.answer(person, asked.assignment, right, 1.0)
    table = read_answers(judging.database)
    checks = table[table["kind"] == CHECK]
    assert 1 <= len(checks) <= 4
    assert not checks["article_id"].duplicated().any()
    repeats = table[table["turn"] == 1].set_index("article_id")["left"]
    first = table[(table["turn"] == 0) & (table["kind"] == PAIR)].set_index("article_id")["left"]
    assert len(repeats) > 5
    assert (repeats != first.loc[repeats.index]).all()  # sides are swapped
    assert len(first) == 60


def test_active_order_asks_first_where_runs_disagree_and_nothing_is_known_yet() -> None:
    asked = [Question(PAIR, f"q{i}", f"a{i}", f"b{i}", i / 10, 9) for i in range(5)]
    judging = open_judging(asked=asked, order="active")
    first = answer_all(judging, judging.enter("1"))
    assert first == ["q4", "q3", "q2", "q1", "q0"]


def test_active_order_turns_to_another_pair_when_one_is_answered() -> None:
    asked = [Question(PAIR, f"q{i}", f"a{i}", f"b{i}", 0.5, 9) for i in range(3)]
    judging = open_judging(asked=asked, order="active")
    seen = []
    for number in range(6):
        person = judging.enter(str(number))
        one = judging.ask(person)
        assert one is not None
        seen.append(one.article_id)
        judging.answer(person, one.assignment, "left" if one.left[0] == "a" else "right", 1.0)
    assert sorted(seen[:3]) == sorted(seen[3:]) == ["q0", "q1", "q2"]


def test_a_database_of_other_questions_or_of_no_kind_is_refused() -> None:
    open_judging()
    with pytest.raises(ValueError, match="a judging of other questions"):
        open_judging(asked=CHECKED)
    with pytest.raises(ValueError, match=r"task\.database must be a URL such as sqlite"):
        Database("nonsense")
    with pytest.raises(ValueError, match="cannot be opened"):
        Database("sqlite:////no/such/folder/x.db")


def work(url: str, token: str, n_wanted: int = 2) -> int:
    """Answer all questions from a thread; return their number."""
    judging = open_judging(url)
    return len(answer_all(judging, judging.enter(token), CHOICES[sum(token.encode()) % 4]))


def test_at_most_n_people_answer_a_pair_with_many_at_work_and_no_answer_is_lost() -> None:
    url = "sqlite:///judging.db"
    open_judging(url)
    with ThreadPoolExecutor(12) as pool:
        numbers = list(pool.map(lambda i: work(url, f"token {i}"), range(12)))
    table = read_answers(Database(url))
    assert sum(numbers) == len(table) == 2 * len(ASKED)
    assert set(table["article_id"].value_counts()) == {2}
    assert not table.duplicated(["article_id", "rater"]).any()


WORKER = """
import sys, time
sys.path[:0] = {here!r}
from test_asking import open_judging, answer_all
judging = open_judging("sqlite:///judging.db")
person = judging.enter(sys.argv[1])
while (asked := judging.ask(person)) is not None:
    if judging.answer(person, asked.assignment, "left", 1.0):
        print(asked.assignment, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start(token: str, pause: float = 0.0) -> "subprocess.Popen[str]":
    here = Path(__file__).parent
    code = WORKER.format(here=[str(here), str(here.parents[1] / "support")])
    return subprocess.Popen(
        [sys.executable, "-c", code, token, str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )


@pytest.mark.slow
def test_a_killed_process_loses_no_answer_that_it_has_confirmed_and_another_one_goes_on() -> None:
    open_judging()
    workers = [start("one", 0.05), start("two", 0.05)]
    confirmed = []
    assert workers[0].stdout is not None
    for _ in range(3):
        confirmed.append(int(workers[0].stdout.readline()))
    workers[0].send_signal(signal.SIGKILL)
    confirmed += map(int, workers[0].stdout.read().split())
    workers[1].communicate(timeout=60)
    again = start("one")
    confirmed += map(int, again.communicate(timeout=60)[0].split())
    with Database("sqlite:///judging.db").begin() as connection:
        kept = connection.execute(select(answers.c.assignment_id)).scalars().all()
        n_open = connection.execute(
            select(func.count()).select_from(assignments).where(assignments.c.is_open)
        ).scalar_one()
    assert set(confirmed) <= set(kept)
    assert len(kept) == len(set(kept)) == 2 * len(ASKED)
    assert n_open == 0


def test_pairs_are_where_the_runs_differ_and_within_the_budget() -> None:
    first = {"q1": ["a", "b", "c"], "q2": ["a", "b"], "q3": ["x", "y"], "q4": ["m", "n"]}
    second = {"q1": ["b", "a", "c"], "q2": ["a", "b"], "q3": ["z", "w"], "q5": ["a"]}
    pairs = plan_pairs([first, second], n_pairs=None, n_raters=3, n_checks=2, seed=0)
    found = {(one.article_id, one.first, one.second) for one in pairs if one.kind == PAIR}
    assert found == {("q1", "a", "b"), ("q3", "x", "z")}
    by_id = {one.article_id: one for one in pairs if one.kind == PAIR}
    assert by_id["q1"].disagreement == pytest.approx(1 / 3)  # each is the other's second
    assert by_id["q3"].disagreement == 1  # neither ranks the other's at all
    checks = [one for one in pairs if one.kind == CHECK]
    assert {one.article_id for one in checks} == {"q1", "q2"}
    assert all(
        one.second not in (*first[one.article_id], *second[one.article_id]) for one in checks
    )
    (only,) = plan_pairs([first, second], n_pairs=1, n_raters=3, n_checks=0, seed=0)
    assert only.article_id in ("q1", "q3")
    with pytest.raises(ValueError, match="no article in common"):
        plan_pairs([first, {"q9": ["a"]}], n_pairs=1, n_raters=1, n_checks=0, seed=0)
    with pytest.raises(ValueError, match="same first picture for all 4"):
        plan_pairs([first, first], n_pairs=1, n_raters=1, n_checks=0, seed=0)


@pytest.mark.slow
def test_postgresql_keeps_the_same_rules_with_many_at_work() -> None:
    with run_postgres() as url:
        open_judging(url)
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(lambda i: work(url, f"token {i}"), range(8)))
        database = Database(url)
        table = read_answers(database)
        assert sum(numbers) == len(table) == 2 * len(ASKED)
        assert set(table["article_id"].value_counts()) == {2}
        judging = open_judging(url)
        assert judging.withdrawals.add("stale", articles=["q0"]) == 2
        assert len(read_answers(database)) == 2 * len(ASKED) - 2
        (stale,) = judging.withdrawals.list()
        assert judging.withdrawals.undo(stale.number) == (2, 0)
        assert len(read_answers(database)) == 2 * len(ASKED)
        database.engine.dispose()
        judging.database.engine.dispose()


def test_single_pictures_are_rated_from_one_to_five_by_at_most_n_people() -> None:
    asked = plan_ratings([Question(PAIR, f"q{i}", f"a{i}", f"b{i}", 0.5, 2) for i in range(4)])
    assert len(asked) == 8
    judging = open_judging(asked=asked)
    for token in ("one", "two", "three"):
        person = judging.enter(token)
        while (question := judging.ask(person)) is not None:
            assert question.right == ""
            with pytest.raises(ValueError, match="must be one of 1, 2, 3, 4, 5, headline_unclear"):
                judging.answer(person, question.assignment, "left", 1.0)
            assert judging.answer(person, question.assignment, "4", 1.0)
    shown = {(one.article_id, one.first): (f"run {one.first[0]}",) for one in asked}
    ratings = list_rated(read_answers(judging.database), shown)
    assert len(ratings) == 2 * 8
    assert Rating("q1", "b1", 4.0, "r1", "run b") in ratings
    assert {rating.rater for rating in ratings} == {"r1", "r2"}
