"""The list of a sweep's jobs, as its tracker knows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.evaluation.stats import correct_holm
from newsimg.reporting.console import console
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.best import N_ROWS
from newsimg.reporting.sweeps.fitting import print_fitting
from newsimg.reporting.sweeps.runs import list_swept, shorten_names, write_value
from newsimg.tracking.params import OTHERS

MAX_REASON = 100  # characters of a failed job's reason on the console; `sweep.csv` has all of it


def print_jobs(jobs: pd.DataFrame, names: Sequence[str], columns: Sequence[str]) -> None:
    """Print the jobs if they are few, and in any case those that failed, with their reasons."""
    failed = jobs[jobs["status"] != "FINISHED"]
    shown = jobs if len(jobs) <= N_ROWS else failed
    if len(shown):
        print_fitting(show_jobs(shown, names, columns), len(names) + 1, "jobs")
    if len(jobs) > N_ROWS:
        console.print(f"all {len(jobs)} jobs are in sweep.csv")
    for number, job in failed[failed["error"] != ""].iterrows():
        console.print(f"job {number}: {job['error'][:MAX_REASON]}")
    n_failed = int((jobs["status"] == "FAILED").sum())
    if n_failed:
        console.print(f"{n_failed} of {len(jobs)} jobs failed")


def show_jobs(jobs: pd.DataFrame, names: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return the jobs as rounded texts; the status only where it is not the same for all."""
    short = shorten_names([name.removeprefix("params.") for name in names])
    shown = pd.DataFrame({"job": [str(number) for number in jobs.index]})
    for name in names:
        shown[short[name.removeprefix("params.")]] = list(map(write_param, jobs[name]))
    for name in columns:
        form = ".2g" if name == "p_holm" else ".4f"
        texts = ["" if pd.isna(value) else f"{value:{form}}" for value in jobs[name]]
        shown[call_metric(name)] = texts
    if (jobs["status"] != "FINISHED").any():
        shown["status"] = list(jobs["status"])
    return shown


def name_swept(jobs: pd.DataFrame, sweep_dir: Path) -> list[str]:
    """Return the columns of params that were swept; by the jobs' folders, or by what differs."""
    swept = [f"params.{name}" for name in list_swept(sweep_dir)]
    return [name for name in swept if name in jobs] or varying_params(jobs)


def list_columns(jobs: pd.DataFrame, objective: str | None) -> list[str]:
    """Return the columns of metrics that a list of jobs shows."""
    stages = [objective, objective.replace("reranked/", "retrieval/")] if objective else []
    stages += ["reranked/mrr_at_10", "p_holm"]
    return [name for name in dict.fromkeys(stages) if name in jobs]


def call_metric(name: str) -> str:
    """Return how a column of metrics is headed."""
    stage, _, measure = name.rpartition("/")
    if name == "p_holm":
        return "p"
    if stage not in ("reranked", "retrieval"):
        return name.replace("_", " ").replace("/", " ")
    return name_measure(measure) if stage == "reranked" else f"{stage} {name_measure(measure)}"


def write_param(text: object) -> str:
    """Return a param, which is a text, with at most four digits if it is a number."""
    try:
        return write_value(float(str(text)))
    except ValueError:
        return "" if text is None else str(text)


def add_holm(jobs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the jobs with `p_holm`, the p value of the gain corrected for the number of jobs.

    NaN for jobs that change nothing for any query, which are no tests and do not count.
    """
    gain = f"delta/{measure}"
    if f"{gain}_p" not in jobs:
        return jobs
    ends = jobs[[gain, f"{gain}_low", f"{gain}_high"]]
    p_values = jobs[f"{gain}_p"].mask((ends == 0).all(axis="columns"))
    return jobs.assign(p_holm=correct_holm(p_values.to_numpy(dtype=float)))


def describe_objective(jobs: pd.DataFrame, names: Sequence[str], objective: str | None) -> str:
    """Return the largest value of the objective in a sentence; empty if no job has a value.

    Args:
        jobs: The jobs.
        names: Columns of params that were swept.
        objective: Metric that the sweep maximises, or None.
    """
    finished = jobs[jobs["status"] == "FINISHED"] if len(jobs) else jobs
    if objective is None or objective not in finished or finished[objective].isna().all():
        return ""
    best = finished.loc[finished[objective].idxmax()]
    ends = [best.get(f"{objective}_{end}", np.nan) for end in ("low", "high")]
    interval = "" if pd.isna(ends).any() else f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})"
    short = shorten_names([name.removeprefix("params.") for name in names])
    values = [f"{short[n.removeprefix('params.')]} {write_param(best[n])}" for n in names]
    of = f"job {best.name}" + (f" ({', '.join(values)})" if values else "")
    return f"largest {call_metric(objective)}: {best[objective]:.4f}{interval}, {of}"


def varying_params(jobs: pd.DataFrame) -> list[str]:
    """Return the columns of the compared params that differ between the jobs.

    All that a sweep has several values of is among the compared params.
    """
    params = [str(name) for name in jobs if str(name).startswith("params.")]
    compared = [name for name in params if not name.startswith(f"params.{OTHERS}")]
    return [name for name in compared if len(jobs[name].unique()) > 1]
