"""The report: headlines with their candidates before and after, in one HTML file."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from newsimg.datatypes import Candidates, Collection, FloatArray, FusedArray, RerankScores
from newsimg.evaluation.comparison import compare_stages, find_rows
from newsimg.interfaces import Components
from newsimg.reporting.console import describe_setting
from newsimg.reporting.contact_sheet import choose_queries
from newsimg.reporting.thumbnails import choose_scale, encode_thumbnails
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_suffix(".html")
PLACE = "/*DATA*/"
MAX_BYTES = 10_000_000
MARGIN = 10_000  # for the page's head, and for the keys and commas between pictures
N_SHOWN = 5


@dataclass(frozen=True)
class Details:
    """Contents of a report besides pictures and scores.

    Attributes:
        facts: Description of the run in the page's head.
        measures: Name -> value before and after.
        parts: See `RerankScores.components`; aligned with the retrieved candidates.
        captions: See `RerankScores.captions`.
        warning: Warning shown first; empty for none.
        confidences: (n_queries,) probability that the first picture is the right one; empty if it
            is not known.
    """

    facts: Sequence[str]
    measures: Mapping[str, tuple[float, float]]
    parts: Mapping[str, FloatArray]
    captions: Sequence[Sequence[str]]
    warning: str = ""
    confidences: Sequence[float] = ()


def write_report(
    path: Path,
    collection: Collection,
    retrieved: Candidates,
    reranked: Candidates,
    details: Details,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Write the page, with thumbnails as large as `max_bytes` allow.

    If even the smallest do not fit, it shows fewer queries, balanced between helped, hurt and
    unchanged ones, and says so.

    Args:
        path: The HTML file.
        collection: Queries, and the editors' pictures if they are known.
        retrieved: The candidates before reranking.
        reranked: The same candidates after reranking.
        details: Further contents.
        max_bytes: Maximum size of the file.

    Raises:
        ValueError: If `details` are not aligned with the candidates.
    """
    check_aligned(details, retrieved)
    comparison, editors = None, {}
    if collection.qrels is not None:
        comparison = compare_stages(collection, retrieved, reranked, collection.qrels)
        chosen = {image_id for relevant in collection.qrels.values() for image_id in relevant}
        editors = find_rows(retrieved.images, chosen)
    stages = Stages(collection, retrieved, reranked, details, comparison, editors)
    queries = [stages.describe(position) for position in range(len(collection.queries))]
    template = TEMPLATE.read_text(encoding="utf-8")
    budget = max_bytes - len(template.encode()) - MARGIN

    order: Sequence[int] = range(len(queries))
    if comparison is not None:
        order = choose_queries(comparison, len(queries))
    rows = list(dict.fromkeys(row for query in queries for row in list_rows(query)))
    n_text = sum(len(to_json(query)) for query in queries)
    images = retrieved.images
    scale, size = choose_scale([images[row] for row in rows], budget - n_text)
    kept = fit_queries(queries, order, budget, lambda row: size)
    wanted = list(dict.fromkeys(row for position in kept for row in list_rows(queries[position])))
    encoded = encode_thumbnails([images[row] for row in wanted], scale)
    thumbs = {row: encoded[images[row]] for row in wanted}
    kept = fit_queries(queries, kept, budget, lambda row: len(thumbs[row] or "") + 4)
    if len(kept) < len(queries):
        log.warning("%s shows %d of %d queries", path.name, len(kept), len(queries))
    shown = [queries[position] for position in kept]
    data = {
        "facts": list(details.facts),
        "warning": details.warning,
        "measures": {name: [before, after] for name, (before, after) in details.measures.items()},
        "judged": comparison is not None,
        "n_queries": len(queries),
        "parts": list(details.parts),
        "queries": shown,
        "thumbs": {row: thumbs[row] for query in shown for row in list_rows(query)},
    }
    with write_atomically(path) as temporary:
        temporary.write_text(template.replace(PLACE, to_json(data)), encoding="utf-8")


def describe_run(
    source: str,
    components: Components,
    scores: RerankScores,
    metrics: Mapping[str, float],
    confidences: FusedArray | None = None,
) -> Details:
    """Return the texts of a page for the queries of `source`."""
    top_k = int(metrics["top_k"])
    n_truncated = metrics.get("n_truncated", 0)
    names = {f"Hits@{k}": f"hits_at_{k}" for k in (1, 10) if k <= top_k}
    names |= {f"MRR@{k}": f"mrr_at_{k}" for k in (10,) if k <= top_k}
    return Details(
        facts=[
            source,
            f"{metrics['n_queries']:,.0f} headlines",
            f"{metrics['n_images']:,.0f} pictures",
            f"{top_k} candidates",
            describe_setting(components.info, components.weight.value),
            *([f"{n_truncated:,.0f} headlines cut by the backbone"] if n_truncated else []),
        ],
        measures={
            name: (metrics[f"retrieval/{key}"], metrics[f"reranked/{key}"])
            for name, key in names.items()
            if f"retrieval/{key}" in metrics
        },
        parts=scores.components,
        captions=scores.captions,
        warning=components.info.warning,
        confidences=() if confidences is None else confidences.tolist(),
    )


