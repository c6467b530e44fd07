"""What becomes of runs whose store fails, refuses or is locked: real servers and files."""

import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from newsimg.tracking.base import Job
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.record import edit_record, find_records, read_record

SECRET = "swordfish-4711"


def runs_of(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def track(folder: Path, output_dir: Path, tracker: MlflowTracker | None = None) -> None:
    """Make a run with one metric and one file, with all that a tracker is told of one."""
    output_dir.mkdir(parents=True, exist_ok=True)
    tracker = tracker or MlflowTracker(uri=None, folder=str(folder))
    with tracker.track("news", "a run", {"a": 1}, {"config_hash": "abc"}, output_dir):
        (output_dir / "found.txt").write_text("seven")
        tracker.log_metrics({"hits": 0.7})
        tracker.log_artifacts(output_dir)


@pytest.fixture
def refusing_server():
    """The address of a server that answers everything with 401."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_run_that_an_unreachable_server_missed_is_sent_once_with_its_own_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{SECRET}@127.0.0.1:9")
    track(tmp_path, tmp_path / "single")
    said = capsys.readouterr().out
    assert said.count("http://***@127.0.0.1:9 does not take runs now (connection refused)") == 1
    assert "1 run waits to be sent  newsimg task=sync" in said
    assert SECRET not in said
    (path,) = find_records(tmp_path)
    assert SECRET not in path.read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    # What is only on disk is found by resume, too, and sent on the way.
    again = Job("news", "a run", {"a": 1}, {"config_hash": "abc"}, tmp_path / "next")
    assert tracker.find_finished(again) == {"hits": 0.7}
    assert len(tracker.send_waiting()) == 0
    (run,) = runs_of(tmp_path)
    record = read_record(path)
    assert (run.info.start_time, run.info.end_time) == (record.start_time, record.end_time)
    assert (run.info.status, run.data.params, run.data.metrics) == (
        "FINISHED",
        {"a": "1"},
        {"hits": 0.7},
    )
    assert (Path(run.info.artifact_uri.removeprefix("file://")) / "found.txt").read_text()


def test_a_run_that_was_half_sent_is_completed_and_not_doubled(tmp_path: Path) -> None:
    track(tmp_path, tmp_path / "single")
    (path,) = find_records(tmp_path)
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with edit_record(path) as record:  # as if no answer had come to the first request
        record.run_id, record.described, record.sent = None, False, False
    assert list(tracker.send_waiting()["outcome"]) == ["already there"]
    with edit_record(path) as record:
        record.sent, record.run_id = False, None
    (run,) = runs_of(tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:  # as if it had stopped before the end
        database.execute("update runs set end_time = null, status = 'RUNNING'")
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    (again,) = runs_of(tmp_path)
    assert again.info.run_id == run.info.run_id
    assert (again.info.status, again.data.metrics) == ("FINISHED", {"hits": 0.7})
    history = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_metric_history(
        run.info.run_id, "hits"
    )
    assert len(history) == 1


def test_a_local_store_that_fails_at_a_runs_end_loses_no_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with tracker.track("news", "a run", {}, {}, tmp_path / "single"):
        tracker.log_metrics({"hits": 0.7})
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute(
                "create trigger full before insert on metrics "
                "begin select raise(abort, 'disk full'); end"
            )
    assert "does not take runs now" in (said := capsys.readouterr().out)
    assert "disk full" in said
    assert list(tracker.send_waiting()["outcome"].str[:16]) == ["waiting: refused"]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("drop trigger full")
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    (run,) = runs_of(tmp_path)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"hits": 0.7})


def test_a_server_that_refuses_the_first_run_is_an_error_before_any_work(
    refusing_server: str, tmp_path: Path
) -> None:
    tracker = MlflowTracker(uri=refusing_server, folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"refuses runs.*401"):
        tracker.open_sweep("news", "sweep", tmp_path)
    with pytest.raises(ValueError, match=r"refuses runs.*401"):
        track(tmp_path, tmp_path / "single", tracker)
    assert not find_records(tmp_path)


def test_a_run_whose_process_died_is_sent_as_killed(tmp_path: Path) -> None:
    track(tmp_path, tmp_path / "single")
    (path,) = find_records(tmp_path)
    left = json.loads(path.read_text()) | {"status": "RUNNING", "end_time": None, "sent": False}
    host = left["owner"].rpartition(":")[0]
    left |= {"run_id": None, "record_id": "0" * 32, "attempted": False, "described": False}
    path.write_text(json.dumps(left))
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    assert list(tracker.send_waiting()["outcome"]) == ["running"]  # this process is alive
    path.write_text(json.dumps(left | {"owner": f"{host}:4194305"}))  # above any process id
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    assert sorted(run.info.status for run in runs_of(tmp_path)) == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("uri", ["http://", "http://host:port", "https:///runs"])
def test_a_malformed_address_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracking\.uri must be like http://host:5000"):
        MlflowTracker(uri=uri, folder=str(tmp_path))


def test_a_password_in_the_config_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"must hold no password, got http://\*\*\*@host"
    ) as caught:
        MlflowTracker(uri=f"http://ada:{SECRET}@host:5000", folder=str(tmp_path))
    assert SECRET not in str(caught.value)
