"""What a sweep found: a table of its jobs, plots of the objective, and what of it is chance."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from newsimg.evaluation.stats import Gain, correct_holm, describe_gain
from newsimg.reporting.console import console, print_outcome, print_table, show_weights
from newsimg.reporting.plots import label_line, name_measure, plot_curves
from newsimg.tracking.base import Tracker
from newsimg.tracking.params import OTHERS

MAX_REASON = 100  # characters of a failed job's reason in the table; `sweep.csv` has all of it


@dataclass(frozen=True)
class OpenSweep:
    """A sweep whose jobs are running.

    Attributes:
        tracker: Has the sweep's run, and knows its jobs.
        objective: The metric that the sweep looks for the largest value of, if there is one.
        sweep_dir: The folder that the jobs' folders lie in.
    """

    tracker: Tracker
    objective: str | None
    sweep_dir: Path

    def close(self, status: str) -> None:
        """Write the summary and close the sweep's run, however the sweep ended.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        output_dir = self.sweep_dir / "summary"
        jobs = self.tracker.load_jobs()
        metrics: dict[str, float] = {}
        try:
            if len(jobs):
                output_dir.mkdir(parents=True, exist_ok=True)
                metrics = summarize_sweep(jobs, self.objective, output_dir)
        finally:
            note = describe_jobs(jobs, self.objective)
            written = output_dir if output_dir.is_dir() else None
            self.tracker.close_sweep(status, metrics, written, note)
        if self.sweep_dir.is_dir():  # it is not where the jobs' configs could not be composed
            print_outcome(written or self.sweep_dir, self.tracker.describe())


def summarize_sweep(
    jobs: pd.DataFrame, objective: str | None, output_dir: Path
) -> dict[str, float]:
    """Print the jobs, and write `sweep.csv`, `sweep.png` and, from the jobs' folders, `curves.png`.

    The p values of the jobs' gains are corrected for their number, and the best gain is put in
    words: the best of many is often the luckiest.

    Args:
        jobs: One row per job: `name`, `status`, `error`, `params.*` and metrics.
        objective: The metric that the sweep looks for the largest value of; None for the table
            alone.
        output_dir: Where the files go; the jobs' folders lie beside it.

    Returns:
        The best value of the objective and the numbers of jobs, of those that finished and of
        those that failed, for the sweep's own run; of the best job `best/p_holm`, of the best
        weight of any job `curve/best_weight` and so on.
    """
    measure = (objective or "").removeprefix("reranked/")
    jobs = add_holm(jobs, measure)
    params = varying_params(jobs)
    stages = [objective, objective.replace("reranked/", "retrieval/")] if objective else []
    stages += ["reranked/mrr_at_10", "p_holm"]
    metrics = [name for name in dict.fromkeys(stages) if name in jobs]
    reasons = ["error"] if (jobs["error"] != "").any() else []
    table = jobs[["name", "status", *params, *metrics, *reasons]]
    table.to_csv(output_dir / "sweep.csv", index=False)
    shown = table.assign(**{name: jobs[name].str[:MAX_REASON] for name in reasons})
    print_table(shown.rename(columns=lambda name: name.removeprefix("params.")), "sweep")
    finished, failed = (jobs[jobs["status"] == status] for status in ("FINISHED", "FAILED"))
    if len(failed):
        console.print(f"{len(failed)} of {len(jobs)} jobs failed")
    counts: dict[str, float] = {"n_jobs": len(jobs), "n_finished": len(finished)}
    counts["n_failed"] = len(failed)
    if objective is None or objective not in finished or finished[objective].isna().all():
        return counts
    best = finished.loc[finished[objective].idxmax()]
    console.print(f"best {objective}: {best[objective]:.4f} ({best['name']})")
    plot_sweep(finished, params, objective, output_dir / "sweep.png")
    if curves := read_curves(output_dir.parent, measure):
        plot_curves(curves, measure, output_dir / "curves.png")
    return (
        counts
        | {f"best/{objective}": float(best[objective])}
        | judge_best(best, measure, int(jobs["p_holm"].notna().sum()) if "p_holm" in jobs else 0)
        | find_best_plateau(finished)
    )


