"""Plots of curves over the weight."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image as PILImage

from newsimg.datatypes import FusedArray
from newsimg.evaluation.confidence.reliability import Reliability
from newsimg.reporting.console import cut_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg

N_LETTERS = 80  # of a line's label
LABELS = {"hits": "Hits", "mrr": "MRR", "precision": "Precision", "ndcg": "nDCG"}
LINES = ("-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (8, 3)), (0, (1, 4)), (0, (3, 6)))
N_INSIDE = 6  # lines and areas that are explained inside the axes
SMALLEST = 0.02  # gain that the scale leaves room for, where there is less
Style = Mapping[str, Any]


class CurvePlot:
    """A plot of measures over all weights, with the interval of the first measure.

    It is drawn once and saved with any weight marked.

    Args:
        curve: See `trace_curve`.
        bounds: Intervals of the first measure; see `bound_curve`.
        measures: Columns of the curve to draw.
        over: Label of the horizontal axis.
    """

    def __init__(
        self,
        curve: pd.DataFrame,
        bounds: pd.DataFrame,
        measures: Sequence[str],
        over: str = "weight",
    ) -> None:
        axes, self._canvas = open_axes()
        axes.set_xlabel(over)
        lines = {name_measure(measure): (curve, measure) for measure in measures}
        colours = draw_steps(axes, lines, {}, [bounds])
        first = name_measure(measures[0])
        draw_bounds(axes, bounds, colours[first], first)
        style = {"color": "grey", "linestyle": "--", "linewidth": 1}
        axes.plot([], [], label="this run", **style)
        axes.set_ylabel("mean over queries")
        place_legend(axes)
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
    curves: Mapping[str, pd.DataFrame],
    measure: str,
    path: Path,
    over: str = "weight",
    styles: Mapping[str, Style] | None = None,
    bounds: tuple[str, pd.DataFrame] | None = None,
) -> None:
    """Draw one measure over all weights, a line for each curve.

    Args:
        curves: Label -> curve.
        measure: A column of the curves.
        path: The PNG.
        over: Label of the weight.
        styles: Label -> line style, see `choose_styles`; None for matplotlib's colours.
        bounds: Label of the best curve and its intervals, see `bound_curve`.
    """
    axes, canvas = open_axes()
    axes.set_xlabel(over)
    lines = {label: (curve, measure) for label, curve in curves.items()}
    colours = draw_steps(axes, lines, styles or {}, [bounds[1]] if bounds else [])
    if bounds is not None:
        draw_bounds(axes, bounds[1], colours[bounds[0]], bounds[0])
    axes.set_ylabel(name_measure(measure))
    place_legend(axes)
    canvas.print_png(path)


def plot_reliability(found: Reliability, path: Path) -> None:
    """Draw the share of right pictures over the confidence, and the risk over the coverage."""
    axes, canvas = open_axes()
    left, right = axes, axes.figure.add_subplot(1, 2, 2)
    left.set_position((0.09, 0.13, 0.39, 0.83))
    right.set_position((0.58, 0.13, 0.39, 0.83))
    bins, risks = found.bins, found.risks
    left.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    errors = [bins["right"] - bins["low"], bins["high"] - bins["right"]]
    left.errorbar(bins["confidence"], bins["right"], yerr=errors, fmt="o-", markersize=4, capsize=2)
    left.set_xlabel("mean confidence of a bin")
    left.set_ylabel("share of right first pictures (95 % interval)")
    right.plot(risks["coverage"], risks["risk"], drawstyle="steps-post")
    right.set_xlabel("coverage: share of headlines kept")
    right.set_ylabel("risk: share of wrong first pictures among them")
    for one in (left, right):
        one.set_xlim(0, 1)
        one.set_ylim(0, 1)
    canvas.print_png(path)


def choose_styles(keys: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Assign each line a colour by the first value of its key and a pattern by the others.

    Args:
        keys: Label -> values of the line, the reranker first.
    """
    first = list(dict.fromkeys(key[0] for key in keys.values()))
    rest = list(dict.fromkeys(tuple(key[1:]) for key in keys.values()))
    return {
        label: {
            "color": f"C{first.index(key[0]) % 10}",
            "linestyle": LINES[rest.index(tuple(key[1:])) % len(LINES)],
        }
        for label, key in keys.items()
    }


