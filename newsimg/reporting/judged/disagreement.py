"""Hits@1 against the mean rating of the first picture, over weights and rerankers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.evaluation.curve import find_plateau, look_up
from newsimg.reporting.plots import label_line, open_axes, place_legend

MEASURES = ("hits_at_1", "least_mean_rating")
TOLERANCE = 0.05  # of the share of rated first pictures
SHOWN = ("hits_at_1", "mean_rating", "rated_share")


def join_curves(by_editors: pd.DataFrame, by_people: pd.DataFrame) -> pd.DataFrame:
    """Return both measures over the weight, a row for each interval in which neither changes.

    Args:
        by_editors: Exact curve with `hits_at_1`.
        by_people: Exact curve with `mean_rating`, `least_mean_rating` and `rated_share`.
    """
    low = np.union1d(by_editors["w_lo"], by_people["w_lo"])
    table = pd.DataFrame({"w_lo": low})
    for curve, names in (
        (by_editors, ["w_hi", "hits_at_1"]),
        (by_people, ["w_hi", "mean_rating", "least_mean_rating", "rated_share"]),
    ):
        rows = np.searchsorted(curve["w_lo"].to_numpy(), low, side="right") - 1
        own = curve[names].iloc[rows].reset_index(drop=True)
        if "w_hi" in table:
            own["w_hi"] = np.minimum(own["w_hi"], table.pop("w_hi"))
        table = pd.concat([table, own], axis="columns")
    return table[["w_lo", "w_hi", *MEASURES, *SHOWN[1:]]]


def list_best(joined: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return for each reranker the best weight by either measure, and what the other says there.

    By ratings it is the weight of the largest `least_mean_rating`: the mean over rated pictures
    alone would favour weights that show pictures without ratings.

    Args:
        joined: Reranker -> result of `join_curves`.
    """
    rows = []
    for name, curve in joined.items():
        for measure in MEASURES:
            best = find_plateau(curve, measure)
            row = look_up(curve, best.midpoint)
            rows.append(
                {
                    "reranker": name,
                    "best by": measure,
                    "weight": best.midpoint,
                    **{one: float(row[one]) for one in SHOWN},
                }
            )
    return pd.DataFrame(rows)


def plot_disagreement(joined: Mapping[str, pd.DataFrame], best: pd.DataFrame, path: Path) -> None:
    """Draw the mean rating of rated first pictures over Hits@1, a line for each reranker.

    A line is dotted where fewer first pictures are rated than by retrieval alone, by more than 5 %.

    Args:
        joined: Reranker -> result of `join_curves`.
        best: Result of `list_best`.
        path: The PNG.
    """
    axes, canvas = open_axes()
    for number, (name, curve) in enumerate(joined.items()):
        colour = f"C{number % 10}"
        x, y = curve["hits_at_1"], curve["mean_rating"]
        full = curve["rated_share"] >= curve["rated_share"].iloc[0] - TOLERANCE
        own = best[best["reranker"] == name]
        weights = " and ".join(f"{weight:.2f}" for weight in own["weight"])
        label = label_line(f"{name}, best at weight {weights}")
        axes.plot(x, y, ":", color=colour, linewidth=0.8, alpha=0.7)
        axes.plot(x, y.where(full), color=colour, linewidth=1.2, label=label)
        for mark, (_, point) in zip(("s", "o"), own.iterrows(), strict=True):
            axes.plot(point["hits_at_1"], point["mean_rating"], mark, color=colour, markersize=7)
    first = next(iter(joined.values())).iloc[0]
    axes.plot(first["hits_at_1"], first["mean_rating"], "k*", markersize=10, label="retrieval")
    axes.plot([], [], "s", color="grey", label="best by Hits@1")
    axes.plot([], [], "o", color="grey", label="best by least mean rating")
    # Weights far worse than retrieval by both would hide the differences between the others.
    for name, limit in (("hits_at_1", axes.set_xlim), ("mean_rating", axes.set_ylim)):
        values = [*best[name], first[name]]
        margin = max(max(values) - min(values), 0.02) / 2
        limit(min(values) - margin, max(values) + margin)
    axes.set_xlabel("Hits@1 (the editor's picture comes first)")
    axes.set_ylabel("mean rating of the first picture")
    place_legend(axes)
    canvas.print_png(path)
