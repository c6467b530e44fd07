"""Asking people: which question next, and keeping their answers."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from newsimg.app.judging.choosing import choose_question, free_question, list_free
from newsimg.app.judging.questions import CHECK, POINTS, RATE, Question, Rules
from newsimg.app.judging.tables import Database, answers, assignments, people, questions, settings
from newsimg.app.judging.withdrawing import Withdrawals
from newsimg.storage.text.suggest import check_choice

PREFERENCES = ("left", "right", "tie", "neither")
UNJUDGEABLE = ("headline_unclear", "picture_unusable")  # answers of their own, which do not return
CHOICES = (*PREFERENCES, *UNJUDGEABLE)
UNDONE = "undone"


@dataclass(frozen=True)
class Asked:
    """A question as a person sees it: nothing in it tells the runs apart.

    Attributes:
        assignment: Its number, which the answer names.
        article_id: The headline's article.
        left: Image id of the left picture.
        right: Image id of the right picture; empty for a single picture to rate.
    """

    assignment: int
    article_id: str
    left: str
    right: str


@dataclass(frozen=True)
class Progress:
    """How far a person is.

    Attributes:
        n_answered: Answers of the person that count.
        n_left: Pairs that the person may still be asked about.
        can_undo: Whether there is an answer to take back.
    """

    n_answered: int
    n_left: int
    can_undo: bool


class Judging:
    """Questions and answers in a database, for many people at once.

    Args:
        database: The database.
        asked: The questions. A database that has others already is refused.
        rules: How people are asked.
        clock: Returns the time in seconds.

    Raises:
        ValueError: If the database is of other questions.
    """

    def __init__(
        self,
        database: Database,
        asked: Sequence[Question],
        rules: Rules,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.asked = asked
        self.rules = rules
        self.clock = clock
        self.withdrawals = Withdrawals(database, asked, clock)
        key = hashlib.sha256(json.dumps([asdict(one) for one in asked]).encode()).hexdigest()
        try:
            with database.begin() as connection:
                _keep_questions(connection, asked, key)
        except IntegrityError:  # another process has just written them
            with database.begin() as connection:
                _keep_questions(connection, asked, key)

    def enter(self, token: str) -> int:
        """Return the number of the person with a token, who is new or has answered before."""
        token_hash = hashlib.sha256(token.encode()).hexdigest()
        wanted = select(people.c.id).where(people.c.token_hash == token_hash)
        while True:
            with self.database.begin() as connection:
                known = connection.execute(wanted).scalar()
            if known is not None:
                return int(known)
            with suppress(IntegrityError), self.database.begin() as connection:
                count = select(func.count()).select_from(people)
                number = connection.execute(count).scalar_one() + 1
                connection.execute(insert(people).values(id=number, token_hash=token_hash))

    def ask(self, person: int) -> Asked | None:
        """Return the person's next question, or the one that is still open; None if none is left.

        A pair is reserved in the same transaction: at most `n_wanted` people have or had it.
        """
        with self.database.begin() as connection:
            self._release_expired(connection)
            open_ = connection.execute(
                _joined().where(assignments.c.person_id == person, assignments.c.is_open)
            ).first()
            if open_ is None:
                open_ = self._assign(connection, person)
            return None if open_ is None else _show(open_)

    def answer(self, person: int, assignment: int, choice: str, seconds: float) -> bool:
        """Keep an answer; it is on disk when this returns.

        Returns:
            Whether it was kept: an answer that comes twice counts once, and one to a question that
            is no longer the person's is not kept.

        Raises:
            ValueError: If the choice is none of such a question.
        """
        with self.database.begin() as connection:
            kind = connection.execute(
                select(questions.c.kind).join(assignments).where(assignments.c.id == assignment)
            ).scalar()
            choices = (*POINTS, *UNJUDGEABLE) if kind == RATE else CHOICES
            check_choice("the answer", choice, choices)
            closed = connection.execute(
                update(assignments)
                .where(
                    assignments.c.id == assignment,
                    assignments.c.person_id == person,
                    assignments.c.is_open,
                )
                .values(is_open=False)
            )
            if closed.rowcount != 1:
                return False
            connection.execute(
                insert(answers).values(
                    assignment_id=assignment,
                    choice=choice,
                    seconds=min(max(seconds, 0.0), self.rules.expire),
                    given_at=self.clock(),
                )
            )
        return True

    def undo(self, person: int) -> Asked | None:
        """Take the person's last answer back and return its question, which is open again."""
        with self.database.begin() as connection:
            last = connection.execute(
                select(answers.c.id, answers.c.assignment_id)
                .join(assignments, assignments.c.id == answers.c.assignment_id)
                .where(assignments.c.person_id == person, answers.c.withdrawn.is_(None))
                .order_by(answers.c.id.desc())
                .limit(1)
            ).first()
            if last is None:
                return None
            self._release(connection, assignments.c.person_id == person)
            connection.execute(
                update(answers).where(answers.c.id == last.id).values(withdrawn=UNDONE)
            )
            connection.execute(
                update(assignments)
                .where(assignments.c.id == last.assignment_id)
                .values(is_open=True, opened_at=self.clock())
            )
            return _show(
                connection.execute(_joined().where(assignments.c.id == last.assignment_id)).one()
            )

    def measure_progress(self, person: int) -> Progress:
        """Return how far a person is."""
        with self.database.begin() as connection:
            n_answered = connection.execute(
                select(func.count())
                .select_from(answers.join(assignments))
                .where(assignments.c.person_id == person, answers.c.withdrawn.is_(None))
            ).scalar_one()
            n_left = len(list_free(connection, person))
            is_open = connection.execute(
                select(func.count())
                .select_from(assignments)
                .where(assignments.c.person_id == person, assignments.c.is_open)
            ).scalar_one()
        return Progress(int(n_answered), n_left + int(is_open), n_answered > 0)

    def _assign(self, connection: Connection, person: int) -> Row | None:
        given = connection.execute(
            _joined().where(assignments.c.person_id == person).order_by(assignments.c.id)
        ).all()
        chosen = choose_question(connection, self.rules, person, given)
        if chosen is None:
            return None
        question, turn, swapped = chosen
        number = connection.execute(
            insert(assignments).values(
                question_id=question,
                person_id=person,
                turn=turn,
                swapped=swapped,
                is_open=True,
                opened_at=self.clock(),
            )
        ).inserted_primary_key
        assert number is not None
        return connection.execute(_joined().where(assignments.c.id == number[0])).one()

    def _release_expired(self, connection: Connection) -> None:
        self._release(connection, assignments.c.opened_at < self.clock() - self.rules.expire)

    def _release(self, connection: Connection, condition: object) -> None:
        """Give open questions back that nobody has answered, not even before an undo."""
        rows = connection.execute(
            select(assignments, questions.c.kind)
            .join(questions)
            .where(condition, assignments.c.is_open)  # type: ignore[arg-type]
        ).all()
        for row in rows:
            connection.execute(delete(answers).where(answers.c.assignment_id == row.id))
            gone = connection.execute(delete(assignments).where(assignments.c.id == row.id))
            if gone.rowcount == 1 and row.turn == 0 and row.kind != CHECK:
                free_question(connection, row.question_id)


def _keep_questions(connection: Connection, asked: Sequence[Question], key: str) -> None:
    known = connection.execute(select(settings.c.value).where(settings.c.name == "key")).scalar()
    if known is None:
        connection.execute(insert(settings).values(name="key", value=key))
        rows = [{"id": i, **asdict(one)} for i, one in enumerate(asked, start=1)]
        connection.execute(insert(questions), rows)
    elif known != key:
        raise ValueError(
            "task.database holds a judging of other questions: name a new one, or start it with "
            "the same runs and settings"
        )


def _joined():  # type: ignore[no-untyped-def]
    columns = (assignments, questions.c.article_id, questions.c.first, questions.c.second)
    return select(*columns, questions.c.kind).join(
        questions, questions.c.id == assignments.c.question_id
    )


def _show(row: Row) -> Asked:
    left, right = (row.second, row.first) if row.swapped else (row.first, row.second)
    return Asked(row.id, row.article_id, left, right)
