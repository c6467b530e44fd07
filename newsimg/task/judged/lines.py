"""Curves over the weight by people's ratings, as tasks use them."""

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, SharedResults
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.ratings.curve import RatedLines, draw_rated_lines
from newsimg.evaluation.ratings.measures import bound_measures
from newsimg.evaluation.ratings.rated import gather_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples
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
) -> RatedLines:
    """Score the candidates and normalise both sides, for measures by people's ratings.

    Raises:
        ValueError: If no candidates are rated, or a score is not finite.
    """
    rated = shared.get("ratings", gather_ratings, collection, retrieved)
    scores = shared.get("scores", score_candidates, collection, retrieved, reranker)
    check_scores(retrieved.parts["retrieval"], scores.values)
    return draw_rated_lines(
        weight.normalize(retrieved.parts["retrieval"]),
        weight.normalize(scores.values),
        rated,
        rated.find_columns(retrieved),
    )


def bound_by_ratings(
    collection: Collection,
    retrieved: Candidates,
    lines: RatedLines,
    weight: float,
    shared: SharedResults,
) -> pd.DataFrame:
    """Return the measures at a weight, and the gains, with intervals over articles and people.

    Args:
        collection: The queries and the ratings.
        retrieved: The candidates in retrieval order.
        lines: Result of `draw_by_ratings`.
        weight: The weight.
        shared: Results shared by the jobs of a sweep.

    Returns:
        See `bound_measures`; the column `over` says what the intervals are over.
    """
    rated = shared.get("ratings", gather_ratings, collection, retrieved)
    resamples = shared.get("rating resamples", draw_resamples, rated, N_RESAMPLES, SEED)
    cutoffs = [k for k in CUTOFFS if k <= retrieved.rows.shape[1]]
    columns = rated.find_columns(retrieved)
    after = np.zeros_like(columns)
    after[columns >= 0] = lines.rank(weight)
    stages = {
        "retrieval": (lines.score_retrieval(cutoffs), columns + 1),
        "reranked": (lines.score(weight, cutoffs), after),
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
