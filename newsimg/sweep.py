"""What a sweep found: a table of its jobs, and a plot of the objective."""

import logging
from pathlib import Path

import pandas as pd

from newsimg.console import console, print_table


def summarize_sweep(jobs: pd.DataFrame, objective: str, output_dir: Path) -> dict[str, float]:
    """Print the jobs, and write `sweep.csv` and `sweep.png`.

    Args:
        jobs: One row per job: `name`, `status`, `params.*` and metrics.
        objective: The metric that the sweep looks for the largest value of.
        output_dir: Where the files go.

    Returns:
        The best value of the objective and the number of jobs, for the sweep's own run.
    """
    params = varying_params(jobs)
    stages = [objective, objective.replace("reranked/", "retrieval/"), "reranked/mrr_at_10"]
    metrics = [name for name in dict.fromkeys(stages) if name in jobs]
    table = jobs[["name", "status", *params, *metrics]]
    table.to_csv(output_dir / "sweep.csv", index=False)
    print_table(table.rename(columns=lambda name: name.removeprefix("params.")), "sweep")
    finished = jobs[jobs["status"] == "FINISHED"]
    counts: dict[str, float] = {"n_jobs": len(jobs), "n_finished": len(finished)}
    if objective not in finished or finished[objective].isna().all():
        return counts
    best = finished.loc[finished[objective].idxmax()]
    console.print(f"best {objective}: {best[objective]:.4f} ({best['name']})")
    plot_sweep(finished, params, objective, output_dir / "sweep.png")
    return counts | {f"best/{objective}": float(best[objective])}


def varying_params(jobs: pd.DataFrame) -> list[str]:
    """Return the columns of params that set the jobs apart, not those that follow others."""
    params = [str(name) for name in jobs if str(name).startswith("params.")]
    varying = [name for name in params if _varies(jobs[name])]
    # A change of the reranker changes all params of the group: its name says it.
    groups = {
        name.removeprefix("params.") for name in varying if "." not in name.removeprefix("params.")
    }
    return [
        name
        for name in varying
        if "." not in name.removeprefix("params.") or name.split(".")[1] not in groups
    ]


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
            axes.plot(line.index, line.to_numpy(), marker="o", label=label or objective)
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
