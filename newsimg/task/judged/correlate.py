"""Correlate scores with people's ratings."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, FusedArray, IntArray, RerankScores
from newsimg.evaluation.comparison import take_queries
from newsimg.evaluation.curve import trace_curve
from newsimg.evaluation.ground_truth import match_ground_truth
from newsimg.evaluation.ratings.correlation import correlate_scores
from newsimg.evaluation.ratings.curve import draw_rated_lines
from newsimg.evaluation.ratings.rated import RatedPictures, gather_ratings
from newsimg.evaluation.ratings.resampling import draw_resamples
from newsimg.interfaces import Components, Reranker, Task, Weight
from newsimg.pipeline import load_and_retrieve, score_candidates
from newsimg.reporting.console import print_table
from newsimg.reporting.evaluation import find_gold_columns
from newsimg.reporting.judged.disagreement import join_curves, list_best, plot_disagreement
from newsimg.reporting.judged.ratings import print_ratings, summarize_ratings
from newsimg.reporting.plots import name_measure
from newsimg.storage.progress import announce
from newsimg.weight.base import LinearWeight, check_scores

log = logging.getLogger(__name__)


class CorrelateTask(Task):
    """Tells which scores agree with people: correlations inside each article.

    Writes `correlations.csv`: Kendall's and Spearman's correlation of the retrieval score, of each
    reranker's scores and of each component with the mean ratings. If the editors' pictures are
    known, also `hits_and_ratings.csv` and `hits_and_ratings.png`: Hits@1 and the mean rating of the
    first picture over the weights of each reranker, and `best_weights.csv`: the best weight by
    either.

    Args:
        rerankers: Name -> reranker; None for the run's.
        own_weights: Name of a reranker -> its default weight component, for the normalisation.
        reranker: Name of the run's reranker.
        n_resamples: Number of resamples of articles and people.
        seed: Seed of the resamples.

    Raises:
        ValueError: If `rerankers` is empty, or `n_resamples` is below 2.
    """

    def __init__(
        self,
        *,
        rerankers: Mapping[str, Reranker] | None,
        own_weights: Mapping[str, Weight],
        reranker: str,
        n_resamples: int,
        seed: int,
    ) -> None:
        if rerankers is not None and not rerankers:
            raise ValueError("task.rerankers must name at least one reranker or be null")
        if n_resamples < 2:
            raise ValueError(f"task.n_resamples must be at least 2, got {n_resamples}")
        self.rerankers = rerankers
        self.own_weights = own_weights
        self.reranker = reranker
        self.n_resamples = n_resamples
        self.seed = seed

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `correlation/retrieval/kendall` with `_low`, `_high`, `_p` and `_p_holm`, and so on for
            each score; `ratings/...`, see `summarize_ratings`; `best/NAME/...`, the weight, Hits@1
            and mean rating that are best by either measure.

        Raises:
            ValueError: If there are no ratings of the headlines.
        """
        collection, retrieved = load_and_retrieve(components)
        rated = gather_ratings(collection, retrieved)
        rerankers = self.rerankers or {self.reranker: components.reranker}
        scored = {
            name: score_candidates(collection, retrieved, one) for name, one in rerankers.items()
        }
        announce("measuring")
        metrics = summarize_ratings(rated, self.seed)
        print_ratings(metrics)
        columns = rated.find_columns(retrieved)
        table = correlate_scores(
            rated,
            _list_scores(rated, columns, retrieved, scored),
            draw_resamples(rated, self.n_resamples, self.seed),
        )
        table.to_csv(output_dir / "correlations.csv")
        print_table(_shorten(table), "rank correlation with people's ratings inside each headline")
        for name, row in table.iterrows():
            metrics |= {f"correlation/{name}/{key}": float(value) for key, value in row.items()}
        if collection.qrels:
            matched = match_ground_truth(collection, retrieved)
            joined = self._trace(components, matched, retrieved, scored)
            metrics |= _report_disagreement(joined, output_dir)
        return metrics

    def _trace(
        self,
        components: Components,
        collection: Collection,
        retrieved: Candidates,
        scored: Mapping[str, RerankScores],
    ) -> dict[str, pd.DataFrame]:
        """Return Hits@1 and mean rating over each reranker's weights, on the same headlines."""
        rated_ids = {rating.article_id for rating in collection.ratings}
        both = rated_ids & (collection.qrels or {}).keys()
        kept = [i for i, query in enumerate(collection.queries) if query.query_id in both]
        own, candidates = take_queries(collection, retrieved, kept)
        rated = gather_ratings(own, candidates)
        qrels = {query.query_id: (own.qrels or {})[query.query_id] for query in own.queries}
        gold = find_gold_columns(own, candidates, qrels)
        joined = {}
        for name, scores in scored.items():
            weight = self.own_weights.get(name, components.weight)
            if not isinstance(weight, LinearWeight):
                log.warning("no curve of %s: %s is not linear", name, type(weight).__name__)
                continue
            values = scores.values[kept]  # noqa: PD011
            check_scores(candidates.parts["retrieval"], values)
            start, end = weight.normalize(candidates.parts["retrieval"]), weight.normalize(values)
            lines = draw_rated_lines(start, end, rated, rated.find_columns(candidates))
            joined[name] = join_curves(trace_curve(start, end, gold, [1]), lines.draw_curve([]))
        return joined


def _list_scores(
    rated: RatedPictures,
    columns: IntArray,
    retrieved: Candidates,
    scored: Mapping[str, RerankScores],
) -> dict[str, FusedArray]:
    """Return each score of the rated pictures: (n_pictures,), NaN where it is no candidate."""
    tables = {"retrieval": retrieved.parts["retrieval"]}
    for name, scores in scored.items():
        tables[name] = scores.values  # noqa: PD011
        tables |= {f"{name}/{part}": values for part, values in scores.components.items()}
    return {
        name: np.where(columns >= 0, values[rated.query, columns].astype(np.float64), np.nan)
        for name, values in tables.items()
    }


def _shorten(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table for the console, the strongest correlation first."""
    shown = table.sort_values("kendall", ascending=False, kind="stable")
    return pd.DataFrame(
        {
            "score": shown.index,
            "Kendall": shown["kendall"],
            "95 % interval": [
                f"{row.kendall_low:+.4f} {row.kendall_high:+.4f}" for row in shown.itertuples()
            ],
            "Spearman": shown["spearman"],
            "headlines": [f"{n:.0f}" for n in shown["n_articles"]],
            "p (Holm)": [f"{p:.2g}" for p in shown["p_holm"]],
        }
    )


def _report_disagreement(joined: Mapping[str, pd.DataFrame], output_dir: Path) -> dict[str, float]:
    """Write and print where Hits@1 and the mean rating disagree; return the best weights."""
    if not joined:
        return {}
    pd.concat(joined, names=["reranker"]).droplevel(1).to_csv(output_dir / "hits_and_ratings.csv")
    best = list_best(joined)
    best.to_csv(output_dir / "best_weights.csv", index=False)
    plot_disagreement(joined, best, output_dir / "hits_and_ratings.png")
    shown = best.assign(**{"best by": best["best by"].map(name_measure)})
    print_table(
        shown.rename(columns={"hits_at_1": "Hits@1", "mean_rating": "mean rating"}),
        "best weight by either measure, on these headlines (task=tune reports on others)",
    )
    return {
        f"best/{row['reranker']}/{row['best by']}/{key}": float(row[key])
        for row in best.to_dict("records")
        for key in ("weight", "hits_at_1", "mean_rating", "rated_share")
    }
