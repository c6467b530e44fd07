"""The report: headlines with their candidates before and after, in one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from newsimg.evaluation.comparison import compare_stages
from newsimg.evaluation.curve import find_plateau, look_up
from newsimg.interfaces import Components
from newsimg.reporting.console import describe_setting
from newsimg.reporting.contact_sheet import choose_queries
from newsimg.reporting.pages.assemble import fill_page
from newsimg.reporting.pages.cards import Stages, shorten
from newsimg.reporting.pages.fitting import fit_page
from newsimg.storage.files import write_atomically

STYLES = ("base.css", "card.css", "viewer.css", "report.css")
MAX_BYTES = 10_000_000
N_POINTS = 400  # of the curve


@dataclass(frozen=True)
class Details:
    """Contents of a report besides headlines and pictures.

    Attributes:
        facts: Description of the run in the page's head.
        measures: Rows of the head's table: `name`, `before`, `after` and, if tested, `low`, `high`
            and `p` of the difference.
        settings: `reranker` and `normalisation` as typed, `weight`.
        curve: Result of `describe_curve`, or None.
        warning: Warning shown first; empty for none.
    """

    facts: Sequence[str]
    measures: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[str, Any] | None = None
    warning: str = ""


def write_report(path: Path, stages: Stages, details: Details, max_bytes: int = MAX_BYTES) -> None:
    """Write the page, with thumbnails as large as `max_bytes` allow.

    If even the smallest do not fit, it shows fewer headlines, balanced between helped, hurt and
    other ones, and says so.

    Args:
        path: The HTML file.
        stages: The candidates before and after reranking.
        details: Further contents.
        max_bytes: Maximum size of the file.
    """
    collection, images = stages.collection, stages.retrieved.images
    headlines = [stages.describe(position) for position in range(len(collection.queries))]
    page: dict[str, Any] = {
        "facts": list(details.facts),
        "warning": details.warning,
        "measures": list(details.measures),
        "settings": dict(details.settings),
        "curve": details.curve,
        "judged": collection.qrels is not None,
        "n_headlines": len(headlines),
        "components": list(stages.scores.components),
        "base": path.parent.absolute().as_uri() + "/",
    }
    order: Sequence[int] = range(len(headlines))
    if collection.qrels is not None:
        outcomes = compare_stages(collection, stages.retrieved, stages.reranked, collection.qrels)
        order = choose_queries(outcomes, len(headlines))
    budget = max_bytes - len(fill(page).encode())
    page |= fit_page(headlines, order, images, path, budget)
    with write_atomically(path) as temporary:
        temporary.write_text(fill(page), encoding="utf-8")


def fill(page: Mapping[str, Any]) -> str:
    """Return the page with its data."""
    return fill_page("report.html", STYLES, ["report.js"], page)


def describe_run(
    source: str,
    components: Components,
    metrics: Mapping[str, float],
    curve: pd.DataFrame | None = None,
) -> Details:
    """Return the texts of a report.

    Args:
        source: Name and split of the headlines.
        components: The run's components.
        metrics: The run's metrics.
        curve: Measures over the weight; see `trace_curve`.
    """
    top_k, info = int(metrics["top_k"]), components.info
    n_truncated = metrics.get("n_truncated", 0)
    plural = "headline" if n_truncated == 1 else "headlines"
    names = {f"Hits@{k}": f"hits_at_{k}" for k in (1, 10) if k <= top_k}
    names |= {f"MRR@{k}": f"mrr_at_{k}" for k in (10,) if k <= top_k}
    return Details(
        facts=[
            source,
            f"{metrics['n_queries']:,.0f} headlines",
            f"{metrics['n_images']:,.0f} pictures",
            f"{top_k} candidates",
            describe_setting(info, components.weight.value),
            *([f"{n_truncated:,.0f} {plural} cut by the backbone"] if n_truncated else []),
            f"{datetime.now():%Y-%m-%d %H:%M}",
        ],
        measures=[
            {"name": name, "before": metrics[f"retrieval/{key}"]}
            | {"after": metrics[f"reranked/{key}"]}
            | {
                part: metrics[f"delta/{key}_{part}"]
                for part in ("low", "high", "p")
                if np.isfinite(metrics.get(f"delta/{key}_{part}", np.nan))
            }
            for name, key in names.items()
            if f"retrieval/{key}" in metrics
        ],
        settings={
            "reranker": info.reranker,
            "normalisation": info.normalization,
            "weight": components.weight.value,
        },
        curve=None if curve is None else describe_curve(curve, components.weight.value),
        warning=info.warning,
    )


def describe_curve(curve: pd.DataFrame, weight: float) -> dict[str, Any]:
    """Describe the curve of Hits@1 by at most a few points per pixel.

    Args:
        curve: Measures over the weight; see `trace_curve`.
        weight: The run's weight.
    """
    plateau = find_plateau(curve, "hits_at_1")
    values, low, high = (curve[name].to_numpy() for name in ("hits_at_1", "w_lo", "w_hi"))
    if len(curve) <= N_POINTS:
        points = [
            [at, value]
            for start, end, value in zip(low, high, values, strict=True)
            for at in (start, end)
        ]
    else:
        # Of each column of pixels, its least and its largest value.
        edges = np.linspace(0, 1, N_POINTS + 1)
        starts = np.searchsorted(high, edges[:-1])
        ends = np.maximum(np.searchsorted(low, edges[1:]), starts + 1)
        points = [
            [edge, extreme]
            for edge, start, end in zip(edges, starts, ends, strict=False)
            for extreme in (values[start:end].min(), values[start:end].max())
        ]
    return {
        "name": "Hits@1",
        "points": [[shorten(at), shorten(value)] for at, value in points],
        "weight": weight,
        "value": float(look_up(curve, weight)["hits_at_1"]),
        "best": [plateau.low, plateau.high, plateau.value],
    }
