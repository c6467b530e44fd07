"""Eight processes that track runs in one folder and one database at the same time."""

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

from result import Result

sys.path.append(str(Path(__file__).parents[1] / "support"))
from postgres_server import run_postgres
from tracking_check import check_tracking

N_PROCESSES = 8


def track(folder: Path, uri: str | None, process: int, n: int) -> None:
    """Track `n` runs, each with metrics and a file."""
    from newsimg.datatypes import Job
    from newsimg.tracking.mlflow import MlflowTracker

    tracker = MlflowTracker(uri=uri, folder=str(folder))
    for i in range(n):
        output = folder / "single" / f"{process}-{i}"
        output.mkdir(parents=True)
        job = Job("news", f"run {process}-{i}", {"process": process, "i": i}, {}, output)
        with tracker.track(job):
            (output / "queries.csv").write_text(f"{process},{i}\n")
            tracker.log_metrics({"hits_at_1": i / n, "process": process})
            tracker.log_artifacts(output)


def try_store(n: int, folder: Path, uri: str | None) -> Result:
    """Track `n` runs by eight processes; check that the store has each completely and once."""
    result = Result(f"runs of {N_PROCESSES} processes: {'SQLite' if uri is None else 'PostgreSQL'}")
    context = multiprocessing.get_context("spawn")
    share = max(1, n // N_PROCESSES)
    processes = [
        context.Process(target=track, args=(folder, uri, number, share))
        for number in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    fault = f"exit codes {codes}" if any(codes) else ""
    try:
        records = check_tracking(folder, uri)
        if len(records) != N_PROCESSES * share:
            fault += f" {len(records)} records of {N_PROCESSES * share} runs"
    except AssertionError as error:
        fault += f" {error!r}"
    for _ in range(N_PROCESSES * share):
        result.add("tracked once")
    if fault:
        result.faults.append(f"{folder}: {fault}")
    return result


def make_part(database: str) -> Callable[[int, int, Path], Result]:
    """Return the part of the campaign for a database: sqlite or postgres."""

    def run(n: int, seed: int, folder: Path) -> Result:
        if database == "sqlite":
            return try_store(n, folder, None)
        with run_postgres() as uri:
            return try_store(n, folder, uri)

    return run
