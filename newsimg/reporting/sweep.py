"""Summary of a sweep: the best weights, the jobs, and the significance of gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.evaluation.stats import CONFIDENCE, describe_gain
from newsimg.interfaces import Tracker
from newsimg.reporting.console import print_outcome, show_weights
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.best import (
    N_ROWS,
    BestRun,
    describe_best,
    find_best,
    list_best,
    print_best,
)
from newsimg.reporting.sweeps.compared import compare_best
from newsimg.reporting.sweeps.drawing import draw_sweep
from newsimg.reporting.sweeps.fitting import print_text, to_markdown
from newsimg.reporting.sweeps.jobs import (
    add_holm,
    describe_objective,
    list_columns,
    name_swept,
    print_jobs,
    show_jobs,
    write_param,
)
from newsimg.reporting.sweeps.paper import make_table
from newsimg.reporting.sweeps.paper_table import Layout
from newsimg.reporting.sweeps.runs import (
    FinishedRun,
    count_tested,
    describe,
    find_runs,
    name_option,
    name_rows,
    shorten_names,
    write_value,
)


@dataclass(frozen=True)
class OpenSweep:
    """A sweep whose jobs are running.

    Attributes:
        tracker: Tracker of the parent run and the jobs.
        objective: Metric that the sweep maximises, or None.
        sweep_dir: Folder of the jobs' folders.
        n_compared: Number of the best jobs on the page that compares them; 0 for none.
    """

    tracker: Tracker
    objective: str | None
    sweep_dir: Path
    n_compared: int = 0

    def close(self, status: str) -> None:
        """Write the summary and close the parent run.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        output_dir = self.sweep_dir / "summary"
        jobs = self.tracker.load_jobs()
        runs: list[FinishedRun] = []
        metrics: dict[str, float] = {}
        try:
            runs = find_finished(jobs, self.sweep_dir)
            if len(jobs) or runs:
                output_dir.mkdir(parents=True, exist_ok=True)
                metrics = summarize_sweep(jobs, runs, self.objective, output_dir)
            if status != "KILLED":
                self._compare(jobs, runs, output_dir)
        finally:
            note = describe_jobs(jobs, runs, self.objective, self.sweep_dir)
            written = output_dir if output_dir.is_dir() else None
            self.tracker.close_sweep(status, metrics, written, note)
        if self.sweep_dir.is_dir():  # it is not where the jobs' configs could not be composed
            print_outcome(written or self.sweep_dir, self.tracker.describe())

    def _compare(self, jobs: pd.DataFrame, runs: Sequence[FinishedRun], output_dir: Path) -> None:
        unfinished = set(jobs.index[jobs["status"] != "FINISHED"]) if len(jobs) else set()
        measure = choose_measure(self.objective, runs) if runs else "hits_at_1"
        parts = self.sweep_dir, output_dir, self.n_compared, unfinished
        if compare_best(runs, measure, *parts):
            print_text("compare.html has the best jobs, headline by headline")


def summarize_sweep(
    jobs: pd.DataFrame, runs: Sequence[FinishedRun], objective: str | None, output_dir: Path
) -> dict[str, float]:
    """Print the best of each combination and the jobs, and write them with plots and tables.

    `best.csv`, `table.md`, `table.tex`, `table.csv`, `sweep.png` and `curves.png` are of the jobs
    that measured a ranking, as their folders have them, whatever tracks them; `sweep.csv` is of
    those that the tracker knows.

    Args:
        jobs: One row per job: `name`, `status`, `error`, `link`, `params.*` and metrics.
        runs: Finished runs, see `find_finished`.
        objective: Metric that the sweep maximises, or None.
        output_dir: Folder of the files, next to the jobs' folders.

    Returns:
        The best value of the objective and the numbers of jobs, of those that finished and of
        those that failed, for the sweep's own run; of the best job `best/p_holm`, of the best
        weight of any job `curve/best_weight` and so on.
    """
    if runs:
        report_runs(runs, choose_measure(objective, runs), output_dir)
    if jobs.empty:
        return {}
    jobs = add_holm(jobs, (objective or "").removeprefix("reranked/").removeprefix("delta/"))
    names = name_swept(jobs, output_dir.parent)
    columns = list_columns(jobs, objective)
    reasons = ["error"] if (jobs["error"] != "").any() else []
    jobs[["name", "status", *names, *columns, *reasons]].to_csv(
        output_dir / "sweep.csv", index=False
    )
    print_jobs(jobs, names, columns)
    if told := describe_other(jobs, runs, names, objective):
        print_text(told)
    finished, failed = (jobs[jobs["status"] == status] for status in ("FINISHED", "FAILED"))
    metrics: dict[str, float] = {"n_jobs": len(jobs), "n_finished": len(finished)}
    metrics["n_failed"] = len(failed)
    if objective is None or objective not in finished or finished[objective].isna().all():
        return metrics
    best = finished.loc[finished[objective].idxmax()]
    metrics[f"best/{objective}"] = float(best[objective])
    if "p_holm" in jobs and not pd.isna(best["p_holm"]):
        metrics["best/p_holm"] = float(best["p_holm"])
    if choose_measure(objective, runs) != "hits_at_1":
        return metrics
    return metrics | find_best_plateau(finished, names)


