"""The local tracking database: kills during its creation, special characters, moved folders."""

import multiprocessing
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import sqlalchemy
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow import MlflowClient
from mlflow.store.db import utils

from newsimg.datatypes import Job
from newsimg.tracking.database import prepare_database
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.uri import sqlite_uri

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, so that the database is created from scratch."""
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))


def track(folder: Path, name: str = "a run") -> MlflowTracker:
    """Track a run with one metric and one file."""
    tracker = MlflowTracker(uri=None, folder=str(folder))
    output_dir = folder / "single" / name
    with tracker.track(Job("news", name, {"a": 1}, {}, output_dir)):
        (output_dir / "found.txt").write_text(name)
        tracker.log_metrics({"hits": 0.7})
        tracker.log_artifacts(output_dir)
    return tracker


def read(folder: Path, query: str) -> list[Any]:
    """Query the SQLite file directly, without MLflow."""
    assert (folder / "mlflow.db").is_file()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def statuses_of(folder: Path) -> list[str]:
    return [status for (status,) in read(folder, "select status from runs order by start_time")]


def artifacts_of(folder: Path) -> dict[str, Path]:
    """Return the path of every run's artifact as recorded in MLflow."""
    client = MlflowClient(sqlite_uri(folder / "mlflow.db"))
    return {
        name: Path(url2pathname(urlsplit(client.get_run(run_id).info.artifact_uri).path))
        / "found.txt"
        for run_id, name in read(folder, "select run_uuid, name from runs")
    }


def make_and_kill(arguments: tuple[str, Path], after: float | None) -> float:
    """Create a database in a process that is killed after some seconds; return the duration."""
    start = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=prepare_database, args=arguments)
    child.start()
    child.join(after)
    child.kill()
    child.join()
    return time.monotonic() - start


@pytest.mark.slow
def test_a_kill_during_the_creation_never_leaves_an_incomplete_database(
    tmp_path: Path, empty_cache: None
) -> None:
    folder = tmp_path / "runs"
    path = folder / "mlflow.db"
    arguments = (sqlite_uri(path), folder / "mlartifacts")
    head = [(utils._get_latest_schema_revision(),)]
    slow = make_and_kill(arguments, None)  # from scratch
    path.unlink()
    quick = make_and_kill(arguments, None)  # from the cached copy
    moments = random.Random(0)
    n_cut = 0
    for number in range(20):
        path.unlink(missing_ok=True)
        (tmp_path / "cache").rename(tmp_path / "saved")
        if number % 5:
            shutil.copytree(tmp_path / "saved", tmp_path / "cache")
        make_and_kill(arguments, moments.uniform(0, quick if number % 5 else slow))
        n_cut += not path.exists()
        assert not path.exists() or read(folder, "select version_num from alembic_version") == head
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        (tmp_path / "saved").rename(tmp_path / "cache")
    assert n_cut >= 5
    path.unlink(missing_ok=True)
    track(folder)
    assert statuses_of(folder) == ["FINISHED"]
    assert not [left for left in folder.glob(".mlflow.db.*") if left.suffix != ".lock"]


