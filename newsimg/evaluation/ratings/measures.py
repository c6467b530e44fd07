"""nDCG@k and the mean rating of the first picture, with intervals."""

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray, Run
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.ratings.resampling import Resamples

MEAN_RATING, LEAST_RATING, RATED_SHARE = "mean_rating", "least_mean_rating", "rated_share"


def measure_ratings(
    rated: RatedPictures, run: Run, ranks: IntArray, cutoffs: Sequence[int]
) -> pd.DataFrame:
    """Compute the measures of each query with ratings.

    nDCG@k is that of ir_measures with the grades of `RatedPictures.grades`, in which a picture
    without ratings counts as one with the lowest. The mean rating is that of the first picture,
    missing if it has none. Where fewer first pictures are rated, the mean over them is no fair
    comparison: pictures are rated because some run shows them, so that the others are likely worse.
    The least mean rating therefore counts those without ratings as the lowest.

    Args:
        rated: The ratings.
        run: The ranking.
        ranks: (n_pictures,) rank of each rated picture, 0 if it is no candidate.
        cutoffs: The k of nDCG@k.

    Returns:
        A row per query, indexed by its id: `mean_rating`, `least_mean_rating`, `rated_share` (1 or
        0) and `ndcg_at_1` and so on.
    """
    qrels = rated.to_qrels()
    own = [query_id for query_id in rated.query_ids if query_id in qrels]
    first = np.full(len(rated.query_ids), np.nan)
    first[rated.query[ranks == 1]] = rated.means[ranks == 1]
    table = pd.DataFrame({MEAN_RATING: first}, index=list(rated.query_ids)).loc[own]
    table[LEAST_RATING] = table[MEAN_RATING].fillna(rated.low)
    table[RATED_SHARE] = table[MEAN_RATING].notna().astype(float)
    names = {ir_measures.nDCG @ k: f"ndcg_at_{k}" for k in cutoffs}
    values: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    for found in ir_measures.pytrec_eval.iter_calc(list(names), qrels, run):
        values[names[found.measure]][found.query_id] = found.value
    graded = pd.DataFrame(values).reindex(own).fillna(0.0)
    return pd.concat([table, graded], axis="columns").rename_axis(index="query_id")


def bound_measures(
    rated: RatedPictures,
    stages: Mapping[str, tuple[pd.DataFrame, IntArray]],
    resamples: Resamples,
) -> pd.DataFrame:
    """Compute means and their intervals over articles and people, and those of the difference.

    The mean rating is that of the rated first pictures; its difference is that of the articles
    whose first pictures are rated in both stages.

    Args:
        rated: The ratings.
        stages: "retrieval" and "reranked", in this order: the result of `measure_ratings` and
            `ranks`, see `resample_measure`.
        resamples: Resamples of the ratings.

    Returns:
        A row per stage and measure, as `retrieval/mean_rating`, and per difference, as
        `delta/mean_rating`: `value`, `low`, `high`, and for differences `p`, see
        `Resamples.bound`.
    """
    rows = {}
    (before, (first, ranks)), (after, (second, new_ranks)) = stages.items()
    differences = second - first
    for name in map(str, first):
        old = resample_measure(rated, name, ranks, resamples)
        new = resample_measure(rated, name, new_ranks, resamples)
        shares = [find_shares(rated, name, own, resamples) for own in (ranks, new_ranks)]
        parts = {
            before: (first, old, shares[0]),
            after: (second, new, shares[1]),
            "delta": (differences, new - old, (shares[0] + shares[1]) / 2),
        }
        for stage, (table, values, own) in parts.items():
            value = float(table[name].mean())
            low, high, p = resamples.bound(values, value, own)
            rows[f"{stage}/{name}"] = {"value": value, "low": low, "high": high}
        rows[f"delta/{name}"]["p"] = p
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")
    order = [f"{stage}/{name}" for stage in (before, after, "delta") for name in first]
    return table.loc[order]


def resample_measure(
    rated: RatedPictures, measure: str, ranks: IntArray, resamples: Resamples
) -> FusedArray:
    """Return a measure of each query in each resample: (n_resamples, n_queries), NaN if missing.

    Args:
        rated: The ratings.
        measure: A column of `measure_ratings`.
        ranks: (n_pictures,) rank of each rated picture, 0 if it is no candidate; of several
            rankings (n_rankings, n_pictures), whose measures are averaged.
        resamples: Resamples of the ratings.
    """
    unrated = np.where(rated.is_rated, 0.0, np.nan)
    shown = _find_shown(ranks)
    share = rated.sum_up(shown)
    if measure == RATED_SHARE:
        return np.tile(unrated + share, (len(resamples.queries), 1))
    if measure == MEAN_RATING:
        everywhere = np.where(np.isclose(share, 1), 0.0, np.nan)
        return unrated + everywhere + rated.sum_up(resamples.means * shown)
    if measure == LEAST_RATING:
        return unrated + rated.low + rated.sum_up((resamples.means - rated.low) * shown)
    cutoff = int(measure.rpartition("_")[2])
    gained = np.atleast_2d(discount(ranks, cutoff)).mean(axis=0)
    discounts = np.append(gained, 0.0)[rated.table]
    ideal = discount(np.arange(1, rated.table.shape[1] + 1), cutoff)

    def compute_ndcg(means: FusedArray) -> FusedArray:
        # Position -1 in the table, for no picture, is the appended zero.
        gains = np.append(means - rated.low, np.zeros((len(means), 1)), axis=1)[:, rated.table]
        best = (-np.sort(-gains, axis=2)) @ ideal
        return unrated + (gains * discounts).sum(axis=2) / np.where(best > 0, best, 1)

    return resamples.compute(compute_ndcg)


def find_shares(
    rated: RatedPictures, measure: str, ranks: IntArray, resamples: Resamples
) -> FusedArray:
    """Return how often the ratings count that a measure is made of: (n_resamples, n_queries).

    Args:
        rated: The ratings.
        measure: A column of `measure_ratings`.
        ranks: See `resample_measure`.
        resamples: Resamples of the ratings.
    """
    if measure not in (MEAN_RATING, LEAST_RATING):
        return resamples.query_shares
    shown = _find_shown(ranks)
    others = (1 - rated.sum_up(shown)) * resamples.query_shares
    return rated.sum_up(resamples.shares * shown) + others


def _find_shown(ranks: IntArray) -> FusedArray:
    """Return the share of the rankings in which each picture comes first: (1, n_pictures)."""
    return (np.atleast_2d(ranks) == 1).mean(axis=0, keepdims=True)


def discount(ranks: IntArray, cutoff: int) -> FusedArray:
    """Return DCG's factor of each rank, 1 / log2(rank + 1); 0 above the cutoff and at rank 0."""
    inside = (ranks > 0) & (ranks <= cutoff)
    return np.where(inside, 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)
