"""Sweeps whose process, or a job of which, is stopped: what each launcher leaves is recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_node import SlurmNode
from tracking_check import check_tracking
from waiting_part import OPTIONS as WAITING

from newsimg.tracking.processes import is_alive

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATIENCE = 400  # seconds, for a machine with other things to do
JOBLIB = ["hydra/launcher=joblib_cpus", "hydra.launcher.n_jobs=2"]
OPTUNA = [f"hydra.sweeper.{option}" for option in ("n_jobs=2", "report_split=null")]
LAUNCHERS = {
    "basic": ([], "hydra", 1),
    "joblib": (JOBLIB, "hydra_plugins.hydra_joblib_launcher", 2),
    "optuna": (["hydra/sweeper=optuna", *OPTUNA, *JOBLIB], "optuna", 2),
    "ray": (["hydra/launcher=ray", "hydra.launcher.n_workers=2"], "ray", 2),
    "submitit": (["hydra/launcher=submitit_cpus"], "hydra_plugins.hydra_submitit_launcher", 3),
}


class Sweep:
    """A sweep in a process group of its own, as a terminal makes one."""

    def __init__(self, options: list[str], env: dict[str, str] | None = None) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
        with Path("said").open("w") as said:  # not a pipe, which jobs that run on would hold open
            self.process = subprocess.Popen(
                [sys.executable, "-m", "newsimg.run", "-m", *options, *WAITING, "folder=runs"],
                env=os.environ | {"PYTHONPATH": path} | (env or {}),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait_for(self, n_jobs: int) -> list[int]:
        """Wait until so many jobs are at work; return their processes, by weight."""
        wait_until(lambda: len(list(Path("at").glob("*"))) >= n_jobs, self.process)
        running = [record for record in read_records() if record["parent"]]
        running.sort(key=lambda record: record["name"])
        return [int(record["owner"].rpartition(":")[2]) for record in running]

    def end(self) -> str:
        """Wait until the sweep's process ends; return what it said."""
        self.process.wait(timeout=PATIENCE)
        return Path("said").read_text()


def wait_until(is_so, process=None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert process is None or process.poll() is None, Path("said").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_records() -> list[dict]:
    return [json.loads(path.read_text()) for path in Path("runs").rglob(".tracking/*.json")]


def is_gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def start(tiny_options):
    """Start a sweep of three jobs with the given options; in the end nothing of it is left."""
    sweeps = []

    def start_sweep(options, needs="hydra", weights="0,0.2,0.4", env=None):
        pytest.importorskip(needs)
        sweeps.append(Sweep([*tiny_options, f"weight.value={weights}", *options], env))
        return sweeps[-1]

    yield start_sweep
    for sweep in sweeps:
        try:
            os.killpg(sweep.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        sweep.process.wait()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_ends_a_sweep_and_its_jobs_as_killed(launcher, start):
    options, needs, n_at_once = LAUNCHERS[launcher]
    sweep = start(options, needs)
    jobs = sweep.wait_for(n_at_once)
    os.killpg(sweep.process.pid, signal.SIGINT)
    said = sweep.end()
    assert sweep.process.returncode == 130, said
    assert "Traceback" not in said.partition("stopped\n")[0]  # submitit's own controllers have one
    wait_until(lambda: all(map(is_gone, jobs)))
    records = check_tracking(Path("runs"))
    assert {record["status"] for record in records} == {"KILLED"}
    assert len(records) > n_at_once


@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_a_worker_that_is_killed_ends_the_sweep_and_the_other_jobs(launcher, start):
    options, needs, n_at_once = LAUNCHERS[launcher]
    sweep = start(options, needs)
    jobs = sweep.wait_for(n_at_once)
    os.kill(jobs[0], signal.SIGKILL)
    said = sweep.end()
    assert sweep.process.returncode == 1, said
    wait_until(lambda: all(map(is_gone, jobs)))
    parent, *records = check_tracking(Path("runs"))
    assert parent["status"] == "FAILED"
    assert {record["status"] for record in records} == {"KILLED"}
    assert records[0]["late_tags"]["error"] == "the process ended without closing the run"


def test_jobs_that_run_on_after_their_sweep_send_themselves(start):
    options, needs, n_at_once = LAUNCHERS["submitit"]
    sweep = start(options, needs)
    jobs = sweep.wait_for(n_at_once)
    os.kill(jobs[0], signal.SIGKILL)
    said = sweep.end()
    assert sweep.process.returncode == 1, said
    assert "2 jobs run on, and are sent when ended" in said
    Path("go").touch()
    wait_until(lambda: all(map(is_gone, jobs)))
    parent, *records = check_tracking(Path("runs"))
    assert parent["status"] == "FAILED"
    assert [record["status"] for record in records] == ["KILLED", "FINISHED", "FINISHED"]
    assert all(len(record["metrics"]) > 50 for record in records[1:])


def test_joblibs_workers_end_with_a_killed_parent_and_record_it(start, newsimg_here):
    options, needs, n_at_once = LAUNCHERS["joblib"]
    sweep = start(options, needs)
    jobs = sweep.wait_for(n_at_once)
    os.kill(sweep.process.pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, jobs)))
    records = [record for record in read_records() if record["parent"]]
    assert [record["late_tags"]["error"] for record in records] == ["interrupted"] * 2
    synced = newsimg_here("task=sync", "folder=runs")  # the sweep itself could say nothing
    assert synced.code == 0, synced.output
    assert {record["status"] for record in check_tracking(Path("runs"))} == {"KILLED"}


@pytest.fixture
def slurm(monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    node = SlurmNode()
    node.start()
    monkeypatch.setenv("SLURM_CONF", str(node.conf))
    yield node
    node.stop()


def test_slurms_jobs_run_on_after_ctrl_c_and_one_that_is_queued_again_is_one_run(slurm, start):
    launcher = "hydra.launcher."
    small = ["cpus_per_task=1", "mem_gb=1", "timeout_min=30", "gpus_per_node=null"]
    options = ["hydra/launcher=slurm", *(launcher + option for option in small)]
    sweep = start(options, weights="0,0.2")
    sweep.wait_for(2)
    first, second = (record["slurm_job"] for record in read_records() if record["slurm_job"])
    job = first.partition(".")[0]
    assert [is_alive("elsewhere:1", "", name) for name in (first, second)] == [True, True]
    slurm.ask("scontrol", "requeue", job)
    wait_until(lambda: f"{job}.1" in {record["slurm_job"] for record in read_records()})
    # Of other machines the queue alone can tell: not that job's first start, nor one long gone.
    names = (first, f"{job}.1", second, "4294000.0")
    assert [is_alive("elsewhere:1", "", name) for name in names] == [False, True, True, False]
    sweep.process.send_signal(signal.SIGINT)
    said = sweep.end()
    assert sweep.process.returncode == 130, said
    assert "2 jobs run on, and are sent when ended" in said
    Path("go").touch()
    wait_until(lambda: not slurm.ask("squeue", "--noheader").strip())
    parent, *records = check_tracking(Path("runs"))
    assert parent["status"] == "KILLED"
    assert [record["status"] for record in records] == ["FINISHED", "FINISHED"]
    assert all(len(record["metrics"]) > 50 for record in records)
