"""Choosing the next question of a person."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection, Row, select, update

from newsimg.app.judging.questions import CHECK, PAIR, Rules
from newsimg.app.judging.tables import answers, assignments, questions

Chosen = tuple[int, int, bool]  # question, turn, and whether the second picture is on the left


def choose_question(
    connection: Connection, rules: Rules, person: int, given: Sequence[Row]
) -> Chosen | None:
    """Choose a question, and reserve it if it is a pair; None if none is left.

    Args:
        connection: An open transaction.
        rules: How people are asked.
        person: The person.
        given: Assignments of the person with `kind`, in order.
    """
    random = np.random.default_rng([rules.seed, person, len(given)])
    draw = random.random()
    chosen: Chosen | None = None
    if draw < rules.check_share:
        chosen = _choose_check(connection, given, random)
    elif draw < rules.check_share + rules.repeat_share:
        chosen = _choose_repeat(rules, given)
    return _reserve(connection, rules, person, random) if chosen is None else chosen


def list_free(connection: Connection, person: int) -> Sequence[Row]:
    """Return the pairs, or pictures to rate, that a person may be asked about."""
    own = select(assignments.c.question_id).where(assignments.c.person_id == person)
    return connection.execute(
        select(questions).where(
            questions.c.kind != CHECK,
            questions.c.n_reserved < questions.c.n_wanted,
            questions.c.id.not_in(own),
        )
    ).all()


def free_question(connection: Connection, question: int) -> None:
    """Let another person be asked about a pair."""
    connection.execute(
        update(questions)
        .where(questions.c.id == question, questions.c.n_reserved > 0)
        .values(n_reserved=questions.c.n_reserved - 1)
    )


def _choose_check(
    connection: Connection, given: Sequence[Row], random: np.random.Generator
) -> Chosen | None:
    known = {row.question_id for row in given}
    rows = connection.execute(select(questions.c.id).where(questions.c.kind == CHECK))
    free = [row.id for row in rows if row.id not in known]
    return (int(random.choice(free)), 0, bool(random.random() < 0.5)) if free else None


def _choose_repeat(rules: Rules, given: Sequence[Row]) -> Chosen | None:
    repeated = {row.question_id for row in given if row.turn == 1}
    old = given[: max(len(given) - rules.repeat_gap, 0)]
    for row in old:
        if row.kind == PAIR and row.turn == 0 and row.question_id not in repeated:
            return row.question_id, 1, not row.swapped
    return None


def _reserve(
    connection: Connection, rules: Rules, person: int, random: np.random.Generator
) -> Chosen | None:
    free = list_free(connection, person)
    order = random.random(len(free))
    if rules.order == "active":
        told = _list_preferences(connection)
        gains = [_measure_gain(row, told.get(row.id, (0, 0))) for row in free]
        positions = np.lexsort((order, -np.array(gains)))
    else:
        positions = np.argsort(order)
    for position in positions:
        question, kind = free[int(position)].id, free[int(position)].kind
        # Whoever else reserves it at the same time waits here, and then finds the new number.
        taken = connection.execute(
            update(questions)
            .where(questions.c.id == question, questions.c.n_reserved < questions.c.n_wanted)
            .values(n_reserved=questions.c.n_reserved + 1)
        )
        if taken.rowcount == 1:
            return question, 0, bool(kind == PAIR and random.random() < 0.5)
    return None


def _list_preferences(connection: Connection) -> dict[int, tuple[int, int]]:
    """Return how often the first and the second picture of each pair were preferred."""
    rows = connection.execute(
        select(assignments.c.question_id, assignments.c.swapped, answers.c.choice)
        .join(assignments, assignments.c.id == answers.c.assignment_id)
        .where(answers.c.withdrawn.is_(None), answers.c.choice.in_(("left", "right")))
    )
    told: dict[int, tuple[int, int]] = {}
    for row in rows:
        first, second = told.get(row.question_id, (0, 0))
        is_first = (row.choice == "left") != row.swapped
        told[row.question_id] = (first + is_first, second + (not is_first))
    return told


def _measure_gain(row: Row, told: tuple[int, int]) -> float:
    """Return the variance of what is believed of a pair, times the disagreement of the runs."""
    others = max(row.n_reserved - sum(told), 0) / 2  # ties, and answers that are under way
    a, b = 1 + told[0] + others, 1 + told[1] + others
    return (0.1 + float(row.disagreement)) * a * b / ((a + b) ** 2 * (a + b + 1))
