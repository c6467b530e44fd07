"""Ratings in the results of an evaluation."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from newsimg.datatypes import Candidates, Collection, Run, SharedResults
from newsimg.evaluation.metrics import CUTOFFS, write_qrels
from newsimg.evaluation.ratings.agreement import measure_agreement
from newsimg.evaluation.ratings.measures import bound_measures, measure_ratings
from newsimg.evaluation.ratings.rated import RatedPictures, gather_ratings
from newsimg.evaluation.ratings.resampling import Resamples, draw_resamples
from newsimg.reporting.comparing.rated import write_given
from newsimg.reporting.console import console, print_table
from newsimg.reporting.plots import name_measure

N_RESAMPLES = 1000
SEED = 28
TOLERANCE = 0.02  # of the share of rated first pictures
SHOWN = ("mean_rating", "least_mean_rating", "ndcg_at_5", "ndcg_at_10")


def summarize_ratings(rated: RatedPictures, seed: int) -> dict[str, float]:
    """Return the numbers of ratings, and the agreement of people.

    Returns:
        `ratings/n_ratings`, `ratings/n_pictures`, `ratings/n_articles`, `ratings/n_raters` (0 if
        they are not known), `ratings/mean`, and `ratings/alpha` with `_low` and `_high` if several
        people rated one picture.
    """
    metrics: dict[str, float] = {
        "ratings/n_ratings": len(rated.value),
        "ratings/n_pictures": len(rated.image_ids),
        "ratings/n_articles": int(rated.is_rated.sum()),
        "ratings/n_raters": rated.n_raters,
        "ratings/mean": float(rated.value.mean()),
    }
    agreement = measure_agreement(rated, seed)
    if agreement is not None:
        metrics["ratings/alpha"] = agreement.alpha
        metrics |= {"ratings/alpha_low": agreement.low, "ratings/alpha_high": agreement.high}
    return metrics


def print_ratings(metrics: Mapping[str, float]) -> None:
    """Print the result of `summarize_ratings`."""
    n_raters = metrics["ratings/n_raters"]
    people = f"{n_raters:.0f} people" if n_raters else "unknown people"
    console.print(
        f"{metrics['ratings/n_ratings']:.0f} ratings by {people} of "
        f"{metrics['ratings/n_pictures']:.0f} pictures for {metrics['ratings/n_articles']:.0f} "
        f"headlines, mean {metrics['ratings/mean']:.4f}"
    )
    if "ratings/alpha" in metrics:
        low, high = metrics["ratings/alpha_low"], metrics["ratings/alpha_high"]
        console.print(
            f"agreement of people (Krippendorff's alpha, ordinal) {metrics['ratings/alpha']:.4f} "
            f"(95 % interval {low:.4f} to {high:.4f})"
        )


def report_ratings(
    collection: Collection,
    stages: Mapping[str, tuple[Run, Candidates]],
    output_dir: Path,
    shared: SharedResults,
) -> tuple[dict[str, float], pd.DataFrame]:
    """Write the measures of both stages by people's ratings; nothing without ratings.

    Writes `ratings.csv` (every measure with its interval), `rated_pictures.csv` (mean, number of
    ratings, spread and grade of each picture), `graded_qrels.txt` and `ratings.parquet`, the
    ratings, which task=compare reads.

    Args:
        collection: The queries and the ratings.
        stages: "retrieval" and "reranked" -> run and candidates.
        output_dir: Where the files go.
        shared: Results shared by the jobs of a sweep.

    Returns:
        The metrics, `retrieval/mean_rating`, `delta/ndcg_at_10_low` and so on, with those of
        `summarize_ratings`; and a row for each query with the measures of both stages.
    """
    if not collection.ratings:
        return {}, pd.DataFrame()
    retrieved = stages["retrieval"][1]
    rated = shared.get("ratings", gather_ratings, collection, retrieved)
    resamples: Resamples = shared.get("rating resamples", draw_resamples, rated, N_RESAMPLES, SEED)
    metrics = dict(shared.get("agreement", summarize_ratings, rated, SEED))
    cutoffs = [k for k in CUTOFFS if k <= retrieved.rows.shape[1]]
    tables = {}
    for stage, (run, candidates) in stages.items():
        ranks = rated.find_columns(candidates) + 1
        tables[stage] = measure_ratings(rated, run, ranks, cutoffs), ranks
    bounds = bound_measures(rated, tables, resamples)
    bounds.to_csv(output_dir / "ratings.csv")
    rated.describe().to_csv(output_dir / "rated_pictures.csv", index=False)
    write_qrels(rated.to_qrels(), output_dir / "graded_qrels.txt")
    write_given(output_dir, rated)
    for name, row in bounds.iterrows():
        metrics[str(name)] = row["value"]
        if str(name).startswith("delta/"):
            metrics |= {f"{name}_{end}": row[end] for end in ("low", "high", "p")}
    wide = [table.add_prefix(f"{stage}/") for stage, (table, _) in tables.items()]
    return metrics, pd.concat(wide, axis="columns")


def print_rated_measures(metrics: Mapping[str, float]) -> None:
    """Print the measures of both stages by people's ratings, if there are any."""
    if "ratings/n_ratings" not in metrics:
        return
    print_ratings(metrics)
    names = [name for name in SHOWN if f"delta/{name}" in metrics]
    print_table(
        pd.DataFrame(
            {
                "": [name_measure(name) for name in names],
                "retrieval": [metrics[f"retrieval/{name}"] for name in names],
                "reranked": [metrics[f"reranked/{name}"] for name in names],
                "delta": [f"{metrics[f'delta/{name}']:+.4f}" for name in names],
                "95 % interval": [
                    f"{metrics[f'delta/{n}_low']:+.4f} {metrics[f'delta/{n}_high']:+.4f}"
                    for n in names
                ],
                "p": [f"{metrics[f'delta/{name}_p']:.2g}" for name in names],
            }
        ),
        "by people's ratings",
    )
    console.print(
        describe_shares(metrics["retrieval/rated_share"], metrics["reranked/rated_share"])
    )
    console.print(
        "mean rating: of the rated first pictures, delta of headlines with both rated; least mean "
        "rating: those without ratings count as the lowest"
    )


def describe_shares(before: float, after: float) -> str:
    """Describe the share of first pictures that are rated, by retrieval and after reranking."""
    text = f"first pictures that are rated: {before:.4f} by retrieval, {after:.4f} after reranking"
    if after < before - TOLERANCE:
        return f"{text}: compare by least_mean_rating, as those without ratings are likely worse"
    return text
