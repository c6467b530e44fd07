"""Runs whose store is unreachable, rejects them or is locked, with real servers and files."""

import io
import os
import shutil
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from tracking_check import check_tracking

from newsimg.datatypes import Job
from newsimg.storage.files import read_checked_json, write_checked_json
from newsimg.tracking.mlflow import SWEEP_VARIABLE, MlflowTracker
from newsimg.tracking.record import edit_record, find_records, read_record

SECRET = "swordfish-4711"


def runs_of(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def track(folder: Path, output_dir: Path, tracker: MlflowTracker | None = None) -> None:
    """Track a run with a param, a tag, a metric and a file."""
    output_dir.mkdir(parents=True, exist_ok=True)
    tracker = tracker or MlflowTracker(uri=None, folder=str(folder))
    with tracker.track(Job("news", "a run", {"a": 1}, {"config_hash": "abc"}, output_dir)):
        (output_dir / "found.txt").write_text("seven")
        tracker.log_metrics({"hits": 0.7})
        tracker.log_artifacts(output_dir)


@pytest.fixture
def refusing_server():
    """The URL of a server that responds to every request with 401."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_run_of_an_unreachable_server_is_sent_later_with_its_original_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{SECRET}@127.0.0.1:9")
    track(tmp_path, tmp_path / "single")
    output = capsys.readouterr().out
    assert output.count("cannot send runs to http://***@127.0.0.1:9 (connection refused)") == 1
    assert "1 run waits to be sent  newsimg task=sync" in output
    assert SECRET not in output
    (path,) = find_records(tmp_path)
    assert SECRET not in path.read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    # `find_finished` also finds the run on disk, and sends it.
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


def test_a_partially_sent_run_is_completed_and_not_duplicated(tmp_path: Path) -> None:
    track(tmp_path, tmp_path / "single")
    (path,) = find_records(tmp_path)
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with edit_record(path) as record:  # as if the first response had been lost
        record.run_id, record.described, record.sent = None, False, False
    assert list(tracker.send_waiting()["outcome"]) == ["already there"]
    with edit_record(path) as record:
        record.sent, record.run_id = False, None
    (run,) = runs_of(tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:  # as if interrupted before the end
        database.execute("update runs set end_time = null, status = 'RUNNING'")
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    (again,) = runs_of(tmp_path)
    assert again.info.run_id == run.info.run_id
    assert (again.info.status, again.data.metrics) == ("FINISHED", {"hits": 0.7})
    history = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_metric_history(
        run.info.run_id, "hits"
    )
    assert len(history) == 1


def test_no_metrics_are_lost_if_a_local_store_fails_at_the_end_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with tracker.track(Job("news", "a run", {}, {}, tmp_path / "single")):
        tracker.log_metrics({"hits": 0.7})
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute(
                "create trigger full before insert on metrics "
                "begin select raise(abort, 'disk full'); end"
            )
    assert "cannot send runs to" in (output := capsys.readouterr().out)
    assert "disk full" in output
    assert list(tracker.send_waiting()["outcome"].str[:16]) == ["waiting: refused"]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("drop trigger full")
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    (run,) = runs_of(tmp_path)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"hits": 0.7})


def test_a_server_that_rejects_the_run_is_an_error_before_any_work(
    refusing_server: str, tmp_path: Path
) -> None:
    tracker = MlflowTracker(uri=refusing_server, folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"rejects runs.*401"):
        tracker.open_sweep("news", "sweep", tmp_path)
    with pytest.raises(ValueError, match=r"rejects runs.*401"):
        track(tmp_path, tmp_path / "single", tracker)
    assert not find_records(tmp_path)


def test_a_run_whose_process_died_is_sent_as_killed(tmp_path: Path) -> None:
    track(tmp_path, tmp_path / "single")
    (path,) = find_records(tmp_path)
    left = read_checked_json(path) | {"status": "RUNNING", "end_time": None, "sent": False}
    host = left["owner"].rpartition(":")[0]
    left |= {"run_id": None, "record_id": "0" * 32, "attempted": False, "described": False}
    write_checked_json(path, left)
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    assert list(tracker.send_waiting()["outcome"]) == ["running"]  # this process is alive
    write_checked_json(path, left | {"owner": f"{host}:4194305"})  # above any process id
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    assert sorted(run.info.status for run in runs_of(tmp_path)) == ["FINISHED", "KILLED"]


@pytest.fixture
def faulty_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MLflow's server in this process; requests that contain `fails_on` fail with 500."""
    from mlflow.server import app, handlers
    from werkzeug.serving import make_server

    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{tmp_path / 'server.db'}")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(tmp_path / "served"))
    monkeypatch.setattr(handlers, "_tracking_store", None)
    # Creating the tables may take longer than the timeout of a request.
    MlflowClient(os.environ["_MLFLOW_SERVER_FILE_STORE"]).search_experiments()
    state = SimpleNamespace(fails_on=b"nothing")

    def answer(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if state.fails_on in body:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        return app.wsgi_app(environ | {"wsgi.input": io.BytesIO(body)}, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.uri = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowTracker:
    """A tracker with an open sweep, known to jobs by the environment as in other processes."""
    monkeypatch.setenv(SWEEP_VARIABLE, "")  # restored at the end
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    tracker.open_sweep("news", "sweep", tmp_path / "sweep")
    return tracker


def test_a_job_still_running_when_its_sweep_is_closed_is_sent_when_it_ends(
    sweep: MlflowTracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = MlflowTracker(uri=None, folder=str(tmp_path))
    (output_dir := tmp_path / "sweep" / "0").mkdir()
    with job.track(Job("news", "job", {"a": 1}, {}, output_dir)):
        path = Path(os.environ[SWEEP_VARIABLE])
        sweep.close_sweep("FINISHED", {}, None, "")
        assert "1 job runs on, and is sent when ended" in capsys.readouterr().out
        assert sorted(run.info.status for run in runs_of(tmp_path)) == ["FINISHED", "RUNNING"]
        assert list(sweep.send_waiting()["outcome"]) == ["running"]
        os.environ[SWEEP_VARIABLE] = str(path)  # as in a separate process
        (output_dir / "found.txt").write_text("seven")
        job.log_metrics({"hits": 0.7})
        job.log_artifacts(output_dir)
    _, record = check_tracking(tmp_path)
    assert (record["status"], record["metrics"]) == ("FINISHED", {"hits": 0.7})


def test_a_requeued_job_resumes_its_run(sweep: MlflowTracker, tmp_path: Path) -> None:
    output_dir = tmp_path / "sweep" / "0"
    track(tmp_path, output_dir)
    (path,) = (output_dir / ".tracking").glob("*.json")
    with edit_record(path) as record:  # as if it had been interrupted
        record.end("KILLED", 1000, "interrupted")
        record.metrics = {}
    assert sorted(sweep.send_waiting()["outcome"]) == ["running", "sent"]
    (run,) = (run for run in runs_of(tmp_path) if run.info.run_name == "a run")
    assert (run.info.status, run.data.tags["error"]) == ("KILLED", "interrupted")
    track(tmp_path, output_dir)
    assert list(sweep.load_jobs()["status"]) == ["FINISHED"]
    sweep.close_sweep("FINISHED", {}, None, "")
    _, job = check_tracking(tmp_path)
    assert (job["status"], job["metrics"]) == ("FINISHED", {"hits": 0.7})


def test_a_run_marked_as_sent_is_repaired_if_the_store_is_incomplete(tmp_path: Path) -> None:
    for name in ("repaired", "complete", "edited", "unwanted"):
        track(tmp_path, tmp_path / name)
    ids = {path.parts[-3]: read_record(path).run_id for path in find_records(tmp_path)}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.set_tag(ids["edited"], "mlflow.note.content", "my notes")
    client.delete_run(ids["unwanted"])
    with sqlite3.connect(tmp_path / "mlflow.db") as database:  # an incomplete run
        database.execute("update runs set status='RUNNING' where run_uuid=?", (ids["repaired"],))
        for table in ("metrics", "latest_metrics"):
            database.execute(f"delete from {table} where run_uuid=?", (ids["repaired"],))
    shutil.rmtree(client.get_run(ids["repaired"]).info.artifact_uri.removeprefix("file://"))
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    table = tracker.send_waiting()
    assert list(zip(table["folder"], table["outcome"], strict=True)) == [("repaired", "sent")]
    assert len(tracker.send_waiting()) == 0
    assert client.get_run(ids["unwanted"]).info.lifecycle_stage == "deleted"
    note = client.get_run(ids["edited"]).data.tags["mlflow.note.content"]
    assert note == "my notes"
    shutil.rmtree(tmp_path / "unwanted")
    assert len(check_tracking(tmp_path)) == 3


@pytest.mark.parametrize("lacking", ["metrics", "params", "tags", "files"])
def test_data_missing_in_the_store_is_sent(lacking: str, tmp_path: Path) -> None:
    track(tmp_path, tmp_path / "single")
    (run,) = runs_of(tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        if lacking == "metrics":
            database.execute("update latest_metrics set value = 0.6")
            database.execute("update metrics set value = 0.6")
        elif lacking != "files":
            database.execute(f"delete from {lacking} where key in ('a', 'config_hash')")
    if lacking == "files":
        (Path(run.info.artifact_uri.removeprefix("file://")) / "found.txt").unlink()
    with pytest.raises((AssertionError, FileNotFoundError)):
        check_tracking(tmp_path)
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    assert list(tracker.send_waiting()["outcome"]) == ["sent"]
    check_tracking(tmp_path)


def test_a_damaged_record_or_failing_run_does_not_prevent_others_from_being_sent(
    tmp_path: Path, faulty_server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # no run is sent at first
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        for name in ("0", "1", "2", "3"):
            track(tmp_path, tmp_path / name)
    paths = {path.parts[-3]: path for path in find_records(tmp_path)}
    paths["1"].write_text("{")
    faulty_server.fails_on = read_record(paths["0"]).record_id.encode()
    tracker = MlflowTracker(uri=faulty_server.uri, folder=str(tmp_path))
    outcomes = dict(tracker.send_waiting()[["folder", "outcome"]].itertuples(index=False))
    assert "is not the record of a run" in outcomes["1"]
    assert outcomes["0"] == "waiting: no answer (too many 500 error responses)"
    assert (outcomes["2"], outcomes["3"]) == ("sent", "sent")


def test_the_reason_of_an_outage_is_extracted_from_a_long_error_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking-box.invalid:5000")
    track(tmp_path, tmp_path / "single")
    assert "Failed to resolve 'tracking-box.invalid'" in capsys.readouterr().out


def test_a_sweep_warns_once_about_an_unreachable_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SWEEP_VARIABLE, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    sweep = MlflowTracker(uri=None, folder=str(tmp_path))
    sweep.open_sweep("news", "sweep", tmp_path / "sweep")
    for number in ("0", "1"):
        track(tmp_path, tmp_path / "sweep" / number)  # with separate trackers
    sweep.close_sweep("FINISHED", {}, None, "")
    output = capsys.readouterr().out
    assert output.count("(connection refused); runs continue") == 1, output
    assert "3 runs wait to be sent" in output


@pytest.mark.parametrize("uri", ["http://", "http://host:port", "https:///runs"])
def test_a_malformed_uri_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracking\.uri must be like http://host:5000"):
        MlflowTracker(uri=uri, folder=str(tmp_path))


def test_a_password_in_the_config_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"must not contain a password, got http://\*\*\*@host"
    ) as caught:
        MlflowTracker(uri=f"http://ada:{SECRET}@host:5000", folder=str(tmp_path))
    assert SECRET not in str(caught.value)
