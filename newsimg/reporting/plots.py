"""Pictures of curves over the weight."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image as PILImage

from newsimg.evaluation.curve import Plateau
from newsimg.reporting.console import cut_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg

N_LETTERS = 80  # of a line's label
LABELS = {"hits": "Hits", "mrr": "MRR"}


class CurvePlot:
    """Measures over all weights with the plateau shaded; drawn once, saved with any weight marked.

    Args:
        curve: See `trace_curve`.
        plateau: The interval to shade.
        measures: Columns of the curve to draw.
    """

    def __init__(self, curve: pd.DataFrame, plateau: Plateau, measures: Sequence[str]) -> None:
        axes, self._canvas = _open_axes()
        for measure in measures:
            _draw_steps(axes, curve, measure, name_measure(measure))
        axes.axvspan(plateau.low, plateau.high, color="tab:green", alpha=0.2, label="plateau")
        style = {"color": "grey", "linestyle": "--", "linewidth": 1}
        axes.plot([], [], label="this run", **style)
        axes.set_ylabel("mean over queries")
        axes.legend(fontsize="small")
        self._canvas.draw()
        # The jobs of a sweep differ in the mark alone: it is drawn upon a copy of all the rest.
        self._background = self._canvas.copy_from_bbox(axes.figure.bbox)
        self._axes, self._mark = axes, axes.axvline(0, **style)

    def save(self, weight: float, path: Path) -> None:
        """Write a PNG with `weight` marked."""
        self._canvas.restore_region(self._background)
        self._mark.set_xdata([weight, weight])
        self._axes.draw_artist(self._mark)
        PILImage.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB").save(
            path, compress_level=3
        )


def plot_curves(
    curves: Mapping[str, pd.DataFrame], measure: str, path: Path, over: str = "weight"
) -> None:
    """Draw one measure over all weights, a line for each curve."""
    axes, canvas = _open_axes()
    axes.set_xlabel(over)
    for label, curve in curves.items():
        _draw_steps(axes, curve, measure, label)
    axes.set_ylabel(name_measure(measure))
    axes.legend(fontsize="small")
    canvas.print_png(path)


def name_measure(measure: str) -> str:
    """Return how people write a measure: `hits_at_1` is Hits@1."""
    name, _, cutoff = measure.partition("_at_")
    return f"{LABELS[name]}@{cutoff}"


def _open_axes() -> "tuple[Axes, FigureCanvasAgg]":
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it announces its font cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2))
    # Matplotlib would lay this out by itself, at the price of drawing it twice in each job.
    figure.subplots_adjust(left=0.1, right=0.97, top=0.97, bottom=0.12)
    axes = figure.subplots()
    axes.set_xlabel("weight")
    axes.set_xlim(0, 1)
    return axes, FigureCanvasAgg(figure)


def _draw_steps(axes: "Axes", curve: pd.DataFrame, measure: str, label: str) -> None:
    # Both ends of each interval, so that steps are upright and single points are spikes.
    ends = curve[["w_lo", "w_hi"]].to_numpy().ravel()
    own = label_line(label)
    axes.plot(ends, curve[measure].repeat(2).to_numpy(), linewidth=1.2, label=own)


def label_line(label: str) -> str:
    """Return a label as a legend can show it: short, and with its dollars, which begin formulas."""
    return cut_text(label, N_LETTERS).replace("$", r"\$")
