"""Runs in real MLflow stores, including failed and interrupted ones."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from omegaconf import OmegaConf
from PIL import Image as PILImage

from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.params import flatten

ROOT = Path(__file__).resolve().parents[2]


def runs_of(folder: Path) -> list[Run]:
    """Return all runs of a folder's store, oldest first."""
    return runs_in(f"sqlite:///{folder.absolute() / 'mlflow.db'}")


def runs_in(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(
        experiments, run_view_type=ViewType.ALL, order_by=["attributes.start_time ASC"]
    )


def artifacts_of(run: Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def parent_of(run: Run) -> str | None:
    return run.data.tags.get("mlflow.parentRunId")


def test_config_tags_metrics_and_files_of_a_run_are_logged(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(
        *tiny_aesthetics, "folder=runs", "weight.value=0.3", "task.n_sheet_queries=4"
    )
    assert result.code == 0, result.output
    (run,) = runs_of(tmp_path / "runs")
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags
    folder = artifacts_of(run)

    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    for name, value in flatten(config).items():  # type: ignore[arg-type]
        logged = run.data.params
        compared = {"weight.value": "weight", "data.split": "split", "top_k": "top_k"}
        assert logged[compared.get(name, f"yaml.{name}")] == str(value), name
    assert run.data.params["weight"] == "0.3"
    assert run.data.params["index"] == "flat"
    assert run.data.tags["backbone"] == "sample"
    assert run.data.tags["reranker"] == "aesthetics"
    assert run.data.tags["weight"] == "0.3"
    experiment = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db").get_experiment(
        run.info.experiment_id
    )
    assert experiment.name == "newsimages"

    files = {path.name for path in folder.iterdir()}
    assert files >= {"config.yaml", "retrieval.run", "reranked.run", "qrels.txt", "queries.csv"}
    with PILImage.open(folder / "contact_sheet.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.height > 4 * 100
    check_metrics(run)


def check_metrics(run: Run) -> None:
    """Compute Hits and MRR from the logged run files, and compare with the logged metrics."""
    folder, metrics = artifacts_of(run), run.data.metrics
    qrels = dict(line.split()[::2] for line in (folder / "qrels.txt").read_text().splitlines())
    ranks: dict[str, dict[str, int]] = {"retrieval": {}, "reranked": {}}
    for stage, found in ranks.items():
        for line in (folder / f"{stage}.run").read_text().splitlines():
            query_id, _, image_id, rank, _, tag = line.split()
            assert tag == stage
            if qrels[query_id] == image_id:
                found[query_id] = int(rank)
    n = len(qrels)
    assert metrics["n_queries"] == n == 60
    for stage, found in ranks.items():
        for k in (1, 5, 10):
            hits = sum(rank <= k for rank in found.values()) / n
            mrr = sum(1 / rank for rank in found.values() if rank <= k) / n
            assert metrics[f"{stage}/hits_at_{k}"] == pytest.approx(hits)
            assert metrics[f"{stage}/mrr_at_{k}"] == pytest.approx(mrr)
            difference = metrics[f"reranked/hits_at_{k}"] - metrics[f"retrieval/hits_at_{k}"]
            assert metrics[f"delta/hits_at_{k}"] == pytest.approx(difference)
    assert metrics["ceiling"] == pytest.approx(len(ranks["retrieval"]) / n)
    table = pd.read_csv(folder / "queries.csv", dtype={"query_id": str, "image_id": str})
    assert dict(zip(table["query_id"], table["image_id"], strict=True)) == qrels
    for stage, found in ranks.items():
        logged = table.set_index("query_id")[f"{stage}_rank"].dropna().astype(int).to_dict()
        assert logged == found
        assert table[f"{stage}/hits_at_1"].mean() == pytest.approx(metrics[f"{stage}/hits_at_1"])
    won = {q for q in qrels if ranks["reranked"].get(q) == 1 and ranks["retrieval"].get(q) != 1}
    lost = {q for q in qrels if ranks["retrieval"].get(q) == 1 and ranks["reranked"].get(q) != 1}
    assert set(table["query_id"][table["outcome"] == "helped"]) == won
    assert set(table["query_id"][table["outcome"] == "hurt"]) == lost
    assert (metrics["n_helped"], metrics["n_hurt"]) == (len(won), len(lost))
    changed = table["retrieval_first"] != table["reranked_first"]
    assert metrics["n_changed"] == changed.sum()


def test_weight_0_gives_the_retrieval_order_and_1_the_rerankers_order(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str], tmp_path: Path
) -> None:
    result = newsimg_here("-m", *tiny_aesthetics, "folder=runs", "weight.value=0,1")
    assert result.code == 0, result.output
    jobs = {run.data.params["weight"]: run for run in runs_of(tmp_path / "runs")[1:]}

    def order(run: Run, stage: str) -> list[list[str]]:
        lines = (artifacts_of(run) / f"{stage}.run").read_text().splitlines()
        return [line.split()[:4] for line in lines]

    assert order(jobs["0.0"], "reranked") == order(jobs["0.0"], "retrieval")
    # The rating is a picture's own: at weight 1 any two pictures stand in one order everywhere.
    above: set[tuple[str, str]] = set()
    rows: dict[str, list[str]] = {}
    for query_id, _, image_id, _ in order(jobs["1.0"], "reranked"):
        rows.setdefault(query_id, []).append(image_id)
    for shown in rows.values():
        above |= {(a, b) for i, a in enumerate(shown) for b in shown[i + 1 :]}
    assert not {(b, a) for a, b in above} & above


def test_a_sweep_is_a_parent_run_created_before_its_children_with_a_table_and_a_plot(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str], tmp_path: Path
) -> None:
    result = newsimg_here("-m", *tiny_aesthetics, "folder=runs", "weight.value=0,0.2,0.5")
    assert result.code == 0, result.output
    parent, *children = runs_of(tmp_path / "runs")
    assert parent_of(parent) is None
    assert [parent_of(child) for child in children] == [parent.info.run_id] * 3
    assert all(run.info.status == "FINISHED" for run in (parent, *children))
    assert all(parent.info.start_time <= child.info.start_time for child in children)
    assert parent.info.run_name == "weight.value=0,0.2,0.5"
    for child in children:
        check_metrics(child)
    table = pd.read_csv(artifacts_of(parent) / "sweep.csv")
    expected = [child.data.metrics["reranked/hits_at_1"] for child in children]
    assert list(table["params.weight"]) == [0.0, 0.2, 0.5]
    assert list(table["reranked/hits_at_1"]) == pytest.approx(expected)
    with PILImage.open(artifacts_of(parent) / "sweep.png") as plot:
        assert plot.format == "PNG"
    assert parent.data.metrics["n_jobs"] == parent.data.metrics["n_finished"] == 3
    assert parent.data.metrics["best/reranked/hits_at_1"] == pytest.approx(max(expected))
    assert "NEWSIMG_SWEEP_RECORD" not in os.environ
    link = f"/#/experiments/{parent.info.experiment_id}/runs?workflowType=machine_learning&view"
    (line,) = (line for line in result.stdout.splitlines() if link in line)
    assert line.startswith("in MLflow      http://127.0.0.1:5000/#/")


def test_a_job_that_fails_is_recorded_as_failed_with_its_error_and_so_is_its_sweep(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here("-m", *tiny_options, "folder=runs", "weight.value=0.1,2,0.3")
    assert result.code == 2
    assert "weight.value must be in [0, 1], got 2" in result.stderr
    parent, *children = runs_of(tmp_path / "runs")
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in children][:2] == ["FINISHED", "FAILED"]
    error = "ValueError: weight.value must be in [0, 1], got 2"
    assert children[1].data.tags["error"].startswith(error)
    assert "NEWSIMG_SWEEP_RECORD" not in os.environ


def test_a_single_run_that_fails_is_recorded_as_failed_with_its_error(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    assert newsimg_here(*tiny_options, "folder=runs", "data.subset=nowhere.csv").code == 2
    (run,) = runs_of(tmp_path / "runs")
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "FileNotFoundError: no list of articles at nowhere.csv"
    assert run.info.end_time is not None


def test_a_single_run_whose_config_is_refused_is_not_recorded(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    assert newsimg_here(*tiny_options, "folder=runs", "top_k=0").code == 2
    assert not list((tmp_path / "runs").rglob("*.json"))
    assert not list((tmp_path / "runs").rglob("mlflow.db"))


def test_a_sweep_with_an_invalid_store_ends_before_its_first_job(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    result = newsimg_here("-m", *tiny_options, "tracking.uri=nonsense://store", "seed=1,2")
    assert result.code == 2
    assert "nonsense" in result.stderr
    assert "#0" not in result.stdout


def test_a_sweep_without_an_objective_finishes(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(
        "-m", *tiny_options, "folder=runs", "weight.value=0.1,0.2", "objective=null"
    )
    assert result.code == 0, result.output
    assert [run.info.status for run in runs_of(tmp_path / "runs")] == ["FINISHED"] * 3


def test_an_unknown_objective_is_refused_with_the_available_ones(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    result = newsimg_here("-m", *tiny_options, "tracking=none", "seed=1,2", "objective=hits")
    assert result.code == 2
    assert re.search(r"objective must be one of .*reranked/hits_at_1.*got 'hits'", result.stderr)


def test_without_tracking_only_the_runs_folder_is_written(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(*tiny_options, "folder=runs", "tracking=none")
    assert result.code == 0, result.output
    assert not list(tmp_path.rglob("*.db"))
    assert not list(tmp_path.rglob("mlruns"))
    assert "mlflow" not in result.stdout
    (folder,) = (path.parent for path in (tmp_path / "runs").rglob("reranked.run"))
    assert f"written to     {folder}" in result.stdout


def test_a_sweep_without_tracking_prints_its_table(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(
        "-m", *tiny_options, "folder=runs", "tracking=none", "weight.value=0.1,0.2"
    )
    assert result.code == 0, result.output
    assert not list(tmp_path.rglob("*.db"))
    assert result.stdout.count("reranked/hits_at_1 ") >= 2


def test_the_store_in_the_environment_is_used(
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    result = newsimg_here(*tiny_options, "folder=runs")
    assert result.code == 0, result.output
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    (run,) = runs_in(uri)
    assert run.info.status == "FINISHED"
    assert run.info.run_id in result.stdout
    assert f"newsimg-ui folder={tmp_path}/runs 'tracking.uri=\"{uri}\"'" in result.stdout


def test_the_command_to_compare_runs_is_quoted_for_a_folder_with_a_space(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(*tiny_options, "folder=my runs")
    assert result.code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if "newsimg-ui" in line)
    command = shlex.split(line.partition("served by")[2])
    assert command == ["newsimg-ui", f'folder="{tmp_path / "my runs"}"']
    (run,) = runs_of(tmp_path / "my runs")
    page = f"{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    assert f"in MLflow      http://127.0.0.1:5000/#/experiments/{page}\n" in result.stdout


SLOW = """
import time
from pathlib import Path

from newsimg.reranker.identity import IdentityReranker


class SlowReranker(IdentityReranker):
    def score(self, queries, candidates):
        Path("reached").touch()
        time.sleep(60)
        return super().score(queries, candidates)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "how"), [("single", signal.SIGTERM), ("sweep", signal.SIGINT)])
def test_a_run_interrupted_by_ctrl_c_or_a_scheduler_is_recorded_as_killed(
    mode: str, how: signal.Signals, tiny_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "slow_part.py").write_text(SLOW)
    sweep = ["-m", "weight.value=0.1,0.2"] if mode == "sweep" else []
    own = ["reranker._target_=slow_part.SlowReranker", "trusted_packages=[newsimg,slow_part]"]
    process = subprocess.Popen(
        [sys.executable, "-m", "newsimg.run", *sweep, *tiny_options, *own, "folder=runs"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 400
    while not Path("reached").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 130, stderr
    assert "stopped" in stderr
    assert "Traceback" not in stderr
    runs = runs_of(tmp_path / "runs")
    assert [run.info.status for run in runs] == ["KILLED"] * (2 if mode == "sweep" else 1)
    assert runs[-1].data.tags["error"] == "interrupted"


@pytest.mark.slow
def test_four_processes_that_start_in_an_empty_folder_lose_no_run(
    tiny_options: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "newsimg.run", *tiny_options, "folder=runs"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=500)
        assert process.returncode == 0, stderr
    runs = runs_of(tmp_path / "runs")
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert len({run.info.experiment_id for run in runs}) == 1


def test_logging_outside_of_a_run_is_refused(tmp_path: Path) -> None:
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    with pytest.raises(ValueError, match="no run is open"):
        tracker.log_metrics({"a": 1.0})


def test_flattening_preserves_lists_and_empty_groups() -> None:
    config = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}
    assert flatten(config) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": None, "g": {}}
