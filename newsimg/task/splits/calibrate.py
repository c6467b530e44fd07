"""Calibrate the confidence in the first picture on one split and report it on another."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from newsimg.datatypes import Candidates, Collection
from newsimg.evaluation.comparison import find_ranks, keep_judged
from newsimg.evaluation.confidence.calibration import Calibration, fit_calibration
from newsimg.evaluation.confidence.features import describe_first
from newsimg.evaluation.confidence.reliability import Reliability, measure_reliability
from newsimg.interfaces import Components, Task
from newsimg.pipeline import rerank
from newsimg.reporting.console import console, print_command, print_table, shorten_path
from newsimg.reporting.plots import plot_reliability
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.task.splits.loading import Split, load_splits

COVERAGES = (1.0, 0.8, 0.6, 0.4, 0.2)  # on the console
N_MIN = 50  # fewer headlines than this are warned of


class CalibrateTask(Task):
    """Fits the confidence to the headlines of `data.split` and measures it on another split.

    Writes `confidence.json`, the calibration for `task.confidence_path`; `reliability.csv`,
    `risk_coverage.csv` and `reliability.png` of the split that is reported on; `measures.csv`; and
    `confidence.csv`, a row for each of its headlines.

    Args:
        report_split: Split to report on.
        isotonic: Whether to fit an isotonic regression to the logistic regression's scores.
        n_bins: Number of bins of the reliability plot and of the ECE.
        setting: Config values that the calibration holds for.

    Raises:
        ValueError: If `n_bins` is below 2.
    """

    def __init__(
        self, *, report_split: str, isotonic: bool, n_bins: int, setting: Mapping[str, str]
    ) -> None:
        if n_bins < 2:
            raise ValueError(f"task.n_bins must be at least 2, got {n_bins}")
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
            ValueError: If editors' pictures are not known, a query is in both splits, or the first
                picture is right for none or all of the headlines.
        """
        way = "task.report_split must name another split"
        fitted, reported = load_splits(components, self.report_split, way)
        assert reported is not None
        ranked, is_right = judge(*rank_split(components, fitted))
        calibration = fit_calibration(
            describe_first(ranked),
            is_right,
            isotonic=self.isotonic,
            setting=self.setting,
            n_images=len(fitted[1].images),
        )
        collection, unseen = rank_split(components, reported)
        unseen, is_right = judge(collection, unseen)
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

    def _print(
        self, found: Reliability, calibration: Calibration, components: Components, path: Path
    ) -> None:
        title = f"fitted to {calibration.n_queries} headlines, reported on {self.report_split}"
        print_table(found.measures.rename_axis("measure").reset_index(), title)
        rows = [
            found.risks.iloc[int(np.searchsorted(found.risks["coverage"], coverage - 1e-9))]
            for coverage in COVERAGES
        ]
        print_table(pd.DataFrame(rows), "share of wrong first pictures among those kept")
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
    """Rerank the judged queries of a split."""
    collection, retrieved = keep_judged(*split)
    return collection, rerank(collection, retrieved, components.reranker, components.weight)


def judge(collection: Collection, reranked: Candidates) -> tuple[Candidates, NDArray[np.bool_]]:
    """Return the candidates, and whether the first of each query is relevant."""
    ranks = find_ranks(collection, reranked, collection.qrels or {})
    return reranked, ranks.eq(1).fillna(value=False).to_numpy(dtype=bool)
