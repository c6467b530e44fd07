"""What plots of curves show: read off the lines and areas that are drawn."""

from pathlib import Path

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage

from newsimg.reporting.plots import choose_styles, draw_bounds, draw_steps, open_axes, plot_curves


def make_curve(*values: float) -> pd.DataFrame:
    edges = np.linspace(0, 1, len(values) + 1)
    return pd.DataFrame({"w_lo": edges[:-1], "w_hi": edges[1:], "hits_at_1": values})


def make_bounds(as_good: list[bool]) -> pd.DataFrame:
    weights = np.linspace(0, 1, len(as_good))
    values = np.full(len(as_good), 0.4)
    return pd.DataFrame(
        {"weight": weights, "value": values, "low": values - 0.02, "high": values + 0.03}
    ).assign(as_good=as_good)


def test_a_reranker_has_one_colour_and_what_else_was_swept_a_pattern() -> None:
    keys = {
        f"{reranker}, {backbone}": (reranker, backbone)
        for reranker in ("nnn", "identity", "hubness")
        for backbone in ("small", "large")
    }
    styles = choose_styles(keys)
    colours = {label.split(",")[0]: style["color"] for label, style in styles.items()}
    assert len(set(colours.values())) == 3
    for label, style in styles.items():
        assert style["color"] == colours[label.split(",")[0]]
        assert style["linestyle"] == ("-" if "small" in label else "--")


def test_a_curve_that_falls_far_does_not_flatten_the_others() -> None:
    axes, _ = open_axes()
    gains, falling = make_curve(0.40, 0.42, 0.41), make_curve(0.40, 0.2, 0.05)
    lines = {"gains": (gains, "hits_at_1"), "falling": (falling, "hits_at_1")}
    draw_steps(axes, lines, {})
    low, high = axes.get_ylim()
    assert low < 0.40 < 0.42 < high
    assert high - low < 4 * 0.02  # of the gain
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == ["gains", "falling (falls to 0.05)"]


def test_a_band_that_is_drawn_is_seen_in_full_where_curves_are_no_worse_than_retrieval() -> None:
    axes, _ = open_axes()
    bounds = make_bounds([True] * 5)
    draw_steps(axes, {"curve": (make_curve(0.4, 0.4), "hits_at_1")}, {}, [bounds])
    low, high = axes.get_ylim()
    assert low < 0.38
    assert high > 0.43


@pytest.mark.parametrize(
    ("as_good", "spans"),
    [
        ([True, True, False, False, False], [(0.0, 0.375)]),
        # A weight by itself has a width: half way to its neighbours.
        ([False, True, False, True, True], [(0.125, 0.375), (0.625, 1.0)]),
    ],
)
def test_weights_that_cannot_be_told_from_the_best_are_shaded(
    as_good: list[bool], spans: list[tuple[float, float]]
) -> None:
    axes, canvas = open_axes()
    draw_bounds(axes, make_bounds(as_good), "tab:blue", "nnn")
    canvas.draw()
    found = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches]
    np.testing.assert_allclose(found, spans)
    texts = axes.get_legend_handles_labels()[1]
    assert texts == ["95 % interval of the gain: nnn", "not significantly below the best: nnn"]


def test_curves_are_drawn_in_the_colours_that_they_are_given(tmp_path: Path) -> None:
    curves = {"nnn": make_curve(0.4, 0.42), "hubness": make_curve(0.4, 0.41)}
    styles = choose_styles({"hubness": ["hubness"], "nnn": ["nnn"]})
    plot_curves(curves, "hits_at_1", tmp_path / "curves.png", styles=styles)
    pixels = np.asarray(PILImage.open(tmp_path / "curves.png").convert("RGB")).astype(float)
    rows = {}
    for label, style in styles.items():
        distance = np.abs(pixels - 255 * np.array(matplotlib.colors.to_rgb(style["color"])))
        (rows[label],) = np.flatnonzero((distance.max(axis=2) < 90).sum(axis=1) > 250)[:1]
    assert styles["nnn"]["color"] != styles["hubness"]["color"]
    assert rows["nnn"] < rows["hubness"]  # the larger values are above
