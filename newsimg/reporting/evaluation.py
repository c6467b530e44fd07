"""Curves, intervals and significance tests of an evaluation."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from newsimg.datatypes import (
    Candidates,
    Collection,
    FloatArray,
    FusedArray,
    IntArray,
    Qrels,
    RerankScores,
    SharedResults,
)
from newsimg.evaluation.comparison import find_ranks
from newsimg.evaluation.curve import Plateau, find_plateau, trace_curve, trace_segments
from newsimg.evaluation.curve_bounds import bound_curve
from newsimg.evaluation.member_curves import draw_member
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.stats import (
    bound_means,
    compute_p_values,
    draw_resamples,
    measure_effective_weight,
)
from newsimg.interfaces import Weight
from newsimg.reporting.plots import CurvePlot, plot_curves
from newsimg.weight.base import LinearWeight

log = logging.getLogger(__name__)
FEW = 0.05  # below this share of changed first images, a weight is called ineffective


def find_gold_columns(collection: Collection, retrieved: Candidates, qrels: Qrels) -> IntArray:
    """Return the column of each relevant image among its candidates; -1 if it is none.

    Raises:
        ValueError: If a query has several.
    """
    for query_id, relevant in qrels.items():
        if len(relevant) != 1:
            raise ValueError(
                f"a curve needs one editor's picture per query, "
                f"got {len(relevant)} for {query_id!r}"
            )
    return find_ranks(collection, retrieved, qrels).fillna(0).to_numpy(dtype=np.int64) - 1


def report_curve(
    collection: Collection,
    retrieved: Candidates,
    scores: FloatArray,
    weight: Weight,
    output_dir: Path,
    shared: SharedResults,
) -> dict[str, float]:
    """Write `curve.csv` and `curve.png`, the measures over all weights.

    `curve_bounds.csv` has the intervals of Hits@1; see `bound_curve`.

    Args:
        collection: Queries with the editors' pictures.
        retrieved: The candidates in retrieval order.
        scores: The reranker's scores, aligned with `retrieved`.
        weight: Normalisation of the curve, which must be linear; its value is marked.
        output_dir: Where the files go.
        shared: Results shared by jobs that differ only in the weight's value.

    Returns:
        `curve/best_weight` (the plateau's midpoint), `curve/plateau_low`, `curve/plateau_high` and
        `curve/best_hits_at_1`; `effective_weight` of the run's own weight. Empty if there is
        no curve.
    """
    qrels = collection.qrels
    if not isinstance(weight, LinearWeight) or qrels is None:
        log.info("no curve: %s is not linear in its value", type(weight).__name__)
        return {}
    if any(len(relevant) != 1 for relevant in qrels.values()):
        log.warning("no curve: some queries have several editors' pictures")
        return {}
    gold_columns = find_gold_columns(collection, retrieved, qrels)
    start, end = weight.normalize(retrieved.parts["retrieval"]), weight.normalize(scores)
    table, bounds, plateau, plot = shared.get("curve", _draw_curve, start, end, gold_columns)
    (output_dir / "curve.csv").write_bytes(table)
    (output_dir / "curve_bounds.csv").write_bytes(bounds)
    plot.save(weight.value, output_dir / "curve.png")
    return {
        "curve/best_weight": plateau.midpoint,
        "curve/plateau_low": plateau.low,
        "curve/plateau_high": plateau.high,
        "curve/best_hits_at_1": plateau.value,
        "effective_weight": measure_effective_weight(start, end, weight.value),
    }


def _draw_curve(
    start: FusedArray, end: FusedArray, gold_columns: IntArray
) -> tuple[bytes, bytes, Plateau, CurvePlot]:
    cutoffs = [k for k in CUTOFFS if k <= start.shape[1]]
    curve = trace_curve(start, end, gold_columns, cutoffs)
    plateau = find_plateau(curve, "hits_at_1")
    measures = ["hits_at_1", *([f"mrr_at_{cutoffs[-1]}"] if len(cutoffs) > 1 else [])]
    bounds = bound_curve(start, end, gold_columns, "hits_at_1", plateau.midpoint)
    return to_csv(curve), to_csv(bounds), plateau, CurvePlot(curve, bounds, measures)


def report_members(
    collection: Collection,
    retrieved: Candidates,
    scores: RerankScores,
    weight: Weight,
    output_dir: Path,
) -> dict[str, float]:
    """Write `curve_<member>.csv` for each member of an ensemble, and `curve_members.png`.

    The weight of these curves is the member's share of the ensemble.

    Returns:
        `curve/<member>/best_share`, `.../plateau_low`, `.../plateau_high`, `.../best_hits_at_1`;
        nothing for other rerankers.
    """
    qrels = collection.qrels
    members = scores.members
    if len(members) < 2 or not isinstance(weight, LinearWeight) or not qrels:
        return {}
    if any(len(relevant) != 1 for relevant in qrels.values()):
        return {}
    retrieval = weight.normalize(retrieved.parts["retrieval"])
    gold_columns = find_gold_columns(collection, retrieved, qrels)
    cutoffs = [k for k in CUTOFFS if k <= retrieval.shape[1]]
    curves: dict[str, pd.DataFrame] = {}
    metrics: dict[str, float] = {}
    for name in members:
        segments = draw_member(retrieval, members, name, weight, gold_columns)
        if segments is None:
            log.warning(
                "no curves of the members: weight must be none, l1 or minmax, or its value 1"
            )
            return {}
        curves[name] = trace_segments(segments, cutoffs)
        write_curve(curves[name], output_dir / f"curve_{name}.csv")
        plateau = find_plateau(curves[name], "hits_at_1")
        metrics |= {
            f"curve/{name}/best_share": plateau.midpoint,
            f"curve/{name}/plateau_low": plateau.low,
            f"curve/{name}/plateau_high": plateau.high,
            f"curve/{name}/best_hits_at_1": plateau.value,
        }
    plot_curves(curves, "hits_at_1", output_dir / "curve_members.png", "member's share")
    return metrics


def write_curve(curve: pd.DataFrame, path: Path) -> None:
    """Write a curve as CSV with weights in full precision."""
    path.write_bytes(to_csv(curve))


def to_csv(curve: pd.DataFrame) -> bytes:
    """Return a curve as CSV; see `write_curve`."""
    # pandas takes seconds for the tens of thousands of rows that a curve may have.
    table = curve.round({name: 12 for name in curve.columns[2:]})
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), sink)
    return bytes(sink.getvalue())


def report_statistics(
    measures: Mapping[str, pd.DataFrame], output_dir: Path, shared: SharedResults
) -> dict[str, float]:
    """Write `statistics.csv`: each stage's means and their difference with 95 % intervals, and p.

    Args:
        measures: Per-query values of "retrieval" and "reranked".
        output_dir: Where the file goes.
        shared: Results shared by the jobs of a sweep.

    Returns:
        `delta/hits_at_1_low`, `delta/hits_at_1_high`, `delta/hits_at_1_p` and so on.
    """
    delta = measures["reranked"] - measures["retrieval"]
    stages = {"retrieval": measures["retrieval"], "reranked": measures["reranked"], "delta": delta}
    wide = [values.add_prefix(f"{stage}/") for stage, values in stages.items()]
    resamples = shared.get("resamples", draw_resamples, len(delta)) if len(delta) > 1 else None
    table = bound_means(pd.concat(wide, axis="columns"), resamples)
    table["p"] = compute_p_values(delta).add_prefix("delta/")
    table.to_csv(output_dir / "statistics.csv", index_label="measure")
    return {
        f"{name}_{column}": float(row[column])
        for name, row in table.iterrows()
        if str(name).startswith("delta/")
        for column in ("low", "high", "p")
    }


def check_reranker(
    retrieved: Candidates, scores: FloatArray, weight: Weight, n_changed: int
) -> None:
    """Warn about rerank scores or weights that do not change the ranking."""
    n_queries, top_k = scores.shape
    if np.array_equal(scores, retrieved.parts["retrieval"]):
        log.info("the reranker repeats the retrieval scores: no weight changes the order")
    elif (scores == scores[:, :1]).all():
        log.warning("the reranker gives all candidates of a query one score: it decides nothing")
    elif (np.argsort(-scores, axis=1, kind="stable") == np.arange(top_k)).all():
        log.warning("the reranker orders all candidates as retrieval does: no weight helps")
    elif weight.value > 0 and n_changed < FEW * n_queries:
        log.warning(
            "at weight %.10g the first image changes for %d of %d queries only",
            weight.value,
            n_changed,
            n_queries,
        )
