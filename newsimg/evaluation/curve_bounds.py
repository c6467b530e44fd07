"""Confidence intervals of a curve, and weights that are not significantly below the best."""

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.curve import rank_at, score_ranks
from newsimg.evaluation.stats import bound_means

N_WEIGHTS = 201  # evenly spaced: an interval changes little from one to the next


def bound_curve(
    start: FusedArray, end: FusedArray, gold_columns: IntArray, measure: str, best: float
) -> pd.DataFrame:
    """Compute a measure's difference to weight 0, and to the best weight, with 95 % intervals.

    Both are paired by query; the intervals are those of each weight alone.

    Args:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order.
        end: The same at weight 1.
        gold_columns: (n_queries,) column of the relevant image, -1 if it is not a candidate.
        measure: One of those of `trace_curve`.
        best: The weight that the others are compared with.

    Returns:
        A row for each of 201 weights and `best`: `weight`, `value`, `low` and `high` (of the value,
        by the interval of its difference to weight 0), `as_good`: whether the interval of its
        difference to `best` includes 0.
    """
    weights = list_weights(best)
    ranks = np.stack([rank_at(start, end, gold_columns, weight) for weight in weights])
    scores = score_ranks(ranks.ravel(), [int(measure.rpartition("_")[2])])[measure]
    return bound_weights(weights, scores.to_numpy().reshape(ranks.shape).T, best)


def list_weights(best: float) -> FusedArray:
    """Return the weights of `bound_curve`, ascending."""
    return np.union1d(np.linspace(0, 1, N_WEIGHTS), [best])


def bound_weights(weights: FusedArray, table: FusedArray, best: float) -> pd.DataFrame:
    """Compute the result of `bound_curve` from each query's values.

    Args:
        weights: Result of `list_weights`.
        table: (n_queries, n_weights) the measure; NaN where it is missing.
        best: The weight that the others are compared with.
    """
    at_best = table[:, [int(np.searchsorted(weights, best))]]
    gains, losses = (bound_means(pd.DataFrame(table - own)) for own in (table[:, :1], at_best))
    retrieval = np.nanmean(table[:, 0])
    return pd.DataFrame(
        {
            "weight": weights,
            "value": np.nanmean(table, axis=0),
            "low": retrieval + gains["low"],
            "high": retrieval + gains["high"],
            "as_good": losses["high"] >= 0,
        }
    )