@dataclass(frozen=True)
class Stages:
    """Both stages of a run, from which queries are described."""

    collection: Collection
    retrieved: Candidates
    reranked: Candidates
    details: Details
    comparison: pd.DataFrame | None
    editors: Mapping[str, int]

    def describe(self, position: int) -> dict[str, Any]:
        """Return the description of a query: its first candidates before and after."""
        query = self.collection.queries[position]
        before, after = (
            {int(row): i for i, row in enumerate(stage.rows[position])}
            for stage in (self.retrieved, self.reranked)
        )
        first_before, first_after = list(before)[:N_SHOWN], list(after)[:N_SHOWN]
        fused = self.reranked.scores[position]
        captions, confidences = self.details.captions, self.details.confidences
        changed = first_before[0] != first_after[0]
        entry: dict[str, Any] = {
            "id": query.query_id,
            "title": query.title,
            "outcome": "changed" if changed else "unchanged",
            "gap": shorten(fused[0] - fused[1]) if len(fused) > 1 else 0.0,
            "before": first_before,
            "after": first_after,
            "candidates": {
                row: self._describe_candidate(position, row, before[row], after[row])
                for row in dict.fromkeys([*first_before, *first_after])
            },
            "range": [
                [shorten(scores.min()), shorten(scores.max())]
                for scores in (self.retrieved.scores[position], fused)
            ],
            "captions": list(captions[position]) if captions else [],
            "confidence": shorten(confidences[position]) if len(confidences) else None,
            "editors": [],
            "named": True,
        }
        if self.comparison is not None and self.collection.qrels is not None:
            entry["outcome"] = self.comparison["outcome"].iloc[position]
            named = self.collection.qrels.get(query.query_id, {})
            entry["named"] = bool(named)
            entry["editors"] = [
                [
                    row,
                    image_id,
                    *(stage[row] + 1 if row in stage else None for stage in (before, after)),
                ]
                for image_id in named
                if (row := self.editors.get(image_id)) is not None
            ]
        return entry

    def _describe_candidate(self, position: int, row: int, old: int, new: int) -> list[Any]:
        """Return id, both ranks, retrieval, rerank and fused score, and the criteria's scores."""
        scores = [
            self.retrieved.parts["retrieval"][position, old],
            self.reranked.parts["rerank"][position, new],
            self.reranked.scores[position, new],
            *(part[position, old] for part in self.details.parts.values()),
        ]
        image_id = self.retrieved.images[row].image_id
        return [image_id, old + 1, new + 1, *map(shorten, scores)]


def check_aligned(details: Details, retrieved: Candidates) -> None:
    """Check that details have the shape of the candidates.

    Raises:
        ValueError: If a shape differs; names it.
    """
    for name, scores in details.parts.items():
        if scores.shape != retrieved.rows.shape:
            raise ValueError(
                f"scores of {name} must be {retrieved.rows.shape}, as the candidates are, "
                f"got {scores.shape}"
            )
    if details.captions and len(details.captions) != len(retrieved.rows):
        raise ValueError(
            f"captions must be of {len(retrieved.rows)} queries, got {len(details.captions)}"
        )


def list_rows(query: Mapping[str, Any]) -> Iterable[int]:
    """Return the rows of the pictures shown for a query."""
    return [*query["candidates"], *(editor[0] for editor in query["editors"])]


def fit_queries(
    queries: Sequence[Mapping[str, Any]],
    order: Iterable[int],
    n_bytes: float,
    measure: Callable[[int], float],
) -> list[int]:
    """Return the sorted positions of as many queries as fit, in order of priority.

    Args:
        queries: Descriptions of the queries.
        order: Positions in order of priority.
        n_bytes: Available size.
        measure: Function that returns the size of a row's thumbnail in bytes.
    """
    kept: list[int] = []
    seen: set[int] = set()
    for position in order:
        rows = set(list_rows(queries[position])) - seen
        n_bytes -= len(to_json(queries[position])) + sum(measure(row) + 12 for row in rows)
        if n_bytes < 0:
            break
        seen |= rows
        kept.append(position)
    return sorted(kept)


def to_json(data: Any) -> str:
    """Return JSON in ASCII that is safe inside a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def shorten(score: Any) -> float:
    """Round to five significant digits."""
    return float(f"{float(score):.5g}")
