"""A sweep on a real tracking server with PostgreSQL, which is killed in the middle of it."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from postgres_server import run_postgres
from tracking_server import TrackingServer

from newsimg.datatypes import Job
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.record import find_records, read_record

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SWEEP = ["-m", "reranker=identity,aesthetics", "weight.value=0,0.3,1", "task.n_sheet_queries=0"]
SECRET = "swordfish-4711"


@pytest.fixture(scope="module")
def database():
    """The address of an empty database of a PostgreSQL that runs for these tests alone."""
    with run_postgres() as url:
        yield url


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    server = TrackingServer(tmp_path_factory.mktemp("server"), database)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def options(tmp_path, sample_cache):
    """Thirty of the sample's articles, and a store of their own."""
    from newsimg.data.sample import SampleDataset

    settings = {"split": "val", "subset": None, "seed": 28, "pool": "split"}
    queries = SampleDataset(name="sample", **settings).load().queries[:30]
    with (tmp_path / "subset.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(query.query_id, query.title) for query in queries]
        csv.writer(file).writerows([("article_id", "article_title"), *rows])
    return ["data.split=all", f"data.subset={tmp_path / 'subset.csv'}", "cache.dir=store"]


@pytest.mark.parametrize(
    ("login", "says"),
    [
        (f"locked:{SECRET}-but-wrong", "password authentication failed"),
        ("locked", "no password supplied"),
        ("nobody", 'role "nobody" does not exist'),
        ("newsimg", 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_refuses_the_login_ends_the_run_at_once(
    login, says, database, tmp_path, monkeypatch
):
    import psycopg2

    with (
        psycopg2.connect(database.replace("+psycopg2", "")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("drop role if exists locked; create role locked login password 'key'")
    name = "nowhere" if login == "newsimg" else "postgres"
    uri = database.replace("newsimg@", f"{login}@").replace("/postgres", f"/{name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"rejects runs: .* rejects the login.*{says}") as caught:
        tracker.open_sweep("news", "a sweep", tmp_path / "sweep")
    assert time.monotonic() - start < 60  # MLflow by itself asks for 100 s
    assert SECRET not in str(caught.value)
    assert not find_records(tmp_path)


def test_a_database_that_does_not_answer_is_asked_once_and_stops_no_run(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"postgresql+psycopg2://ada:{SECRET}@127.0.0.1:9/mlflow"
    )
    start = time.monotonic()
    with MlflowTracker(uri=None, folder=str(tmp_path)).track(
        Job("news", "a run", {}, {}, tmp_path)
    ):
        pass
    assert time.monotonic() - start < 60
    said = capsys.readouterr().out
    assert "(connection refused); runs continue" in said
    assert "1 run waits to be sent" in said
    assert SECRET not in said


def science_of(runs):
    rows = [
        {name: run.data.params[name] for name in ("reranker", "weight")} | run.data.metrics
        for run in runs
    ]
    table = pd.DataFrame(rows).set_index(["reranker", "weight"]).sort_index()
    return table[sorted(name for name in table if not name.startswith("cache/"))]


def all_runs(uri):
    client = mlflow.MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return client, parents, [run for run in runs if "mlflow.parentRunId" in run.data.tags]


def read_bytes_below(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_server_killed_in_the_middle_of_a_sweep_has_every_run_once_after_a_sync(
    server, options, newsimg, newsimg_here, tmp_path, monkeypatch
):
    address = {
        "MLFLOW_TRACKING_URI": server.uri.replace("//", f"//ada:{SECRET}@"),
        "PYTHONPATH": str(ROOT),
    }
    launcher = ["hydra/launcher=joblib_cpus", "hydra.launcher.n_jobs=2", "folder=shared"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "newsimg.run", *SWEEP, *options, *launcher],
        env=os.environ | address,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def finished():
        records = [read_record(path) for path in find_records(tmp_path / "shared")]
        return [record for record in records if record.parent and record.sent]

    while not finished() and sweep.poll() is None:
        time.sleep(0.02)
    server.kill()
    output, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, output
    records = [read_record(path) for path in find_records(tmp_path / "shared")]
    jobs = [record for record in records if record.parent]
    assert len(records) == len(jobs) + 1 == 7
    assert [job.status for job in jobs] == ["FINISHED"] * 6
    waiting = [record for record in records if not record.sent]
    assert 2 <= len(waiting) < 7  # what was done before is sent, what was done after is not
    assert output.count("cannot send runs to") == 1, output
    sync = f"newsimg task=sync folder={tmp_path / 'shared'}"
    assert f"{len(waiting)} runs wait to be sent  {sync}" in output

    # The sweep has ended as any other, with the science of one process and a local store.
    monkeypatch.chdir(tmp_path)
    own = [option for option in options if not option.startswith("cache.dir")]
    local = newsimg_here(*SWEEP, *own, "cache.dir=own", "folder=local")  # all computed again
    assert local.code == 0, local.output
    _, _, expected = all_runs(f"sqlite:///{tmp_path / 'local' / 'mlflow.db'}")
    (summary,) = (tmp_path / "shared" / "sweep").rglob("sweep.csv")
    (local_summary,) = (tmp_path / "local" / "sweep").rglob("sweep.csv")
    by = ["name", "params.weight"]
    tables = [pd.read_csv(path).sort_values(by) for path in (summary, local_summary)]
    pd.testing.assert_frame_equal(*[table.reset_index(drop=True) for table in tables])

    failed = newsimg("task=sync", "folder=shared", env=address)
    assert failed.code == 1
    assert f"{len(waiting)} of {len(waiting)} runs could not be sent" in failed.stderr
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address["MLFLOW_TRACKING_URI"])
    sent = newsimg_here("task=sync", "folder=shared")
    assert sent.code == 0, sent.output
    again = newsimg_here("task=sync", "folder=shared")
    assert "0 runs sent, 0 already there, 0 running" in again.stdout

    client, (parent,), children = all_runs(server.uri)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    # Which worker embeds has loaded a model: each does so at most once.
    computed = [run.data.metrics["cache/embeddings_computed"] for run in children]
    assert 1 <= sum(n > 0 for n in computed) <= 2
    assert parent.data.metrics["n_finished"] == len(children) == 6
    pd.testing.assert_frame_equal(science_of(children), science_of(expected), check_exact=True)
    for run in [parent, *children]:
        (record,) = (r for r in records if r.record_id == run.data.tags["newsimg.record"])
        assert (run.info.start_time, run.info.end_time) == (record.start_time, record.end_time)
        assert run.data.params == record.params
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert names >= ({"config.yaml", "reranked.run"} if record.parent else {"sweep.csv"})
        assert ".tracking" not in names
    note = parent.data.tags["mlflow.note.content"]
    for run in children:
        assert f"(#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})" in note

    said = output + failed.output + sent.output + again.output
    assert SECRET not in said
    assert SECRET.encode() not in read_bytes_below(tmp_path / "shared")
    assert SECRET not in str([run.data.to_dictionary() for run in [parent, *children]])