def describe_jobs(jobs: pd.DataFrame, objective: str | None) -> str:
    """Return a table of the jobs in Markdown, the best first, each with a link to its run."""
    if jobs.empty:
        return ""
    columns = [name for name in (objective, "reranked/mrr_at_10") if name and name in jobs]
    if columns:
        jobs = jobs.sort_values(columns[0], ascending=False, kind="stable")
    reasons = ["error"] if (jobs["error"] != "").any() else []
    names = ["run", "status", *columns, *reasons]
    lines = [names, ["---"] * len(names)]
    for _, job in jobs.iterrows():
        values = ["" if pd.isna(job[name]) else f"{job[name]:.4f}" for name in columns]
        values += [job[name].replace("|", "\\|") for name in reasons]
        lines.append([f"[{job['name']}]({job['link']})", str(job["status"]), *values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def add_holm(jobs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the jobs with `p_holm`, the p value of the gain corrected for the number of jobs."""
    column = f"delta/{measure}_p"
    if column not in jobs:
        return jobs
    return jobs.assign(p_holm=correct_holm(jobs[column].to_numpy(dtype=float)))


def judge_best(best: pd.Series, measure: str, n_tried: int) -> dict[str, float]:
    """Say in words whether the best job's gain over retrieval can be told from zero."""
    if not n_tried or pd.isna(best["p_holm"]):
        return {}
    delta = f"delta/{measure}"
    gain = Gain(best[delta], best[f"{delta}_low"], best[f"{delta}_high"], best["p_holm"])
    console.print(f"over retrieval {describe_gain(name_measure(measure), gain, n_tried)}")
    return {"best/p_holm": float(best["p_holm"])}


def find_best_plateau(jobs: pd.DataFrame) -> dict[str, float]:
    """Report the best weight of any job's curve, of those tried and all others."""
    if "curve/best_hits_at_1" not in jobs or jobs["curve/best_hits_at_1"].isna().all():
        return {}
    names = ["curve/best_hits_at_1", "curve/plateau_low", "curve/plateau_high"]
    best = jobs.loc[jobs["curve/best_hits_at_1"].idxmax()]
    value, *ends = (float(best[name]) for name in names)
    low, high = show_weights(*ends)
    console.print(
        f"largest Hits@1 of any weight: {value:.4f}, from {low} to {high} "
        f"({best['params.reranker']}, {best['params.normalization']})"
    )
    names.append("curve/best_weight")
    return {name: float(best[name]) for name in names}


def read_curves(sweep_dir: Path, measure: str) -> dict[str, pd.DataFrame]:
    """Read the curves that the jobs wrote, labelled by what sets them apart but the weight."""
    overrides, curves = {}, {}
    for path in sorted(sweep_dir.rglob("curve.csv")):
        curve = pd.read_csv(path, usecols=lambda name: name in ("w_lo", "w_hi", measure))
        # A job that found its folder in use has one in it.
        hydra_dir = next(f for f in path.parents if (f / ".hydra").is_dir() or f == sweep_dir)
        texts = yaml.safe_load((hydra_dir / ".hydra" / "overrides.yaml").read_text())
        if measure in curve:
            overrides[path] = [text for text in texts if not text.startswith("weight.value=")]
            curves[path] = curve
    common = set.intersection(*map(set, overrides.values())) if overrides else set()
    labelled: dict[str, pd.DataFrame] = {}
    for path, texts in overrides.items():
        label = " ".join(text for text in texts if text not in common)
        labelled.setdefault(label or "all jobs", curves[path])
    return labelled


def varying_params(jobs: pd.DataFrame) -> list[str]:
    """Return the columns of params that set the jobs apart, not those that follow others.

    What a sweep has several values of is among the compared params, before all others.
    """
    params = [str(name) for name in jobs if str(name).startswith("params.")]
    compared = [name for name in params if not name.startswith(f"params.{OTHERS}")]
    return [name for name in compared if _varies(jobs[name])]


def plot_sweep(jobs: pd.DataFrame, params: list[str], objective: str, path: Path) -> None:
    """Draw the objective over the weights, a line for each combination of the other params."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it announces its font cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    others = [name for name in params if name != "params.weight"]
    weights = pd.to_numeric(jobs["params.weight"])
    over_weights = _varies(weights)
    if over_weights:
        groups = jobs.groupby(others, dropna=False) if others else [("", jobs)]
        for key, group in groups:
            line = pd.Series(group[objective].to_numpy(), index=weights[group.index]).sort_index()
            label = ", ".join(map(str, key if isinstance(key, tuple) else (key,)))
            axes.plot(line.index, line.to_numpy(), marker="o", label=label_line(label or objective))
        axes.set_xlabel("weight")
        axes.legend(fontsize="small")
    else:
        axes.barh(jobs["name"], jobs[objective])
        axes.invert_yaxis()
    retrieval = objective.replace("reranked/", "retrieval/")
    if retrieval in jobs and over_weights and not _varies(jobs[retrieval]):
        axes.axhline(jobs[retrieval].iloc[0], color="grey", linestyle=":", linewidth=1)
    (axes.set_ylabel if over_weights else axes.set_xlabel)(objective)
    FigureCanvasAgg(figure).print_png(path)


def _varies(values: pd.Series) -> bool:
    return len(values.unique()) > 1
