"""Withdrawing answers in bulk, and taking that back."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from newsimg.app.judging.choosing import free_question
from newsimg.app.judging.questions import CHECK, Question
from newsimg.app.judging.tables import (
    Database,
    answers,
    assignments,
    people,
    questions,
    withdrawals,
)
from newsimg.storage.text.suggest import check_choice


@dataclass(frozen=True)
class Withdrawal:
    """Answers that were withdrawn at once.

    Attributes:
        number: Its number; the latest has the largest.
        reason: Why.
        people: Numbers of the people whose answers they are; empty for everybody's.
        articles: Articles that they are about; empty for all.
        n_answers: Number of answers.
    """

    number: int
    reason: str
    people: Sequence[int]
    articles: Sequence[str]
    n_answers: int


class Withdrawals:
    """Withdraws answers of people or about articles. They are kept, and count no more.

    Args:
        database: The database.
        asked: The questions, in the order of the database.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        database: Database,
        asked: Sequence[Question],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.asked = asked
        self.clock = clock

    def add(self, reason: str, *, people: Sequence[int] = (), articles: Sequence[str] = ()) -> int:
        """Withdraw answers; return their number.

        The pairs of people are asked again, of others; those of articles alone are not.

        Args:
            reason: Why, e.g. "the news went stale".
            people: Whose answers; empty for everybody's.
            articles: About which articles; empty for all.

        Raises:
            ValueError: If neither is given, the reason is empty, or a person or article is not of
                this judging.
        """
        if not people and not articles:
            raise ValueError("withdraw the answers of some people or about some articles")
        if not reason.strip():
            raise ValueError("a withdrawal needs a reason, e.g. 'the news went stale'")
        with self.database.begin() as connection:
            _check_known(connection, people, articles)
            found = connection.execute(_find_answers(people, articles)).all()
            for row in found:
                own = answers.c.id == row.id
                connection.execute(update(answers).where(own).values(withdrawn=reason))
                if row.turn == 0:
                    free_question(connection, row.question_id)
            if articles and not people:  # stale news is not asked about again
                own = questions.c.article_id.in_(list(articles))
                connection.execute(update(questions).where(own).values(n_wanted=0))
                connection.execute(  # nor is it shown any more: an open question expires
                    update(assignments)
                    .where(
                        assignments.c.is_open,
                        assignments.c.question_id.in_(select(questions.c.id).where(own)),
                    )
                    .values(opened_at=0.0)
                )
            described = {"people": list(people), "articles": list(articles)}
            described["answers"] = [row.id for row in found]
            connection.execute(
                insert(withdrawals).values(
                    reason=reason, content=json.dumps(described), given_at=self.clock()
                )
            )
        return len(found)

    def list(self) -> list[Withdrawal]:
        """Return what was withdrawn, the latest first."""
        with self.database.begin() as connection:
            rows = connection.execute(select(withdrawals).order_by(withdrawals.c.id.desc())).all()
        listed = []
        for row in rows:
            known = json.loads(row.content)
            n_answers = len(known["answers"])
            listed.append(
                Withdrawal(row.id, row.reason, known["people"], known["articles"], n_answers)
            )
        return listed

    def undo(self, number: int) -> tuple[int, int]:
        """Take the latest withdrawal back: its answers count again.

        An answer to a pair that was given to another person meanwhile stays withdrawn, as no more
        people than wanted are counted for a pair.

        Args:
            number: The withdrawal's number, so that a request that comes twice undoes one.

        Returns:
            How many answers count again, and how many stay withdrawn.

        Raises:
            ValueError: If it is not the latest.
        """
        with self.database.begin() as connection:
            latest = connection.execute(
                select(withdrawals).order_by(withdrawals.c.id.desc()).limit(1)
            ).first()
            gone = connection.execute(delete(withdrawals).where(withdrawals.c.id == number))
            if latest is None or latest.id != number or gone.rowcount != 1:
                raise ValueError("only the latest withdrawal can be undone: reload the page")
            known = json.loads(latest.content)
            if known["articles"] and not known["people"]:
                self._ask_again(connection, known["articles"])
            n_back = sum(_restore(connection, answer) for answer in known["answers"])
        return n_back, len(known["answers"]) - n_back

    def _ask_again(self, connection: Connection, articles: Sequence[str]) -> None:
        """Ask about articles as before, if no earlier withdrawal is of them too."""
        earlier = connection.execute(select(withdrawals.c.content)).scalars()
        stale = {
            article_id
            for known in map(json.loads, earlier)
            if not known["people"]
            for article_id in known["articles"]
        }
        for number, one in enumerate(self.asked, start=1):
            if one.article_id in articles and one.article_id not in stale:
                connection.execute(
                    update(questions).where(questions.c.id == number).values(n_wanted=one.n_wanted)
                )


def _find_answers(people: Sequence[int], articles: Sequence[str]):  # type: ignore[no-untyped-def]
    """Return the query for the answers that count and are to be withdrawn."""
    wanted = (
        select(answers.c.id, assignments.c.question_id, assignments.c.turn)
        .join(assignments, assignments.c.id == answers.c.assignment_id)
        .join(questions, questions.c.id == assignments.c.question_id)
        .where(answers.c.withdrawn.is_(None))
    )
    if people:
        wanted = wanted.where(assignments.c.person_id.in_(list(people)))
    if articles:
        wanted = wanted.where(questions.c.article_id.in_(list(articles)))
    return wanted


def _check_known(connection: Connection, numbers: Sequence[int], articles: Sequence[str]) -> None:
    known = [f"r{number}" for number in connection.execute(select(people.c.id)).scalars()]
    if not known:
        raise ValueError("nobody has answered yet: there is nothing to withdraw")
    for number in numbers:
        check_choice("the person", f"r{number}", known)
    named = connection.execute(select(questions.c.article_id).distinct()).scalars().all()
    for article_id in articles:
        check_choice("the article", article_id, named)


def _restore(connection: Connection, answer: int) -> bool:
    """Let an answer count again, if there is room for it; return whether it does."""
    row = connection.execute(
        select(assignments.c.question_id, assignments.c.turn, questions.c.kind)
        .select_from(answers.join(assignments).join(questions))
        .where(answers.c.id == answer)
    ).one()
    if row.turn == 0 and row.kind != CHECK:
        taken = connection.execute(
            update(questions)
            .where(
                questions.c.id == row.question_id,
                questions.c.n_reserved < questions.c.n_wanted,
            )
            .values(n_reserved=questions.c.n_reserved + 1)
        )
        if taken.rowcount != 1:
            return False
    connection.execute(update(answers).where(answers.c.id == answer).values(withdrawn=None))
    return True
