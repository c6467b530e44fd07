"""What an evaluation knows beyond its means: the curve over all weights, and what is chance."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from newsimg.datatypes import Candidates, Collection, FloatArray, FusedArray, IntArray, Qrels
from newsimg.evaluation.comparison import find_ranks
from newsimg.evaluation.curve import Plateau, find_plateau, trace_curve, trace_segments
from newsimg.evaluation.member_curves import draw_member
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.stats import bound_means, compute_p_values, measure_effective_weight
from newsimg.interfaces import Reranker, Weight
from newsimg.reporting.plots import CurvePlot, plot_curves
from newsimg.weight.base import LinearEnsemble, LinearWeight

log = logging.getLogger(__name__)
FEW = 0.05  # below this share of changed first images, a weight is called ineffective


def find_gold_columns(collection: Collection, retrieved: Candidates, qrels: Qrels) -> IntArray:
    """Return the column of each query's editor's picture among its candidates; -1 if not there.

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
) -> dict[str, float]:
    """Write `curve.csv` and `curve.png`: the measures over all weights, whatever the run's own.

    Args:
        collection: Queries with the editors' pictures.
        retrieved: The candidates in retrieval order.
        scores: The reranker's scores, aligned with `retrieved`.
        weight: Its normalisation counts, and its value is marked. A curve needs a linear one.
        output_dir: Where the files go.

    Returns:
        `curve/best_weight` (the plateau's midpoint), `curve/plateau_low`, `curve/plateau_high` and
        `curve/best_hits_at_1`; `effective_weight` of the run's own weight. Nothing where there is
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
    table, plateau, plot = _draw_curve(_Sides(start, end, gold_columns))
    (output_dir / "curve.csv").write_bytes(table)
    plot.save(weight.value, output_dir / "curve.png")
    return {
        "curve/best_weight": plateau.midpoint,
        "curve/plateau_low": plateau.low,
        "curve/plateau_high": plateau.high,
        "curve/best_hits_at_1": plateau.value,
        "effective_weight": measure_effective_weight(start, end, weight.value),
    }


class _Sides:
    """What a curve is drawn from; equal in the jobs of a sweep that differ in weight alone."""

    def __init__(self, start: FusedArray, end: FusedArray, gold_columns: IntArray) -> None:
        self.arrays = (start, end, gold_columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sides) and all(
            np.array_equal(own, others)
            for own, others in zip(self.arrays, other.arrays, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(array.shape for array in self.arrays))


@lru_cache(maxsize=1)
def _draw_curve(sides: _Sides) -> tuple[bytes, Plateau, CurvePlot]:
    start, end, gold_columns = sides.arrays
    cutoffs = [k for k in CUTOFFS if k <= start.shape[1]]
    curve = trace_curve(start, end, gold_columns, cutoffs)
    plateau = find_plateau(curve, "hits_at_1")
    measures = ["hits_at_1", *([f"mrr_at_{cutoffs[-1]}"] if len(cutoffs) > 1 else [])]
    return to_csv(curve), plateau, CurvePlot(curve, plateau, measures)


def report_members(
    collection: Collection,
    retrieved: Candidates,
    reranker: Reranker,
    weight: Weight,
    output_dir: Path,
) -> dict[str, float]:
    """Write `curve_<member>.csv` for each member of an ensemble, and `curve_members.png`.

    The weight of these curves is the member's share of the ensemble, the others in proportion.

    Returns:
        `curve/<member>/best_share`, `.../plateau_low`, `.../plateau_high`, `.../best_hits_at_1`;
        nothing for other rerankers.
    """
    qrels = collection.qrels
    if not (isinstance(reranker, LinearEnsemble) and isinstance(weight, LinearWeight) and qrels):
        return {}
    members = reranker.normalize_members(collection.queries, retrieved)
    if len(members) < 2 or any(len(relevant) != 1 for relevant in qrels.values()):
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
    """Write a curve as CSV; weights in full, so that reading it gives the same intervals."""
    path.write_bytes(to_csv(curve))


def to_csv(curve: pd.DataFrame) -> bytes:
    """Return a curve as CSV; see `write_curve`."""
    # pandas takes seconds for the tens of thousands of rows that a curve may have.
    table = curve.round({name: 12 for name in curve.columns[2:]})
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.Table.from_pandas(table, preserve_index=False), sink)
    return bytes(sink.getvalue())


def report_statistics(measures: Mapping[str, pd.DataFrame], output_dir: Path) -> dict[str, float]:
    """Write `statistics.csv`: each stage's means and their difference with 95 % intervals, and p.

    Args:
        measures: Per-query values of "retrieval" and "reranked".
        output_dir: Where the file goes.

    Returns:
        `delta/hits_at_1_low`, `delta/hits_at_1_high`, `delta/hits_at_1_p` and so on.
    """
    delta = measures["reranked"] - measures["retrieval"]
    stages = {"retrieval": measures["retrieval"], "reranked": measures["reranked"], "delta": delta}
    wide = [values.add_prefix(f"{stage}/") for stage, values in stages.items()]
    table = bound_means(pd.concat(wide, axis="columns"))
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
    """Warn of a reranker that has nothing to say, or that the weight gives no say."""
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
