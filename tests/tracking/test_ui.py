"""Links to MLflow's pages, and the views of sweeps that it keeps; tests/e2e looks at the pages."""

import base64
import json
import re
import socket
import zlib

import pytest
from mlflow import MlflowClient

from newsimg.datatypes import Job
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.record import SWEEP_VARIABLE
from newsimg.tracking.ui import MAX_VIEWS, VIEW_TAG, share_view


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    monkeypatch.setenv(SWEEP_VARIABLE, "")  # put back in the end
    return MlflowTracker(uri=None, folder=str(tmp_path / "runs"))


def views_of(tracker):
    (experiment,) = MlflowClient(tracker.uri).search_experiments(filter_string="name = 'news'")
    return {
        name.removeprefix(VIEW_TAG): text
        for name, text in experiment.tags.items()
        if name.startswith(VIEW_TAG)
    }


def test_a_sweep_has_a_view_of_its_jobs_under_the_key_of_its_link(tracker, tmp_path):
    swept = ["weight.value", "index.ef_search"]
    tracker.open_sweep("news", "sweep", tmp_path / "runs" / "s", "reranked/hits_at_5", swept)
    tracker.close_sweep("FINISHED", {}, None, "")
    link = tracker.describe()["in MLflow"]
    ((key, text),) = views_of(tracker).items()
    assert link.endswith(f"/runs?workflowType=machine_learning&viewStateShareKey={key}")
    kind, _, packed = json.loads(text)["state"].partition(";")
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    run_id = state["searchFilter"].split("'")[1]
    client = MlflowClient(tracker.uri)
    assert client.get_run(run_id).info.run_name == "sweep"
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{run_id}'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`reranked/hits_at_5`", False)
    assert [name.split("`")[1] for name in state["selectedColumns"]] == [
        *("reranker", "normalization", "weight"),
        *("reranked/hits_at_5", "reranked/hits_at_1", "reranked/mrr_at_10"),
        *("delta/hits_at_5", "delta/hits_at_5_p", "index.ef_search"),
    ]


def test_the_views_of_old_sweeps_are_deleted_and_those_of_other_people_are_not(tracker, tmp_path):
    tracker.open_sweep("news", "sweep", tmp_path / "runs" / "s")
    tracker.close_sweep("FINISHED", {}, None, "")
    client = MlflowClient(tracker.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'news'")
    client.set_experiment_tag(experiment.experiment_id, f"{VIEW_TAG}mine", "whatever it is")
    client.set_experiment_tag(experiment.experiment_id, f"{VIEW_TAG}sweep-x", "edited by hand")
    for i in range(MAX_VIEWS + 3):
        share_view(client, experiment.experiment_id, f"{i:012}" + 20 * "0", {"sweep": "parent"})
    share_view(client, experiment.experiment_id, "f" * 32, {"sweep": "parent"})
    share_view(client, experiment.experiment_id, "f" * 32, {"sweep": "parent"})  # sent again
    kept = set(views_of(tracker))
    assert {"mine", "sweep-ffffffffffff"} < kept
    assert len(kept) == MAX_VIEWS + 1


def test_a_sweep_that_was_refused_leaves_no_view(tracker, tmp_path):
    tracker.open_sweep("news", "sweep", tmp_path / "runs" / "s")
    assert len(views_of(tracker)) == 1
    tracker.drop_sweep()
    assert views_of(tracker) == {}


def test_a_port_in_use_is_named_with_what_to_type(tracker, tmp_path):
    with tracker.track(Job("news", "a run", {}, {}, tmp_path / "runs" / "r")):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expected = rf"task.port must be free, got {port}.*newsimg-ui task.port={port + 1}"
        with pytest.raises(ValueError, match=expected), tracker.serve(port):
            pass


def test_runs_on_a_server_are_shown_by_it_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@tracking-box:5000/mlflow/")
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    address = "http://tracking-box:5000/mlflow/#/experiments"
    with tracker.serve(1) as served:
        assert served == (address, False)
    assert tracker.describe() == {"in MLflow": address}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("tracking=none", "tracking must name a store of runs to show, got tracking=none"),
        ("folder=empty", "folder must hold runs to show, got .*empty, which holds none"),
        ("task.port=0", r"task.port must be in \[1, 65535\], got 0"),
    ],
)
def test_what_cannot_be_shown_is_told(option, message, newsimg_here):
    result = newsimg_here("task=ui", option)
    assert result.code != 0
    assert re.search(message, result.output)