@pytest.mark.slow
def test_a_run_closes_the_first_run_of_a_folder_that_was_killed_at_its_start(
    empty_cache: None,
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    tmp_path: Path,
) -> None:
    signals = {"killed": signal.SIGKILL, "stopped": signal.SIGINT}
    processes = {
        folder: subprocess.Popen(
            [sys.executable, "-m", "newsimg.run", *tiny_options, f"folder={folder}"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in signals
    }
    for folder, process in processes.items():
        while not list((tmp_path / folder).glob(".mlflow.db.*[0-9a-f]")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signals[folder])
    for folder, process in processes.items():
        _, stderr = process.communicate(timeout=200)
        assert process.returncode == {"killed": -9, "stopped": 130}[folder], stderr
        result = newsimg_here(*tiny_options, f"folder={folder}")
        assert result.code == 0, result.output
        assert sorted(statuses_of(tmp_path / folder)) == ["FINISHED", "KILLED"]


def cut_off(path: Path, *statements: str) -> None:
    """Create a database and undo the last steps of its initialisation."""
    prepare_database(sqlite_uri(path), path.parent / "mlartifacts")
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
    os.utime(path, (0, 0))  # no process is creating it


EARLIER = "update alembic_version set version_num = '451aebb31d03'"


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        (["delete from alembic_version", "drop table latest_metrics"], "duplicate column"),
        ([EARLIER], "out-of-date"),
    ],
)
def test_an_incompletely_initialised_database_is_created_again(
    statements: list[str], complaint: str, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    cut_off(folder / "mlflow.db", *statements)
    shutil.copy(folder / "mlflow.db", tmp_path / "copy.db")
    with pytest.raises(Exception, match=complaint):  # by MLflow alone
        MlflowClient(f"sqlite:///{tmp_path / 'copy.db'}").search_experiments()
    (folder / "mlflow.db-journal").write_bytes(b"of the old one")
    track(folder)
    assert statuses_of(folder) == ["FINISHED"]
    assert not (folder / "mlflow.db-journal").exists()
    assert read(folder, "pragma integrity_check") == [("ok",)]


def test_an_old_database_with_data_is_refused_and_not_changed(tmp_path: Path) -> None:
    mine = "insert into experiments (experiment_id, name) values (1, 'mine')"
    cut_off(tmp_path / "runs" / "mlflow.db", mine, EARLIER)
    with pytest.raises(ValueError, match=r"rejects runs: .*mlflow db upgrade"):
        track(tmp_path / "runs")
    assert read(tmp_path / "runs", "select name from experiments") == [("mine",)]


def test_a_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(b"a letter to the editor" * 100)
    with pytest.raises(ValueError, match=rf"{path} is not a valid SQLite database .*move it to"):
        track(tmp_path / "runs")
    assert path.read_bytes().startswith(b"a letter")


@pytest.mark.parametrize("name", ["ws%2Fx", "a?b", "100%", "a#b; c", "it's \u00fc&co"])
def test_the_path_of_a_folder_may_contain_special_characters(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "runs"
    tracker = track(folder)
    assert statuses_of(folder) == ["FINISHED"]
    (place,) = artifacts_of(folder).values()
    assert (folder / "mlartifacts") in place.parents
    assert place.read_text() == "a run"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing beside it
    _, override = shlex.split(tracker.describe()["served by"])
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert (parsed.key_or_group, parsed.value()) == ("folder", str(folder))
    with sqlalchemy.create_engine(tracker.uri).connect() as connection:  # as MLflow opens it
        assert connection.execute(sqlalchemy.text("select status from runs")).all() == [
            ("FINISHED",)
        ]


def test_artifacts_of_a_moved_folder_are_found_and_new_ones_are_written_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track(tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new place")
    track(tmp_path / "new place", "another")
    assert "moved from" in capsys.readouterr().out
    assert not (tmp_path / "old").exists()
    places = artifacts_of(tmp_path / "new place")
    assert set(places) == {"a run", "another"}
    for name, place in places.items():
        assert (tmp_path / "new place" / "mlartifacts") in place.parents
        assert place.read_text() == name
    track(tmp_path / "new place", "third")
    assert "moved from" not in capsys.readouterr().out


def test_sync_updates_the_artifact_locations_of_a_moved_folder(tmp_path: Path) -> None:
    track(tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert len(MlflowTracker(uri=None, folder=str(tmp_path / "new")).send_waiting()) == 0
    (place,) = artifacts_of(tmp_path / "new").values()
    assert (tmp_path / "new" / "mlartifacts") in place.parents


def test_a_copied_folder_has_separate_artifacts_and_a_symbolic_link_does_not(
    tmp_path: Path,
) -> None:
    track(tmp_path / "runs")
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    (tmp_path / "link").symlink_to("runs")
    track(tmp_path / "copy", "in the copy")
    track(tmp_path / "link", "by the link")
    for folder, names in (("copy", {"a run", "in the copy"}), ("runs", {"a run", "by the link"})):
        places = artifacts_of(tmp_path / folder)
        assert set(places) == names
        assert all(
            (tmp_path / folder / "mlartifacts") in place.parents for place in places.values()
        )


def test_a_deleted_experiment_is_named_with_the_command_to_restore_it(tmp_path: Path) -> None:
    track(tmp_path / "runs")
    client = MlflowClient(sqlite_uri(tmp_path / "runs" / "mlflow.db"))
    experiment = client.get_experiment_by_name("news")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(ValueError, match="the experiment 'news' was deleted") as caught:
        track(tmp_path / "runs", "another")
    variable, *command = shlex.split(str(caught.value).partition("to restore it: ")[2])
    # Only the command's arguments are checked, as starting MLflow takes seconds.
    name, _, uri = variable.partition("=")
    assert (name, uri) == ("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "runs" / "mlflow.db"))
    assert command == ["mlflow", "experiments", "restore", "--experiment-id", "1"]
    client.restore_experiment(command[-1])
    track(tmp_path / "runs", "another")
    assert statuses_of(tmp_path / "runs") == ["FINISHED"] * 2


@pytest.mark.slow
def test_a_run_deleted_before_it_ended_is_sent_after_it_is_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    client = MlflowClient(tracker.uri)
    with tracker.track(Job("news", "mine", {}, {}, tmp_path / "single")):
        ((run_id,),) = read(tmp_path, "select run_uuid from runs")
        client.delete_run(run_id)
    output = capsys.readouterr().out
    assert "the run 'mine' was deleted in MLflow; to restore it: MLFLOW_TRACKING_URI=" in output
    assert f"mlflow runs restore --run-id {run_id}" in output
    client.restore_run(run_id)
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]


KILLED = """
import os, signal, sys
from pathlib import Path
from newsimg.datatypes import Job
from newsimg.tracking.mlflow import MlflowTracker
folder = Path(sys.argv[1])
tracker = MlflowTracker(uri=None, folder=str(folder))
tracker.open_sweep("news", "a sweep", folder / "sweep")
with tracker.track(Job("news", "a job", {}, {}, folder / "sweep" / "0")):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_runs_are_closed_by_the_next_run_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, timeout=100)
    assert statuses_of(tmp_path) == ["RUNNING"] * 2
    track(tmp_path)
    assert "2 runs that did not end before: recorded as KILLED now" in capsys.readouterr().out
    assert dict(read(tmp_path, "select name, status from runs")) == {
        "a sweep": "KILLED",
        "a job": "KILLED",
        "a run": "FINISHED",
    }
    assert read(tmp_path, "select count(*) from runs where end_time is null") == [(0,)]
    assert not list((tmp_path / ".open_runs").iterdir())
    track(tmp_path, "next")
    assert "KILLED" not in capsys.readouterr().out


def test_an_active_run_of_another_process_is_not_closed(tmp_path: Path) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with tracker.track(Job("news", "at work", {}, {}, tmp_path / "single")):
        track(tmp_path, "meanwhile")
        assert dict(read(tmp_path, "select name, status from runs")) == {
            "at work": "RUNNING",
            "meanwhile": "FINISHED",
        }
    assert statuses_of(tmp_path) == ["FINISHED"] * 2


WATCHED = """
import sys
import threading
from pathlib import Path
from newsimg.datatypes import Job
from newsimg.tracking.mlflow import MlflowTracker
tracker = MlflowTracker(uri=None, folder=sys.argv[1])
with tracker.track(Job("news", "a run", {}, {}, Path(sys.argv[1]) / "single")):
    pass
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client())
print([thread.name for thread in threading.enumerate() if "elemetry" in thread.name])
"""


@pytest.mark.slow
def test_mlflow_sends_no_telemetry(tmp_path: Path) -> None:
    # MLflow disables telemetry itself if it detects a test or CI.
    tested = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY")
    env = {key: value for key, value in os.environ.items() if key not in tested}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)],
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.split("\n") == ["None", "[]", ""], done.stderr
