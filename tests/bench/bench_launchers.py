"""Duration of the same sweep with each launcher, and what a killed worker costs.

    python tests/bench/bench_launchers.py [--n-jobs 6] [--kill] [--only ray]

Runs a sweep over weights on the sample newsroom with a warm cache on the command line. With --kill,
a process that runs a job is killed when a third of the jobs have ended; the same command with
resume=true must then end with the table of an uninterrupted sweep. Launchers that are not installed
are skipped.
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "basic": "hydra-core",
    "joblib_cpus": "hydra-joblib-launcher",
    "submitit_cpus": "hydra-submitit-launcher",
    "ray": "ray",
}
SWEEP = ["reranker=identity", "task.n_sheet_queries=0", "task.report=false"]


def start(launcher: str, folder: Path, cache: str, n_jobs: int) -> "subprocess.Popen[bytes]":
    """Start the sweep."""
    options = [f"hydra/launcher={launcher}", f"folder={folder}", f"cache.dir={cache}"]
    weights = f"weight.value=range(0,1,{1 / n_jobs})"
    command = [sys.executable, "-m", "newsimg.run", "-m", *options, *SWEEP, weights, "resume=true"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def sweep(launcher: str, folder: Path, cache: str, n_jobs: int) -> float:
    """Run the sweep to its end and return its wall time in seconds."""
    began = time.perf_counter()
    status = start(launcher, folder, cache, n_jobs).wait()
    assert status == 0, (folder / "output.txt").read_text()[-2000:]
    return time.perf_counter() - began


def kill_worker(launcher: str, folder: Path, cache: str, n_jobs: int) -> str:
    """Start the sweep, kill a process that runs a job, and return how the sweep ended."""
    process = start(launcher, folder, cache, n_jobs)
    while len(list(folder.glob("sweep/*/*/*/queries.csv"))) < n_jobs // 3:
        assert process.poll() is None, (folder / "output.txt").read_text()[-2000:]
        time.sleep(0.05)
    while not (running := find_workers(folder)):
        time.sleep(0.05)
    os.kill(running[0], signal.SIGKILL)
    status = process.wait()
    n_ended = len(list(folder.glob("sweep/*/*/*/queries.csv")))
    return f"killed: status {status}, {n_ended} jobs had ended"


def find_workers(folder: Path) -> list[int]:
    """Return the processes that run a job."""
    found = []
    for path in folder.glob("sweep/**/.tracking/*.json"):
        record = json.loads(path.read_text())
        if record["parent"] and record["status"] == "RUNNING":
            found.append(int(record["owner"].rpartition(":")[2]))
    return found


def count_jobs(folder: Path) -> int:
    """Return the number of finished jobs of a sweep in MLflow."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute(
            "select count(*) from runs r join tags t on r.run_uuid = t.run_uuid "
            "where t.key = 'mlflow.parentRunId' and r.status = 'FINISHED'"
        ).fetchone()[0]


def read_table(folder: Path) -> bytes:
    """Return the table of the last sweep in a folder."""
    return sorted(folder.glob("sweep/*/*/summary/table.csv"))[-1].read_bytes()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-jobs", type=int, default=6)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--only", choices=list(LAUNCHERS))
    options = parser.parse_args()
    print(f"{'launcher':<16}{'package':<28}{'version':<10}{'seconds':>8}{'tracked':>9}")
    with tempfile.TemporaryDirectory() as name:
        cache, n_jobs = f"{name}/cache", options.n_jobs
        sweep("basic", Path(name) / "warm", cache, n_jobs)
        expected = read_table(Path(name) / "warm")
        for launcher, package in LAUNCHERS.items():
            presets = ROOT / "conf" / "hydra" / "launcher"
            try:
                number = version(package)
            except PackageNotFoundError:
                continue
            if options.only not in (None, launcher):
                continue
            if launcher != "basic" and not (presets / f"{launcher}.yaml").exists():
                continue
            folder = Path(name) / launcher
            ended = kill_worker(launcher, folder, cache, n_jobs) if options.kill else ""
            seconds = sweep(launcher, folder, cache, n_jobs)
            table = "same" if read_table(folder) == expected else "ANOTHER"
            tracked = count_jobs(folder)
            line = f"{launcher:<16}{package:<28}{number:<10}{seconds:8.1f}{tracked:9d}"
            print(f"{line}  {table} table; {ended}", flush=True)


if __name__ == "__main__":
    main()
