"""Prepare the tracking database: create it atomically, and check the connection once."""

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

SERVERS = ("postgresql", "mysql", "mssql")  # databases that are accessed over the network
PATIENCE = 10  # seconds to wait for a connection
RECENT = 5.0  # seconds in which another process may still be creating an incomplete database
JOURNALS = ("-journal", "-wal", "-shm")  # auxiliary files of a SQLite database
MAKERS_OWN = {"alembic_version", "workspaces"}  # tables with rows in an empty database
LOCATIONS = (  # columns with the locations of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
# Error texts of a permanently rejected login; PostgreSQL also reports "FATAL" while it has too many
# connections or is starting up.
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
    """Prepare a database to be opened by MLflow.

    A SQLite file that is missing or incompletely initialised is created under a temporary name and
    renamed, so that a killed process leaves no incomplete file. In a folder that was moved, the
    locations of the artifacts are updated. The connection to a server is checked once.

    Args:
        uri: URI of a database; other URIs are ignored here.
        artifacts: Folder of the artifacts, if it is next to the database.

    Raises:
        ValueError: If a server rejects the login, or a file is not a database.
        sqlalchemy.exc.OperationalError: If a server does not respond.
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
            pass  # locked or read-only: MLflow reports the error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{path} is not a valid SQLite database ({error}): move it to another folder"
            ) from error


def _is_half_made(path: Path) -> bool:
    """Return whether a database has an incomplete schema and no data."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    deadline = time.monotonic() + 4 * RECENT  # the clock may differ from the file server's
    while True:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            tables = _list_tables(database)
            if "runs" in tables and database.execute("select 1 from runs limit 1").fetchone():
                return False
            if "alembic_version" in tables:
                revisions = database.execute("select version_num from alembic_version").fetchall()
                if revisions == [(_get_latest_schema_revision(),)]:
                    return False
            rest = "where experiment_id != 0"  # MLflow creates experiment 0 itself
            if any(
                database.execute(
                    f'select 1 from "{table}" {rest if table == "experiments" else ""} limit 1'
                ).fetchone()
                for table in tables - MAKERS_OWN
            ):
                return False
        recent = time.time() - path.stat().st_mtime <= RECENT
        if not recent or time.monotonic() > deadline:  # else `mlflow ui` may be creating it
            return True
        time.sleep(0.1)


def _list_tables(database: sqlite3.Connection) -> set[str]:
    rows = database.execute("select name from sqlite_master where type = 'table'")
    return {name for (name,) in rows if not name.startswith("sqlite_")}


def _make_database(path: Path) -> None:
    for left in path.parent.iterdir():  # temporary files of interrupted processes
        if left.name.startswith(f".{path.name}.") and left.suffix != ".lock":
            left.unlink()
    with write_atomically(path) as temporary:
        _write_empty_database(temporary)
        path.unlink(missing_ok=True)
        for ending in JOURNALS:  # SQLite would apply them to the new database
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _write_empty_database(path: Path) -> None:
    """Write a database without runs; it is cached, as creating it takes seconds."""
    from mlflow.store.db.utils import _get_latest_schema_revision, _initialize_tables
    from sqlalchemy import create_engine, event

    kept = user_cache_dir() / "tracking" / f"{_get_latest_schema_revision()}.db"
    if kept.is_file():
        shutil.copyfile(kept, path)
        return
    engine = create_engine(sqlite_uri(path))

    @event.listens_for(engine, "connect")
    def forgo_safety(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("pragma synchronous = off")  # synced once it is complete
        connection.execute("pragma journal_mode = memory")

    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    # If the cache is not writable, the next folder takes these seconds again.
    with suppress(OSError), write_atomically(kept) as temporary:
        shutil.copyfile(path, temporary)


def _move_artifacts(path: Path, artifacts: Path) -> None:
    """Update the locations of artifacts in the database of a folder that was moved or copied."""
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
                continue  # the same folder under another path
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
            console.print(f"tracking: runs moved from {moved}; artifact locations updated")


def _check_login(uri: str) -> None:
    """Connect to a server once; MLflow retries ten times in 200 seconds, even after a rejection."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    limit = {} if make_url(uri).get_backend_name() == "mssql" else {"connect_timeout": PATIENCE}
    try:
        engine = create_engine(uri, poolclass=NullPool, connect_args=limit)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the driver {error.name} of {hide_password(uri)} is not installed: install it, or "
            "name an installed driver, e.g. postgresql+psycopg2://"
        ) from error
    try:
        engine.connect().close()
    except DBAPIError as error:
        answer = str(error.orig)
        said = answer.lower()
        if any(word in said for word in REFUSALS) and not any(word in said for word in TEMPORARY):
            raise ValueError(
                f"{hide_password(uri)} rejects the login; check user, password and database: "
                f"{' '.join(answer.split())}"
            ) from error
        raise
