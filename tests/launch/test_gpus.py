"""A GPU for each process of a sweep."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys; from newsimg.launch.gpus import pin_gpu; print(pin_gpu({}), flush=True); input()"
)


def hold(job, gpus, folder):
    """Start a process that pins a GPU, and return it with what it printed."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    environment |= {"NEWSIMG_GPUS": gpus}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(job)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def test_processes_get_gpus_of_their_own_by_the_number_of_their_job_and_share_when_none_is_left(
    tmp_path,
):
    held = [hold(job, "2,5", tmp_path) for job in (3, 1, 0)]
    none = hold(0, "", tmp_path)
    for process, _ in [*held, none]:
        process.communicate("\n")
    found = [printed for _, printed in [*held, none]]
    assert found == ["5", "2", "2", ""]  # job 1 would have 5, which job 3 has


@pytest.mark.slow
def test_the_jobs_of_a_launcher_run_with_their_gpu_in_the_environment(
    newsimg, tiny_options, tmp_path
):
    done = newsimg(
        "-m",
        "hydra/launcher=submitit_gpus",
        *tiny_options,
        "weight.value=0,0.5",
        env={"NEWSIMG_GPUS": "0,1", "TMPDIR": str(tmp_path)},
    )
    assert done.code == 0, done.output
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'multirun' / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.weight LIKE '0%'")
    assert {run.data.params["weight"]: run.data.tags["gpu"] for run in runs} == {
        "0.0": "0",
        "0.5": "1",
    }
