"""A sweep gives the same whatever its jobs are launched by; joblib: test_shared_tracking.py."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from newsimg.run import CONF_DIR

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SWEEP = ["reranker=identity,aesthetics", "weight.value=0,0.3", "task.n_sheet_queries=0"]


def sweep(folder, cache, *options):
    """Sweep over forty of the sample's articles; the cache is empty unless `options` name one."""
    from newsimg.data.sample import SampleDataset

    settings = {"split": "val", "subset": None, "seed": 28, "pool": "split"}
    queries = SampleDataset(name="sample", **settings).load().queries
    folder.mkdir()
    with (folder / "subset.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(query.query_id, query.title) for query in queries[:40]]
        csv.writer(file).writerows([("article_id", "article_title"), *rows])
    data = ["data.split=all", "data.subset=subset.csv"]
    if not any(option.startswith("cache.dir=") for option in options):
        data.append("cache.dir=cache")
    done = subprocess.run(
        [sys.executable, "-m", "newsimg.run", "-m", *data, *SWEEP, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NEWSIMG_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_jobs(folder)


def read_jobs(folder):
    """Return the metrics by reranker and weight of all jobs, which must be those of one parent."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'multirun' / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    jobs = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in jobs} == {parent.info.run_id}
    assert parent.data.metrics["n_finished"] == len(jobs) == 4
    rows = [
        {name: run.data.params[name] for name in ("reranker", "weight")} | run.data.metrics
        for run in jobs
    ]
    return pd.DataFrame(rows).set_index(["reranker", "weight"]).sort_index().sort_index(axis=1)


@pytest.fixture(scope="module")
def basic(tmp_path_factory, sample_newsroom):
    """The basic launcher's metrics, and its cache."""
    folder = tmp_path_factory.mktemp("basic") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEWSIMG_CACHE", str(sample_newsroom.parent))
        return sweep(folder, sample_newsroom.parent), folder / "cache"


def assert_same_science(jobs, expected):
    science = [name for name in expected if not name.startswith("cache/")]
    pd.testing.assert_frame_equal(jobs[science], expected[science], check_exact=True)


def test_rays_workers_give_bit_for_bit_what_one_process_gives(basic, tmp_path, sample_cache):
    pytest.importorskip("ray", reason="needs the extra newsimg[ray]")
    jobs = sweep(tmp_path / "run", sample_cache, "hydra/launcher=ray", "hydra.launcher.n_workers=2")
    assert_same_science(jobs, basic[0])
    # Who embeds has loaded a model: each worker does so at most once.
    assert 1 <= (jobs["cache/embeddings_computed"] > 0).sum() <= 2


def test_submitits_jobs_give_bit_for_bit_what_one_process_gives(basic, tmp_path, sample_cache):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    expected, cache = basic
    # Four processes at once; they take embeddings from a cache, as the jobs of a cluster may.
    options = ("hydra/launcher=submitit_cpus", f"cache.dir={cache}")
    jobs = sweep(tmp_path / "run", sample_cache, *options)
    assert_same_science(jobs, expected)
    assert (jobs["cache/embeddings_computed"] == 0).all()


def test_the_slurm_preset_names_queue_gpus_time_and_requeueing():
    """No queue is at hand: this composes what would be submitted."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", ["hydra/launcher=slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("submitit_launcher.SlurmLauncher")
    assert launcher.partition is None
    assert (launcher.gpus_per_node, launcher.timeout_min, launcher.max_num_timeout) == (1, 240, 3)
    assert launcher.additional_parameters.requeue
