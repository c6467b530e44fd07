"""The database of a judging: questions, people, assignments and answers."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, OperationalError

metadata = MetaData()

settings = Table(
    "judging_settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
questions = Table(
    "judging_questions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # pair or check
    Column("article_id", String, nullable=False),
    Column("first", String, nullable=False),  # image ids, of the first and of the second run
    Column("second", String, nullable=False),
    Column("disagreement", Float, nullable=False),
    Column("n_wanted", Integer, nullable=False),
    Column("n_reserved", Integer, nullable=False, default=0),  # people who have it or answered it
)
people = Table(
    "judging_people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token_hash", String, nullable=False, unique=True),  # names and tokens are not stored
)
assignments = Table(
    "judging_assignments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("question_id", ForeignKey("judging_questions.id"), nullable=False),
    Column("person_id", ForeignKey("judging_people.id"), nullable=False),
    Column("turn", Integer, nullable=False),  # 0, and 1 for a repeat with sides swapped
    Column("swapped", Boolean, nullable=False),  # whether the second picture is on the left
    Column("is_open", Boolean, nullable=False),
    Column("opened_at", Float, nullable=False),
    UniqueConstraint("question_id", "person_id", "turn"),
    sqlite_autoincrement=True,  # an answer to a question that expired is not one to a later one
)
answers = Table(
    "judging_answers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment_id", ForeignKey("judging_assignments.id"), nullable=False),
    Column("choice", String, nullable=False),
    Column("seconds", Float, nullable=False),  # from the page to the answer
    Column("given_at", Float, nullable=False),
    Column("withdrawn", String),  # why; null for answers that count
)
withdrawals = Table(
    "judging_withdrawals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("reason", String, nullable=False),
    Column("content", String, nullable=False),  # JSON: people, articles, and ids of the answers
    Column("given_at", Float, nullable=False),
    sqlite_autoincrement=True,  # the number of one that was undone is not used again
)

BUSY = 30  # seconds that a process waits for another one's transaction


class Database:
    """Transactions on the tables, by several threads and processes.

    Args:
        url: A SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        ValueError: If it is no such URL or has a password, or the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            if make_url(url).password is not None:
                raise ValueError(
                    "task.database must have no password, as it is written to config.yaml: set "
                    "PGPASSWORD, or use ~/.pgpass"
                )
            self.engine = create_engine(url, pool_pre_ping=True)
        except (ArgumentError, ImportError) as error:
            raise ValueError(
                "task.database must be a URL such as sqlite:///judging.db or "
                f"postgresql://USER@HOST/NAME, got {url!r}"
            ) from error
        if self.engine.dialect.name == "sqlite":
            _make_durable(self.engine)
        try:
            with self.engine.begin() as connection:
                metadata.create_all(connection)
        except OperationalError as error:
            raise ValueError(f"task.database cannot be opened: {error.orig}") from error

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction, which is on disk after the block or leaves nothing."""
        with self.engine.begin() as connection:
            yield connection


def name_database(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite:///{path.absolute()}"


def _make_durable(engine: Engine) -> None:
    """Write every answer to disk before it is acknowledged, and let one process write at a time."""

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the module
        connection.execute(f"PRAGMA busy_timeout = {BUSY * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could not be completed after another's.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
