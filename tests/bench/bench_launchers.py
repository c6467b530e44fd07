"""The same sweep, whatever launches its jobs.

    python tests/bench/bench_launchers.py

Two rerankers at three weights on the sample newsroom from a warm cache, by the command line.
Launchers that are not installed are left out.
"""

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
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "ray": "ray",
}
SWEEP = ["reranker=identity,aesthetics", "weight.value=0,0.3,1", "task.n_sheet_queries=0"]


def sweep(launcher: str, folder: Path, cache: str) -> float:
    """Run the sweep and return its wall time in seconds."""
    options = [f"hydra/launcher={launcher}", f"folder={folder}", f"cache.dir={cache}"]
    start = time.perf_counter()
    command = [sys.executable, "-m", "newsimg.run", "-m", *options, *SWEEP]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def count_jobs(folder: Path) -> int:
    """Return how many jobs are tracked as finished below a sweep."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute(
            "select count(*) from runs r join tags t on r.run_uuid = t.run_uuid "
            "where t.key = 'mlflow.parentRunId' and r.status = 'FINISHED'"
        ).fetchone()[0]


def main() -> None:
    """Print the table."""
    print(f"{'launcher':<16}{'package':<28}{'version':<10}{'seconds':>8}{'tracked':>9}")
    with tempfile.TemporaryDirectory() as name:
        cache = f"{name}/cache"
        sweep("basic", Path(name) / "warm", cache)
        for launcher, package in LAUNCHERS.items():
            presets = ROOT / "conf" / "hydra" / "launcher"
            try:
                number = version(package)
            except PackageNotFoundError:
                continue
            if launcher != "basic" and not (presets / f"{launcher}.yaml").exists():
                continue
            folder = Path(name) / launcher
            seconds = sweep(launcher, folder, cache)
            tracked = count_jobs(folder)
            print(f"{launcher:<16}{package:<28}{number:<10}{seconds:8.1f}{tracked:9d}")


if __name__ == "__main__":
    main()
