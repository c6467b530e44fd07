"""Mean ratings and strengths of the runs that a survey compared."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from newsimg.datatypes import Rating
from newsimg.evaluation.ratings.preference import Pairs, pair_ratings, rate_runs
from newsimg.evaluation.ratings.rated import RatedPictures, arrange_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples

N_FITS = 200  # resamples of the strengths, each of which is fitted


def measure_runs(ratings: Sequence[Rating], n_resamples: int, seed: int) -> pd.DataFrame | None:
    """Compute the mean rating and, if people are known, the strength of each run.

    The mean is over articles, of each article's mean. Strengths are those of `preference`: a person
    who rates the pictures of two runs for an article prefers the one with the higher rating.

    Args:
        ratings: Ratings with `Rating.run`.
        n_resamples: Resamples of the means.
        seed: Seed of the resamples.

    Returns:
        A row per run, the best first: `n_articles`, `mean` with `mean_low` and `mean_high`, and
        `strength` with `strength_low`, `strength_high`. None if the runs are not known.
    """
    known = [replace(rating, image_id=rating.run) for rating in ratings if rating.run]
    if not known:
        return None
    articles = list(dict.fromkeys(rating.article_id for rating in known))
    rated = arrange_ratings(known, articles, 0.0)
    resamples = draw_resamples(rated, n_resamples, seed)
    names = np.array(rated.image_ids)
    rows = {}
    for run in dict.fromkeys(rating.run for rating in known):
        own = np.flatnonzero(names == run)
        values = np.full(resamples.queries.shape, np.nan)
        values[:, rated.query[own]] = resamples.means[:, own]
        mean = float(rated.means[own].mean())
        shares = np.zeros_like(values)
        shares[:, rated.query[own]] = resamples.shares[:, own]
        low, high, _ = resamples.bound(values, mean, shares)
        rows[run] = {"n_articles": len(own), "mean": mean, "mean_low": low, "mean_high": high}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")
    pairs = _pair(rated)
    if len(pairs.first):
        strengths = rate_runs(pairs, N_FITS, seed)[["strength", "low", "high"]]
        names_ = {"low": "strength_low", "high": "strength_high"}
        table = table.join(strengths.rename(columns=names_))
    return table.sort_values("mean", ascending=False, kind="stable")


def _pair(rated: RatedPictures) -> Pairs:
    given: dict[str, list[tuple[int, int, float]]] = {}
    for picture, rater, value in zip(rated.picture, rated.rater, rated.value, strict=True):
        if rater >= 0:
            place = (int(rated.query[picture]), int(rater), float(value))
            given.setdefault(rated.image_ids[picture], []).append(place)
    return pair_ratings(given)
