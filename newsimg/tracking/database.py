"""The database that runs are tracked in: whole or not there, and asked once before MLflow asks."""

import shlex
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import url2pathname

import filelock

from newsimg.reporting.console import console
from newsimg.storage.files import user_cache_dir, write_atomically
from newsimg.tracking.uri import hide_password, sqlite_uri

SERVERS = ("postgresql", "mysql", "mssql")  # databases that are asked over the network
PATIENCE = 10  # seconds for a database to answer
RECENT = 5.0  # seconds in which another process may still be at work on an incomplete database
JOURNALS = ("-journal", "-wal", "-shm")  # SQLite's companions of a database
MAKERS_OWN = {"alembic_version", "workspaces"}  # tables whose rows come with the schema
LOCATIONS = (  # where MLflow keeps the places of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
# What a server says of a login that it will refuse tomorrow, too; "FATAL" is also said by a
# PostgreSQL that is full or starting up.
REFUSALS = ("fatal", "authentication", "no password supplied", "access denied", "login failed")
TEMPORARY = (
    "starting",
    "shutting",
    "recovery",
    "too many",
    "slots",
    "terminating",
    "not accepting",
)


def prepare_database(uri: str, artifacts: Path) -> None:
    """Make the database of a URI ready to be opened by MLflow.

    A SQLite file that is missing, or that holds nothing as its making was cut off, is made under
    another name and renamed, so that a kill at any moment leaves none or a complete one. In a
    folder that was moved, the places of artifacts are set right. Servers are asked once.

    Args:
        uri: A database's URI; of anything else MLflow has to judge.
        artifacts: Where the artifacts of a database beside it go.

    Raises:
        ValueError: If a server refuses the login, or a file is no database.
        sqlalchemy.exc.OperationalError: If a server does not answer.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:
        return
    if url.get_backend_name() in SERVERS:
        _check_login(uri)
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name[0] == ":" or url.query:
        return
    path = Path(name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        try:
            if not path.exists() or _is_half_made(path):
                _make_database(path)
            if path.parent == artifacts.parent:
                _move_artifacts(path, artifacts)
        except sqlite3.OperationalError:
            pass  # locked, or read only: what MLflow makes of it is told
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is damaged or no database ({error}): move it away") from error


def _is_half_made(path: Path) -> bool:
    """Tell whether a database's schema is incomplete and nothing has been written to it."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    deadline = time.monotonic() + 4 * RECENT  # a clock may be ahead of the file's
    while True:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            tables = _list_tables(database)
            if "runs" in tables and database.execute("select 1 from runs limit 1").fetchone():
                return False
            if "alembic_version" in tables:
                revisions = database.execute("select version_num from alembic_version").fetchall()
                if revisions == [(_get_latest_schema_revision(),)]:
                    return False
            rest = "where experiment_id != 0"  # MLflow makes experiment 0 by itself
            if any(
                database.execute(
                    f'select 1 from "{table}" {rest if table == "experiments" else ""} limit 1'
                ).fetchone()
                for table in tables - MAKERS_OWN
            ):
                return False
        recent = time.time() - path.stat().st_mtime <= RECENT
        if not recent or time.monotonic() > deadline:  # else `mlflow ui` may be making it
            return True
        time.sleep(0.1)


def _list_tables(database: sqlite3.Connection) -> set[str]:
    rows = database.execute("select name from sqlite_master where type = 'table'")
    return {name for (name,) in rows if not name.startswith("sqlite_")}


def _make_database(path: Path) -> None:
    for left in path.parent.iterdir():  # of makings that were cut off
        if left.name.startswith(f".{path.name}.") and left.suffix != ".lock":
            left.unlink()
    with write_atomically(path) as temporary:
        _write_empty_database(temporary)
        path.unlink(missing_ok=True)
        for ending in JOURNALS:  # SQLite would play them back into the new database
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _write_empty_database(path: Path) -> None:
    """Write a database without runs; it takes seconds to make, so that the cache keeps one."""
    from mlflow.store.db.utils import _get_latest_schema_revision, _initialize_tables
    from sqlalchemy import create_engine, event

    kept = user_cache_dir() / "tracking" / f"{_get_latest_schema_revision()}.db"
    if kept.is_file():
        shutil.copyfile(kept, path)
        return
    engine = create_engine(sqlite_uri(path))

    @event.listens_for(engine, "connect")
    def forgo_safety(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("pragma synchronous = off")  # it is synced when it is complete
        connection.execute("pragma journal_mode = memory")

    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    # A cache that cannot be written costs the next folder these seconds, and nothing else.
    with suppress(OSError), write_atomically(kept) as temporary:
        shutil.copyfile(path, temporary)


def _move_artifacts(path: Path, artifacts: Path) -> None:
    """Let the runs of a folder that was moved or copied have their artifacts where they are now."""
    here = artifacts.as_uri()
    with closing(sqlite3.connect(path, timeout=20)) as database:
        tables = _list_tables(database)
        if "experiments" not in tables:
            return
        places = database.execute(
            "select distinct artifact_location from experiments where artifact_location != ? "
            "and artifact_location like 'file:///%/' || ?",
            (here, artifacts.name),
        ).fetchall()
        for (there,) in places:
            old = Path(url2pathname(there.removeprefix("file://")))
            if old.exists() and artifacts.exists() and old.samefile(artifacts):
                continue  # the same folder by another name
            left_behind = old.exists() and not artifacts.exists()  # only the database was copied
            with database:
                for table, column in LOCATIONS:
                    if table in tables and not (left_behind and table != "experiments"):
                        database.execute(
                            f"update {table} set {column} = ? || substr({column}, ?) "
                            f"where {column} = ? or substr({column}, 1, ?) = ?",
                            (here, len(there) + 1, there, len(there) + 1, f"{there}/"),
                        )
            moved = f"{shlex.quote(str(old.parent))} to {shlex.quote(str(path.parent))}"
            console.print(f"tracking: runs moved from {moved}; their artifacts are found there")


def _check_login(uri: str) -> None:
    """Ask a server once; MLflow asks ten times in 200 seconds, whatever the answer is."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    limit = {} if make_url(uri).get_backend_name() == "mssql" else {"connect_timeout": PATIENCE}
    try:
        engine = create_engine(uri, poolclass=NullPool, connect_args=limit)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the driver {error.name} of {hide_password(uri)} is not installed: install it, or "
            "name one that is, as in postgresql+psycopg2://"
        ) from error
    try:
        engine.connect().close()
    except DBAPIError as error:
        answer = str(error.orig)
        said = answer.lower()
        if any(word in said for word in REFUSALS) and not any(word in said for word in TEMPORARY):
            raise ValueError(
                f"user, password or database must be those of {hide_password(uri)}, which says: "
                f"{' '.join(answer.split())}"
            ) from error
        raise
