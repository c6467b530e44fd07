"""Hits@k, MRR@k and Precision@k of a ranking, computed with ir_measures."""

from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, Qrels, Query, Run

CUTOFFS = (1, 5, 10, 25, 50, 100)
# Providers are named, as ir_measures would otherwise try all of them.
MEASURES = {
    "hits": (ir_measures.Success, ir_measures.pytrec_eval),
    "mrr": (ir_measures.RR, ir_measures.msmarco),
    "precision": (ir_measures.P, ir_measures.pytrec_eval),
}


def to_run(queries: Sequence[Query], candidates: Candidates) -> Run:
    """Convert candidates to a TREC run whose scores sort into the same order in any TREC tool.

    TREC tools compare scores in single precision and break ties by document id, so a score that
    is not below its predecessor's is lowered to the next smaller float32.
    """
    descending = candidates.scores.astype(np.float32)
    for rank in range(1, descending.shape[1]):
        below = np.nextafter(descending[:, rank - 1], np.float32(-np.inf))
        descending[:, rank] = np.minimum(descending[:, rank], below)
    return {
        query.query_id: {
            candidates.images[row].image_id: score for row, score in zip(rows, scores, strict=True)
        }
        for query, rows, scores in zip(
            queries, candidates.rows.tolist(), descending.tolist(), strict=True
        )
    }


def measure_retrieval(collection: Collection, candidates: Candidates) -> tuple[Run, pd.DataFrame]:
    """Return the candidates as a run, and its measures; see `measure_run`."""
    run = to_run(collection.queries, candidates)
    return run, measure_run(run, collection.qrels or {}, candidates.rows.shape[1])


def measure_run(run: Run, qrels: Qrels, top_k: int) -> pd.DataFrame:
    """Compute Hits@k, MRR@k and Precision@k of every query, at the usual cutoffs up to `top_k`.

    Hits@k is TREC's Success@k; with one relevant picture Precision@k is Hits@k / k. A query that is
    missing from the run, or whose picture is not among its candidates, counts 0.

    Returns:
        One row per query of `qrels`, in its order; columns `hits_at_1`, `mrr_at_1`,
        `precision_at_1`, ...
    """
    cutoffs = [k for k in CUTOFFS if k <= top_k]
    columns: dict[str, dict[str, float]] = {
        f"{name}_at_{k}": {} for k in cutoffs for name in MEASURES
    }
    for name, (measure, provider) in MEASURES.items():
        names = {measure @ k: f"{name}_at_{k}" for k in cutoffs}
        values = list(provider.iter_calc(list(names), qrels, run))
        # Measures are hashed by their text, which is slow for thousands of values.
        labels = {id(value.measure): value.measure for value in values}
        known = {key: columns[names[label]] for key, label in labels.items()}
        for value in values:
            known[id(value.measure)][value.query_id] = value.value
    table = pd.DataFrame(columns, columns=list(columns))
    table = table.reindex(index=list(qrels), fill_value=0.0).fillna(0.0)
    return table.rename_axis(index="query_id", columns="measure")


def write_run(run: Run, path: Path, tag: str) -> None:
    """Write a TREC run file; see `format_run`."""
    path.write_text(format_run(run, tag), encoding="utf-8")


def format_run(run: Run, tag: str) -> str:
    """Return the lines of a TREC run file: `query_id Q0 image_id rank score tag`."""
    return "".join(
        f"{query_id} Q0 {image_id} {rank} {score:.9g} {tag}\n"
        for query_id, scores in run.items()
        for rank, (image_id, score) in enumerate(scores.items(), start=1)
    )


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write a TREC qrels file: `query_id 0 image_id relevance`."""
    path.write_text(format_qrels(qrels), encoding="utf-8")


def format_qrels(qrels: Qrels) -> str:
    """Return the text of a TREC qrels file."""
    return "".join(
        f"{query_id} 0 {image_id} {relevance}\n"
        for query_id, relevant in qrels.items()
        for image_id, relevance in relevant.items()
    )