def name_measure(measure: str) -> str:
    """Return the display name of a measure: Hits@1 for `hits_at_1`."""
    if "_at_" not in measure:
        return measure.replace("_", " ")
    name, _, cutoff = measure.partition("_at_")
    return f"{LABELS[name]}@{cutoff}"


def label_line(label: str) -> str:
    """Return a label for a legend: shortened, with dollar signs escaped."""
    return cut_text(label, N_LETTERS).replace("$", r"\$")


def open_axes() -> "tuple[Axes, FigureCanvasAgg]":
    """Return axes over the weights and their canvas."""
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


def place_legend(axes: "Axes") -> None:
    """Add a legend, inside the axes for few lines and below them for many."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) <= N_INSIDE:
        axes.legend(fontsize="small")
        return
    width, height = axes.figure.get_size_inches()
    below = 0.6 + 0.2 * len(labels)  # inches, with the axis and its label
    axes.figure.set_size_inches(width, height + below - 0.5)
    axes.figure.subplots_adjust(bottom=below / (height + below - 0.5))
    axes.legend(
        fontsize="small", loc="upper left", bbox_to_anchor=(0, 0.5 / (0.5 - height)), frameon=False
    )


def limit_values(
    axes: "Axes", lines: Sequence[FusedArray], bands: Sequence[pd.DataFrame] = ()
) -> float:
    """Scale the value axis so that gains are visible; return its lower limit.

    Values far below retrieval are cut off.

    Args:
        axes: Where.
        lines: Values over the weights, the first of which is retrieval's.
        bands: Intervals of some of them: `value`, `low` and `high`.
    """
    lowest = min(float(np.min(line)) for line in lines)
    start = min(float(line[0]) for line in lines)
    top = max(float(np.max(line)) for line in lines)
    span = max(top - start, SMALLEST)
    low, high = max(lowest, start - 2 * span), top + 0.3 * span
    for band in bands:
        near = band[band["value"] >= start]
        low, high = min(low, near["low"].min()), max(high, near["high"].max())
    axes.set_ylim(low - 0.1 * (high - low), high + 0.05 * (high - low))
    return low


def draw_steps(
    axes: "Axes",
    lines: Mapping[str, tuple[pd.DataFrame, str]],
    styles: Mapping[str, Style],
    bands: Sequence[pd.DataFrame] = (),
) -> dict[str, Any]:
    """Draw curves; return their colours.

    Args:
        axes: Where.
        lines: Label -> curve and the column to draw.
        styles: Label -> how to draw it.
        bands: See `limit_values`.
    """
    values = {label: curve[measure].to_numpy() for label, (curve, measure) in lines.items()}
    low = limit_values(axes, list(values.values()), bands)
    colours = {}
    for label, (curve, _) in lines.items():
        # Both ends of each interval, so that steps are upright and single points are spikes.
        ends = curve[["w_lo", "w_hi"]].to_numpy().ravel()
        lowest = float(values[label].min())
        hidden = f" (falls to {lowest:.2f})" if lowest < low else ""
        (line,) = axes.plot(
            ends,
            values[label].repeat(2),
            linewidth=1.2,
            label=label_line(label) + hidden,
            **styles.get(label, {}),
        )
        colours[label] = line.get_color()
    return colours


def draw_bounds(axes: "Axes", bounds: pd.DataFrame, colour: Any, label: str) -> None:
    """Draw the interval of a curve, and shade weights not significantly below the best."""
    weights = bounds["weight"].to_numpy()
    axes.fill_between(
        weights,
        bounds["low"],
        bounds["high"],
        color=colour,
        alpha=0.15,
        linewidth=0,
        label=label_line(f"95 % interval of the gain: {label}"),
    )
    as_good = bounds["as_good"].to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], as_good, [False]]).astype(int)))
    for i, (first, end) in enumerate(edges.reshape(-1, 2)):
        # To the middle between a weight and its neighbour, so that one weight has a width.
        low, high = max(first - 1, 0), min(end, len(weights) - 1)
        axes.axvspan(
            (weights[low] + weights[first]) / 2,
            (weights[high] + weights[end - 1]) / 2,
            color="tab:green",
            alpha=0.12,
            linewidth=0,
            label=None if i else label_line(f"not significantly below the best: {label}"),
        )
