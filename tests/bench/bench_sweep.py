"""What a sweep costs: against one run, and against a shell loop that computes everything anew.

    python tests/bench/bench_sweep.py [rounds] [reranker ...]

Both sides run the real command line on the sample newsroom, in processes of their own, one after
the other in each round; the table gives medians over the rounds.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

WEIGHTS = [f"{weight / 20:.2f}" for weight in range(11)]
ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> float:
    """Run the command line and return its wall time in seconds."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "newsimg.run", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def seconds_per_job(folder: Path) -> float:
    """Return the median time between the starts of a sweep's jobs, from MLflow's own record."""
    with sqlite3.connect(folder / "multirun" / "mlflow.db") as database:
        starts = [
            start / 1000
            for (start,) in database.execute(
                "select start_time from runs r join tags t on r.run_uuid = t.run_uuid "
                "where t.key = 'mlflow.parentRunId' order by start_time"
            )
        ]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    return statistics.median(gaps[1:])


def warm_sweep(rounds: int) -> None:
    """One run against eleven weights, when the cache has every embedding."""
    single, sweep, job = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            run(folder)  # makes the newsroom, the cache and the tracking database
            single.append(run(folder))
            sweep.append(run(folder, "-m", f"weight.value={','.join(WEIGHTS)}"))
            job.append(seconds_per_job(folder))
    one, many = statistics.median(single), statistics.median(sweep)
    print(f"{'warm cache':<34}{'seconds':>9}{'ratio':>8}")
    print(f"{'one run':<34}{one:9.2f}{1:8.2f}")
    print(f"{'sweep of 11 weights':<34}{many:9.2f}{many / one:8.2f}")
    print(f"{'a further job of the sweep':<34}{statistics.median(job):9.2f}")


def cold_sweep(rounds: int, rerankers: list[str]) -> None:
    """A sweep of rerankers and weights from a cold cache, against a loop that keeps nothing."""
    loop, sweep = [], []
    for _ in range(rounds):
        seconds = 0.0
        for reranker in rerankers:
            for weight in WEIGHTS:
                with tempfile.TemporaryDirectory() as name:
                    cache = f"cache.dir={name}/cache"
                    options = (f"reranker={reranker}", f"weight.value={weight}")
                    seconds += run(Path(name), cache, *options)
        loop.append(seconds)
        with tempfile.TemporaryDirectory() as name:
            cache = f"cache.dir={name}/cache"
            options = (f"reranker={','.join(rerankers)}", f"weight.value={','.join(WEIGHTS)}")
            sweep.append(run(Path(name), "-m", cache, *options))
    plain, ours = statistics.median(loop), statistics.median(sweep)
    jobs = len(rerankers) * len(WEIGHTS)
    print(f"\n{f'cold cache, {jobs} jobs':<34}{'seconds':>9}{'ratio':>8}")
    print(f"{'loop, everything anew':<34}{plain:9.2f}{plain / ours:8.2f}")
    print(f"{'sweep':<34}{ours:9.2f}{1:8.2f}")


if __name__ == "__main__":
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    warm_sweep(n_rounds)
    cold_sweep(n_rounds, sys.argv[2:] or ["identity", "aesthetics", "hubness"])