def report_runs(runs: Sequence[FinishedRun], measure: str, output_dir: Path) -> None:
    """Print and write the best of each combination; write the table of a paper and the plots."""
    names, best = name_rows(runs), find_best(runs, measure)
    list_best(best, names, measure).to_csv(output_dir / "best.csv", index=False)
    print_best(runs, best, names, measure)
    judge_best(runs, best, names, measure)
    also = [
        name
        for name in ("mrr_at_10", "hits_at_1")
        if f"reranked/{name}" in runs[0].statistics.index
    ]
    metrics = dict.fromkeys([measure, *also])
    make_table(runs, Layout(metrics=tuple(metrics)[:2])).write(output_dir)
    draw_sweep(runs, best, measure, output_dir)


def judge_best(
    runs: Sequence[FinishedRun], best: Sequence[BestRun], names: Sequence[str], measure: str
) -> None:
    """Print the best gain and the other significant ones in sentences."""
    n_tested, label = count_tested(runs, measure), name_measure(measure)
    if not n_tested:
        return
    words = describe_gain(label, best[0].gain(measure), n_tested)
    print_text(f"best by {label}: {call_run(best[0].run, names)}. Over retrieval {words}")
    others = [
        f"{call_run(one.run, names)} ({one.gain(measure).value:+.4f}, p = {one.p_holm:.2g})"
        for one in best[1:N_ROWS]
        if one.p_holm < 1 - CONFIDENCE and one.gain(measure).value > 0
    ]
    if others:
        print_text(f"also significantly different from zero: {'; '.join(others)}")


def describe_jobs(
    jobs: pd.DataFrame, runs: Sequence[FinishedRun], objective: str | None, sweep_dir: Path
) -> str:
    """Return the sweep's text in Markdown: the best of each combination, then the jobs.

    The jobs are listed with what was swept, the best first, each with a link to its run; of more
    than twelve only those that failed.
    """
    parts = []
    if runs:
        measure = choose_measure(objective, runs)
        links = set(jobs["link"]) if "link" in jobs else set()
        names = name_rows(runs)
        parts.append(describe_best(runs, find_best(runs, measure), names, measure, links))
    if len(jobs):
        names, columns = name_swept(jobs, sweep_dir), list_columns(jobs, objective)
        if told := describe_other(jobs, runs, names, objective):
            parts.append(f"{told}.")
        if columns:
            jobs = jobs.sort_values(columns[0], ascending=False, kind="stable")
        listed = jobs if len(jobs) <= N_ROWS else jobs[jobs["status"] != "FINISHED"]
        if len(listed) < len(jobs):
            parts.append(f"All {len(jobs)} jobs are in `sweep.csv`.")
        if len(listed):
            shown = show_jobs(listed, names, columns)
            shown["job"] = [
                f"[{number}]({link})"
                for number, link in zip(shown["job"], listed["link"], strict=True)
            ]
            if (listed["error"] != "").any():
                shown["error"] = list(listed["error"])
            parts.append(to_markdown([list(shown), *map(list, shown.itertuples(index=False))]))
    return "\n\n".join(parts)


def find_finished(jobs: pd.DataFrame, sweep_dir: Path) -> list[FinishedRun]:
    """Return the runs in a sweep's folder, except those recorded as unfinished."""
    unfinished = set(jobs["link"][jobs["status"] != "FINISHED"]) if "link" in jobs else set()
    return [run for run in find_runs(sweep_dir) if run.link not in unfinished]


def choose_measure(objective: str | None, runs: Sequence[FinishedRun]) -> str:
    """Return the measure of the objective; Hits@1 if it is none, or not all runs have it."""
    measure = (objective or "").rpartition("/")[2]
    values = [run.statistics["value"].get(f"reranked/{measure}", np.nan) for run in runs]
    return measure if values and np.isfinite(values).all() else "hits_at_1"


def describe_other(
    jobs: pd.DataFrame, runs: Sequence[FinishedRun], names: Sequence[str], objective: str | None
) -> str:
    """Return the best job by the objective; empty where the best runs are those by it anyway."""
    if runs and objective == f"reranked/{choose_measure(objective, runs)}":
        return ""
    return describe_objective(jobs, names, objective)


def call_run(run: FinishedRun, names: Sequence[str]) -> str:
    """Return the swept values of a run in one line."""
    weight = "" if run.ignores_weight else f", weight {write_value(run.weight)}"
    return describe(run, names) + weight


def find_best_plateau(jobs: pd.DataFrame, names: Sequence[str] = ()) -> dict[str, float]:
    """Print the best weight of all jobs' curves."""
    if "curve/best_hits_at_1" not in jobs or jobs["curve/best_hits_at_1"].isna().all():
        return {}
    metrics = ["curve/best_hits_at_1", "curve/plateau_low", "curve/plateau_high"]
    best = jobs.loc[jobs["curve/best_hits_at_1"].idxmax()]
    value, *ends = (float(best[name]) for name in metrics)
    low, high = show_weights(*ends)
    own = [name.removeprefix("params.") for name in names if name != "params.weight"]
    short = shorten_names(own)
    where = [name_option(name, write_param(best[f"params.{name}"]), short) for name in own]
    of = f" ({', '.join(where)})" if where else ""
    print_text(f"largest Hits@1 of any weight: {value:.4f}, from {low} to {high}{of}")
    metrics.append("curve/best_weight")
    return {name: float(best[name]) for name in metrics}
