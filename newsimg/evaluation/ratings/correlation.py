"""Rank correlation between a score and the ratings, inside each article."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.ratings.resampling import Resamples
from newsimg.evaluation.stats import compute_p_values, correct_holm


def correlate_scores(
    rated: RatedPictures, scores: Mapping[str, FusedArray], resamples: Resamples
) -> pd.DataFrame:
    """Compute Kendall's tau-b and Spearman's rho of scores with mean ratings.

    Both are computed inside each article, over its pictures that are candidates and rated, and
    averaged over the articles in which neither scores nor ratings are all equal.

    Args:
        rated: The ratings.
        scores: Name -> (n_pictures,) score of each rated picture; NaN if it is no candidate.
        resamples: Resamples of the ratings, for the intervals.

    Returns:
        A row per score: `n_articles`, `kendall` with `kendall_low` and `kendall_high`, `spearman`
        likewise, and `p` of Kendall's tau, by a test that flips the signs of the articles' values,
        corrected by Holm for the number of scores (`p_holm`).
    """
    rows = {}
    for name, values in scores.items():
        kendall, spearman = correlate(rated, values, rated.means[None])
        known = np.isfinite(kendall[0])

        def resample(means: FusedArray, v: FusedArray = values) -> FusedArray:
            return np.stack(correlate(rated, v, means), axis=1)

        drawn = resamples.compute(resample)
        taus = pd.DataFrame({name: kendall[0][known]})
        row = {"n_articles": int(known.sum())}
        for i, (label, one) in enumerate((("kendall", kendall), ("spearman", spearman))):
            mean = float(one[0][known].mean()) if known.any() else np.nan
            low, high, _ = resamples.bound(drawn[:, i], mean)
            row |= {label: mean, f"{label}_low": low, f"{label}_high": high}  # type: ignore[dict-item]
        row["p"] = float(compute_p_values(taus)[name]) if known.any() else np.nan  # type: ignore[assignment]
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")
    table["p_holm"] = correct_holm(table["p"].to_numpy())
    return table


def correlate(
    rated: RatedPictures, scores: FusedArray, means: FusedArray
) -> tuple[FusedArray, FusedArray]:
    """Return tau-b and rho of each article: (n_rows, n_queries) each, NaN where not defined.

    Both are read off the signs of differences between pairs of pictures: tau-b is their
    correlation, and the sum of a picture's signs is its mean rank, up to a constant.

    Args:
        rated: The ratings.
        scores: (n_pictures,) score of each rated picture, NaN if it is no candidate.
        means: (n_rows, n_pictures) mean ratings, NaN if there are none.
    """
    table = rated.table
    x = np.append(scores, np.nan)[table]  # (n_queries, n_most)
    y = np.append(means, np.full((len(means), 1), np.nan), axis=1)[:, table]
    inside = np.isfinite(x) & np.isfinite(y)
    pairs = inside[..., :, None] & inside[..., None, :]
    with np.errstate(invalid="ignore"):
        one = np.where(pairs, np.sign(x[..., :, None] - x[..., None, :]), 0.0)
        other = np.where(pairs, np.sign(y[..., :, None] - y[..., None, :]), 0.0)
    kendall = _divide(
        (one * other).sum(axis=(-2, -1)),
        np.sqrt((one**2).sum(axis=(-2, -1)) * (other**2).sum(axis=(-2, -1))),
    )
    ranks, others = one.sum(axis=-1), other.sum(axis=-1)
    spearman = _divide(
        (ranks * others).sum(axis=-1),
        np.sqrt((ranks**2).sum(axis=-1) * (others**2).sum(axis=-1)),
    )
    return kendall, spearman


def _divide(numerator: FusedArray, denominator: FusedArray) -> FusedArray:
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
