"""Calibrate the confidence in the first picture on one split and report it on another."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from newsimg.datatypes import Candidates, Collection
from newsimg.evaluation.comparison import find_ranks, keep_judged, take_queries
from newsimg.evaluation.confidence.calibration import RIGHT, Calibration, fit_calibration
from newsimg.evaluation.confidence.features import describe_first
from newsimg.evaluation.confidence.reliability import Reliability, measure_reliability
from newsimg.evaluation.ratings.rated import gather_ratings
from newsimg.interfaces import Components, Task
from newsimg.pipeline import rerank
from newsimg.reporting.console import console, print_command, print_table, shorten_path
from newsimg.reporting.plots import plot_reliability
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.task.splits.loading import Split, load_splits

log = logging.getLogger(__name__)

COVERAGES = (1.0, 0.8, 0.6, 0.4, 0.2)  # on the console
N_MIN = 50  # fewer headlines than this are warned of


class CalibrateTask(Task):
    """Fits the confidence to the headlines of `data.split` and measures it on another split.

    Writes `confidence.json`, the calibration for `task.confidence_path`; `reliability.csv`,
    `risk_coverage.csv` and `reliability.png` of the split that is reported on; `measures.csv`; and
    `confidence.csv`, a row for each of its headlines.

    Args:
        rated_well: The confidence is the probability that people's mean rating of the first picture
            is at least this, over headlines whose first picture is rated; None for the probability
            that it is the editor's.
        report_split: Split to report on.
        isotonic: Whether to fit an isotonic regression to the logistic regression's scores.
        n_bins: Number of bins of the reliability plot and of the ECE.
        setting: Config values that the calibration holds for.

    Raises:
        ValueError: If `n_bins` is below 2.
    """

    def __init__(
        self,
        *,
        report_split: str,
        isotonic: bool,
        n_bins: int,
        setting: Mapping[str, str],
        rated_well: float | None = None,
    ) -> None:
        if n_bins < 2:
            raise ValueError(f"task.n_bins must be at least 2, got {n_bins}")
        self.rated_well = rated_well
        self.target = (
            RIGHT if rated_well is None else f"the first picture is rated at least {rated_well:g}"
        )
        self.report_split = report_split
        self.isotonic = isotonic
        self.n_bins = n_bins
        self.setting = setting

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            Of the split that is reported on: `confidence/ece`, `confidence/brier`,
            `confidence/brier_constant`, `confidence/aurc`, each with `_low` and `_high`;
            `n_queries`, `n_fitted` and `share_right`.

        Raises:
            ValueError: If editors' pictures or ratings are not known, a query is in both splits, or
                the first picture is right for none or all of the headlines.
        """
        way = "task.report_split must name another split"
        fitted, reported = load_splits(components, self.report_split, way)
        assert reported is not None
        _, ranked, is_right = self._judge(components, fitted)
        calibration = fit_calibration(
            describe_first(ranked),
            is_right,
            isotonic=self.isotonic,
            setting=self.setting,
            n_images=len(fitted[1].images),
            target=self.target,
        )
        collection, unseen, is_right = self._judge(components, reported)
        confidences = calibration.predict(describe_first(unseen))
        found = measure_reliability(confidences, is_right, self.n_bins)

        path = output_dir / "confidence.json"
        calibration.save(path)
        found.bins.to_csv(output_dir / "reliability.csv", index=False)
        found.risks.to_csv(output_dir / "risk_coverage.csv", index=False)
        found.measures.to_csv(output_dir / "measures.csv", index_label="measure")
        pd.DataFrame(
            {
                "query_id": [query.query_id for query in collection.queries],
                "confidence": confidences,
                "is_right": is_right,
            }
        ).to_csv(output_dir / "confidence.csv", index=False)
        plot_reliability(found, output_dir / "reliability.png")
        self._print(found, calibration, components, path)
        metrics: dict[str, float] = {
            "n_fitted": calibration.n_queries,
            "n_queries": len(confidences),
            "share_right": float(is_right.mean()),
        }
        for name, row in found.measures.iterrows():
            metrics[f"confidence/{name}"] = row["value"]
            metrics |= {f"confidence/{name}_{end}": row[end] for end in ("low", "high")}
        return metrics

    def _judge(
        self, components: Components, split: Split
    ) -> tuple[Collection, Candidates, NDArray[np.bool_]]:
        """Return judged queries, their reranked candidates, and whether the first is right."""
        if self.rated_well is None:
            collection, reranked = rank_split(components, keep_judged(*split))
            ranks = find_ranks(collection, reranked, collection.qrels or {})
            return collection, reranked, ranks.eq(1).fillna(value=False).to_numpy(dtype=bool)
        return judge_by_ratings(*rank_split(components, split), self.rated_well)

    def _print(
        self, found: Reliability, calibration: Calibration, components: Components, path: Path
    ) -> None:
        title = f"fitted to {calibration.n_queries} headlines, reported on {self.report_split}"
        print_table(found.measures.rename_axis("measure").reset_index(), title)
        rows = [
            found.risks.iloc[int(np.searchsorted(found.risks["coverage"], coverage - 1e-9))]
            for coverage in COVERAGES
        ]
        wrong = "wrong first pictures"
        if self.rated_well is not None:
            wrong = f"first pictures rated below {self.rated_well:g}"
        print_table(pd.DataFrame(rows), f"share of {wrong} among those kept")
        where = shorten_path(path)
        console.print(f"calibration    {where}")
        if calibration.n_queries < N_MIN:
            console.print(
                f"{calibration.n_queries} headlines are few: the confidences are uncertain"
            )
        settings = ["task=infer", f"task.confidence_path={quote_value(where)}"]
        settings.append("task.min_confidence=0.3")
        print_command("use it", write_command("newsimg", components.info, settings, ["task"]))


def rank_split(components: Components, split: Split) -> Split:
    """Rerank the queries of a split."""
    collection, retrieved = split
    return collection, rerank(collection, retrieved, components.reranker, components.weight)


def judge_by_ratings(
    collection: Collection, reranked: Candidates, rated_well: float
) -> tuple[Collection, Candidates, NDArray[np.bool_]]:
    """Return the queries whose first picture is rated, and whether its mean is high enough.

    Args:
        collection: The queries and the ratings.
        reranked: Their candidates.
        rated_well: Least mean rating.

    Raises:
        ValueError: If there are no ratings of first pictures.
    """
    rated = gather_ratings(collection, reranked)
    first = np.flatnonzero(rated.find_columns(reranked) == 0)
    n_queries = len(collection.queries)
    if not len(first):
        raise ValueError(f"no first picture of the {n_queries} headlines is rated")
    if len(first) < n_queries:
        log.warning(
            "the first pictures of %d of %d headlines are not rated: the others are used",
            n_queries - len(first),
            n_queries,
        )
    collection, reranked = take_queries(collection, reranked, rated.query[first].tolist())
    return collection, reranked, rated.means[first] >= rated_well
