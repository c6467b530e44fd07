"""Curves over the weight by people's ratings, as tasks use them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, FusedArray, IntArray, SharedResults
from newsimg.evaluation.member_curves import draw_share
from newsimg.evaluation.ratings.curve import RatedLines, draw_rated_lines
from newsimg.evaluation.ratings.measures import bound_measures
from newsimg.evaluation.ratings.rated import gather_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.evaluation.tuning import Folds, TunedLines
from newsimg.interfaces import Reranker
from newsimg.pipeline import score_candidates
from newsimg.reporting.judged.ratings import N_RESAMPLES, SEED
from newsimg.weight.base import LinearWeight, check_scores


def draw_by_ratings(
    collection: Collection,
    retrieved: Candidates,
    reranker: Reranker,
    weight: LinearWeight,
    shared: SharedResults,
    share: str | None = None,
) -> RatedLines:
    """Score the candidates and normalise both sides, for measures by people's ratings.

    Raises:
        ValueError: If no candidates are rated, or a score is not finite.
    """
    rated = shared.get("ratings", gather_ratings, collection, retrieved)
    ends = draw_ends(collection, retrieved, reranker, weight, shared, share)
    return draw_rated_lines(*ends, rated, rated.find_columns(retrieved))


def draw_ends(
    collection: Collection,
    retrieved: Candidates,
    reranker: Reranker,
    weight: LinearWeight,
    shared: SharedResults,
    share: str | None,
) -> tuple[FusedArray, FusedArray]:
    """Score the candidates and return the fused scores at weight 0 and at weight 1.

    Args:
        collection: The queries.
        retrieved: Their candidates in retrieval order.
        reranker: Scores the candidates.
        weight: Normalises both sides.
        shared: Results shared by the jobs of a sweep.
        share: Member of an ensemble whose share takes the place of the weight; None for the weight.

    Raises:
        ValueError: If a score is not finite, or the scores are not linear in the share.
    """
    scores = shared.get("scores", score_candidates, collection, retrieved, reranker)
    check_scores(retrieved.parts["retrieval"], scores.values)
    start = weight.normalize(retrieved.parts["retrieval"])
    if share is not None:
        return draw_share(start, scores.members, share, weight)
    return start, weight.normalize(scores.values)


def rank_unseen(lines: Mapping[str, TunedLines], folds: Folds) -> IntArray:
    """Return the ranks of the rated candidates at weights that were chosen without their query.

    Args:
        lines: Option -> result of `draw_by_ratings`.
        folds: Result of `cross_validate`.

    Returns:
        (n_repeats, n_rated)
    """
    ranks = []
    for repeat in folds.repeats:
        own: dict[int, int] = {}
        for queries, choice in repeat:
            option = lines[choice.option]
            assert isinstance(option, RatedLines)
            inside = np.flatnonzero(np.isin(option.query, queries))
            own |= zip(inside.tolist(), option.rank(choice.weight)[inside].tolist(), strict=True)
        ranks.append([own[i] for i in range(len(own))])
    return np.array(ranks)


def bound_by_ratings(
    collection: Collection,
    retrieved: Candidates,
    measures: Mapping[str, pd.DataFrame],
    ranks: IntArray,
    shared: SharedResults,
) -> pd.DataFrame:
    """Return the measures and the gains with intervals over articles and people.

    Args:
        collection: The queries and the ratings.
        retrieved: The candidates in retrieval order.
        measures: Per-query values of "retrieval" and "reranked".
        ranks: (n_rated,) ranks of the rated candidates after reranking, or (n_repeats, n_rated),
            see `rank_unseen`.
        shared: Results shared by the jobs of a sweep.

    Returns:
        See `bound_measures`; the column `over` says what the intervals are over.
    """
    rated = shared.get("ratings", gather_ratings, collection, retrieved)
    resamples = shared.get("rating resamples", draw_resamples, rated, N_RESAMPLES, SEED)
    columns = rated.find_columns(retrieved)
    after = np.zeros((len(np.atleast_2d(ranks)), len(columns)), np.int64)
    after[:, columns >= 0] = ranks
    stages = {
        "retrieval": (measures["retrieval"], columns + 1),
        "reranked": (measures["reranked"], after),
    }
    over = "articles and people" if rated.n_raters else "articles"
    return bound_measures(rated, stages, resamples).assign(over=over)


def list_gains(bounds: pd.DataFrame) -> dict[str, float]:
    """Return `delta/mean_rating` with `_low`, `_high` and `_p`, and so on.

    Args:
        bounds: Result of `bound_by_ratings`.
    """
    return {
        f"{name}{end}": float(row[column])
        for name, row in bounds.iterrows()
        if str(name).startswith("delta/")
        for end, column in (("", "value"), ("_low", "low"), ("_high", "high"), ("_p", "p"))
    }
