"""The comparison of the best jobs of a sweep."""

import logging
from collections.abc import Container, Sequence
from pathlib import Path

from newsimg.evaluation.ratings.curve import is_by_ratings
from newsimg.reporting.comparing.candidates import find_candidates
from newsimg.reporting.comparing.writing import PAGE, TESTS, Choices, compare_runs
from newsimg.reporting.results import FILE_NAME
from newsimg.reporting.sweeps.best import find_best
from newsimg.reporting.sweeps.runs import FinishedRun
from newsimg.storage.progress import announce

log = logging.getLogger(__name__)


def compare_best(
    runs: Sequence[FinishedRun],
    measure: str,
    sweep_dir: Path,
    output_dir: Path,
    n_compared: int,
    unfinished: Container[int] = (),
) -> bool:
    """Write `compare.html` and `compare.csv` of the best jobs of a sweep.

    Of task=evaluate these are the best of each combination, see `find_best`; a job whose ranks do
    not depend on the weight, as with reranker=identity, is the baseline and comes first, else the
    best one is. Of task=infer these are the first jobs. Other tasks have no candidates.

    Args:
        runs: Finished runs of task=evaluate and task=tune.
        measure: Measure that the sweep maximises.
        sweep_dir: Folder of the jobs' folders.
        output_dir: Folder of the files.
        n_compared: Number of jobs; 0 for none.
        unfinished: Numbers of jobs of task=infer that are left out.

    Returns:
        Whether the files were written.
    """
    folders = choose_best(runs, measure, n_compared)
    # Ratings are not among the candidates.
    metrics = ["hits_at_1" if is_by_ratings(measure) else measure, "mrr_at_10"]
    known = runs[0].statistics.index if runs else ()
    if not runs:
        folders = list_inferred(sweep_dir, unfinished)[:n_compared]
        metrics = ["hits_at_1"]
    if min(n_compared, len(folders)) < 2:
        return False
    announce("comparing the best jobs")
    output_dir.mkdir(parents=True, exist_ok=True)
    kept = tuple(m for m in dict.fromkeys(metrics) if not runs or f"reranked/{m}" in known)
    try:
        compared = compare_runs(folders, Choices(len(folders), 0, kept, False), output_dir / PAGE)
    except ValueError as error:
        log.warning("%s is not written: %s", PAGE, error)
        return False
    compared.tests.to_csv(output_dir / TESTS, index=False)
    return True


def choose_best(runs: Sequence[FinishedRun], measure: str, n_compared: int) -> list[Path]:
    """Return the folders of the jobs to compare, the baseline first; see `compare_best`."""
    usable = [run for run in runs if find_candidates(run.folder) is not None]
    if not usable or not n_compared:
        return []
    best = [one.run for one in find_best(usable, measure)]
    data = best[0].config["data"]
    same = [run for run in best if run.config["data"] == data]
    baseline = [run for run in same if run.ignores_weight][:1]
    others = [run for run in same if run not in baseline]
    return [run.folder for run in [*baseline, *others][:n_compared]]


def list_inferred(sweep_dir: Path, unfinished: Container[int]) -> list[Path]:
    """Return the folders of the finished jobs of task=infer, in the order of the jobs."""
    jobs = [path.parent for path in sweep_dir.glob(f"*/{FILE_NAME}") if path.parent.name.isdigit()]
    finished = [job for job in jobs if int(job.name) not in unfinished]
    return sorted(finished, key=lambda job: int(job.name))
