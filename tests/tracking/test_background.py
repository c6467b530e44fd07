"""Runs are sent by a process beside the job: with the same outcome as by the job itself."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from newsimg.datatypes import Job
from newsimg.tracking.background import BackgroundSender, allow_background
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.sender import RunSender

pytestmark = pytest.mark.slow
BLOCKS = Path("results.txt")


@pytest.fixture(scope="module")
def beside() -> Iterator[None]:
    """A process beside this one that sends the runs of all tests."""
    with allow_background():
        yield


def describe(folder: Path, name: str) -> Job:
    return Job("news", name, {"weight": 0.5}, {"config_hash": name}, folder / name)


def find_process(tracker: MlflowTracker) -> Any:
    sender = tracker._sender
    assert isinstance(sender, BackgroundSender)
    return sender._process._process


def read_runs(folder: Path) -> dict[str, tuple[str, dict[str, float], list[str]]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("news")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {
        run.info.run_name: (
            run.info.status,
            run.data.metrics,
            [file.path for file in client.list_artifacts(run.info.run_id)],
        )
        for run in runs
    }


def track(tracker: MlflowTracker, job: Job) -> None:
    with tracker.track(job):
        job.output_dir.mkdir(parents=True, exist_ok=True)
        (job.output_dir / BLOCKS).write_text("1")
        tracker.log_metrics({"mrr": 0.25})
        tracker.log_artifacts(job.output_dir)


def test_a_run_is_complete_in_the_store_when_its_block_ends(beside: None, tmp_path: Path) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    track(tracker, describe(tmp_path, "first"))
    with pytest.raises(RuntimeError), tracker.track(describe(tmp_path, "second")):
        raise RuntimeError("no model")
    with pytest.raises(KeyboardInterrupt), tracker.track(describe(tmp_path, "third")):
        raise KeyboardInterrupt
    runs = read_runs(tmp_path)
    assert runs["first"] == ("FINISHED", {"mrr": 0.25}, [str(BLOCKS)])
    assert (runs["second"][0], runs["third"][0]) == ("FAILED", "KILLED")


def test_the_jobs_of_a_sweep_are_in_the_store_when_it_is_closed(
    beside: None, tmp_path: Path
) -> None:
    sweep = MlflowTracker(uri=None, folder=str(tmp_path))
    sweep.open_sweep("news", "sweep", tmp_path / "sweep")
    for number in "012":
        track(MlflowTracker(uri=None, folder=str(tmp_path)), describe(tmp_path, number))
    sweep.close_sweep("FINISHED", {}, None, "")
    runs = read_runs(tmp_path)
    assert {name: run[0] for name, run in runs.items()} == dict.fromkeys(
        ("sweep", "0", "1", "2"), "FINISHED"
    )


def test_a_store_that_refuses_runs_stops_the_job_at_once(beside: None, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    track(tracker, describe(tmp_path, "first"))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("news")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    job, start = describe(tmp_path, "second"), time.monotonic()
    with pytest.raises(ValueError, match="the experiment 'news' was deleted"), tracker.track(job):
        time.sleep(100)
    assert time.monotonic() - start < 50
    assert not list(job.output_dir.rglob("*.json"))  # nothing is recorded, so nothing waits


def test_an_unreachable_server_does_not_stop_the_job(
    beside: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(uri="http://127.0.0.1:9", folder=str(tmp_path))
    job = describe(tmp_path, "first")
    track(tracker, job)
    (path,) = job.output_dir.rglob("*.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["sent"]) == ("FINISHED", False)
    output = capsys.readouterr().out
    assert output.count("(connection refused); runs continue") == 1
    assert "1 run waits to be sent" in output


def test_a_process_that_is_killed_is_replaced_by_the_job_itself(tmp_path: Path) -> None:
    with allow_background():
        tracker = MlflowTracker(uri=None, folder=str(tmp_path))
        with tracker.track(describe(tmp_path, "first")):
            find_process(tracker).kill()
            find_process(tracker).wait()
            tracker.log_metrics({"mrr": 0.25})
    assert read_runs(tmp_path)["first"][:2] == ("FINISHED", {"mrr": 0.25})


def test_the_process_ends_with_the_block_and_launched_jobs_send_themselves(
    tmp_path: Path,
) -> None:
    with allow_background():
        tracker = MlflowTracker(uri=None, folder=str(tmp_path))
        process = find_process(tracker)
        assert isinstance(pickle.loads(pickle.dumps(tracker._sender)), RunSender)
    assert process.poll() == -signal.SIGKILL
    assert isinstance(MlflowTracker(uri=None, folder=str(tmp_path))._sender, RunSender)


def test_the_command_itself_does_not_import_mlflow(
    tiny_options: list[str], tmp_path: Path, run_code: Callable[[str], str]
) -> None:
    arguments = [*tiny_options, f"folder={tmp_path / 'runs'}"]
    code = (
        f"import sys; from newsimg.run import main; sys.argv[1:] = {arguments!r}; main(); "
        "print('mlflow' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    assert run_code(code).splitlines()[-1] == "False False"
    (run,) = read_runs_of(tmp_path / "runs")
    assert run == "FINISHED"


def read_runs_of(folder: Path) -> list[str]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return [row[0] for row in database.execute("select status from runs")]


@pytest.fixture
def run_code(tmp_path: Path) -> Callable[[str], str]:
    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return run
