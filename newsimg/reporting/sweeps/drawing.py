"""Plots of a sweep, with one colour per reranker."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from newsimg.reporting.plots import (
    choose_styles,
    label_line,
    limit_values,
    name_measure,
    open_axes,
    place_legend,
    plot_curves,
)
from newsimg.reporting.sweeps.best import BestRun
from newsimg.reporting.sweeps.runs import (
    FinishedRun,
    label_runs,
    name_option,
    name_rows,
    shorten_names,
)

N_LINES = 12  # of the best combinations; more cannot be distinguished
N_BANDS = 3  # of so many lines each has its interval, of more the best that changes anything


def draw_sweep(
    runs: Sequence[FinishedRun], best: Sequence[BestRun], measure: str, output_dir: Path
) -> None:
    """Write `sweep.png` with the weights that were tried, and `curves.png` with all weights.

    Args:
        runs: All of them.
        best: The combinations to draw, the best first; see `find_best`.
        measure: Measure to draw.
        output_dir: Folder of the plots.
    """
    names = sorted(name_rows(runs), key=lambda name: name != "reranker")  # which has the colour
    short = shorten_names(names)

    def call(labels: Mapping[str, str]) -> str:
        return ", ".join(name_option(name, labels[name], short) for name in names)

    drawn = {call(one.labels): one.run for one in best[:N_LINES]}
    styles = choose_styles(
        {call(one.labels): [one.labels[name] for name in names] for one in best[:N_LINES]}
    )
    groups: dict[str, list[FinishedRun]] = {label: [] for label in drawn}
    for run, labels in zip(runs, label_runs(runs, names), strict=True):
        if (label := call(labels)) in groups:
            groups[label].append(run)
    if any(len({run.weight for run in group}) > 1 for group in groups.values()):
        _draw_tried(groups, measure, styles, output_dir / "sweep.png")
    else:
        _draw_bars(drawn, measure, styles, output_dir / "sweep.png")
    curves = {
        label: run.curve
        for label, run in drawn.items()
        if run.curve is not None and measure in run.curve
    }
    if curves:
        top = max(curves, key=lambda label: curves[label][measure].max())
        path = drawn[top].folder / "curve_bounds.csv"
        known = (top, pd.read_csv(path)) if measure == "hits_at_1" and path.is_file() else None
        plot_curves(curves, measure, output_dir / "curves.png", styles=styles, bounds=known)


def _draw_tried(
    groups: Mapping[str, Sequence[FinishedRun]],
    measure: str,
    styles: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    axes, canvas = open_axes()
    drawn = {label: _read_points(group, measure) for label, group in groups.items()}
    wide = {label: points for label, points in drawn.items() if (points.high > points.low).any()}
    bands = dict(list(wide.items())[: len(wide) if len(wide) <= N_BANDS else 1])
    lines = [np.append(points["retrieval"][:1], points["value"]) for points in drawn.values()]
    limit_values(axes, lines, list(bands.values()))
    for label, points in drawn.items():
        line = {"marker": "o", "markersize": 4, "label": label_line(label)}
        axes.plot(points["weight"], points["value"], **line, **styles[label])
    for label, points in bands.items():
        axes.fill_between(
            points["weight"],
            points["low"],
            points["high"],
            color=styles[label]["color"],
            alpha=0.12,
            linewidth=0,
            label=label_line(f"95 % interval of the gain: {label}"),
        )
    starts = {float(points["retrieval"].iloc[0]) for points in drawn.values()}
    if len(starts) == 1:
        axes.axhline(starts.pop(), color="grey", linestyle=":", linewidth=1, label="retrieval")
    weights = np.concatenate([points["weight"] for points in drawn.values()])
    margin = 0.02 * (weights.max() - weights.min())
    axes.set_xlim(weights.min() - margin, weights.max() + margin)
    axes.set_ylabel(name_measure(measure))
    place_legend(axes)
    canvas.print_png(path)


def _read_points(group: Sequence[FinishedRun], measure: str) -> pd.DataFrame:
    """Return the weights that were tried: `weight`, `value`, `low`, `high` and `retrieval`."""
    rows = []
    for run in sorted(group, key=lambda run: run.weight):
        start = run.statistics.loc[f"retrieval/{measure}", "value"]
        gain = run.statistics.loc[f"delta/{measure}"]
        value = run.statistics.loc[f"reranked/{measure}", "value"]
        row = {"weight": run.weight, "value": value, "retrieval": start}
        rows.append(row | {end: value - gain["value"] + gain[end] for end in ("low", "high")})
    return pd.DataFrame(rows)


def _draw_bars(
    drawn: Mapping[str, FinishedRun],
    measure: str,
    styles: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    axes, canvas = open_axes()
    axes.figure.set_layout_engine("constrained")  # labels of any length are beside the bars
    rows = [run.statistics.loc[f"reranked/{measure}"] for run in drawn.values()]
    values = np.array([row["value"] for row in rows])
    errors = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - values)
    colours = [styles[label]["color"] for label in drawn]
    labels = [label_line(label) for label in drawn]
    axes.barh(labels, values, xerr=errors, color=colours, ecolor="grey", capsize=3)
    axes.invert_yaxis()
    lowest, highest = (values - errors[0]).min(), (values + errors[1]).max()
    largest = 1.0 if highest <= 1 else np.inf  # of ratings
    axes.set_xlim(max(0.0, float(lowest) - 0.02), min(largest, float(highest) + 0.02))
    axes.set_xlabel(f"{name_measure(measure)} with its 95 % interval")
    canvas.print_png(path)
