"""Pictures of curves over the weight."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from newsimg.curve import Plateau

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {"hits": "Hits", "mrr": "MRR"}


def plot_curve(
    curve: pd.DataFrame, plateau: Plateau, weight: float, measures: list[str], path: Path
) -> None:
    """Draw measures over all weights, with the plateau shaded and the run's own weight marked."""
    axes, save = _open_axes(path)
    for measure in measures:
        _draw_steps(axes, curve, measure, name_measure(measure))
    axes.axvspan(plateau.low, plateau.high, color="tab:green", alpha=0.2, label="plateau")
    axes.axvline(weight, color="grey", linestyle="--", linewidth=1, label=f"this run, {weight:.4g}")
    axes.set_ylabel("mean over queries")
    axes.legend(fontsize="small")
    save()


def plot_curves(
    curves: Mapping[str, pd.DataFrame], measure: str, path: Path, over: str = "weight"
) -> None:
    """Draw one measure over all weights, a line for each curve."""
    axes, save = _open_axes(path)
    axes.set_xlabel(over)
    for label, curve in curves.items():
        _draw_steps(axes, curve, measure, label)
    axes.set_ylabel(name_measure(measure))
    axes.legend(fontsize="small")
    save()


def name_measure(measure: str) -> str:
    """Return how people write a measure: `hits_at_1` is Hits@1."""
    name, _, cutoff = measure.partition("_at_")
    return f"{LABELS[name]}@{cutoff}"


def _open_axes(path: Path):  # type: ignore[no-untyped-def]
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it announces its font cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2))
    # Matplotlib would lay this out by itself, at the price of drawing it twice in each job.
    figure.subplots_adjust(left=0.1, right=0.97, top=0.97, bottom=0.12)
    axes = figure.subplots()
    axes.set_xlabel("weight")
    axes.set_xlim(0, 1)
    return axes, lambda: FigureCanvasAgg(figure).print_png(path)


def _draw_steps(axes: "Axes", curve: pd.DataFrame, measure: str, label: str) -> None:
    # Both ends of each interval, so that steps are upright and single points are spikes.
    ends = curve[["w_lo", "w_hi"]].to_numpy().ravel()
    axes.plot(ends, curve[measure].repeat(2).to_numpy(), linewidth=1.2, label=label)
