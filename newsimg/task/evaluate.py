"""Evaluate retrieval and reranking against the relevant images."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from newsimg.datatypes import Collection, Qrels
from newsimg.evaluation.comparison import compare_stages, keep_judged
from newsimg.evaluation.confidence.calibration import load_calibration, rate_first
from newsimg.evaluation.confidence.reliability import N_BINS, measure_reliability
from newsimg.evaluation.ground_truth import describe_coverage, match_ground_truth, measure_coverage
from newsimg.evaluation.metrics import (
    measure_retrieval,
    measure_run,
    to_run,
    write_qrels,
    write_run,
)
from newsimg.interfaces import Components, Task
from newsimg.pipeline import fuse, load_and_retrieve, score_candidates
from newsimg.reporting.comparing.candidates import write_candidates
from newsimg.reporting.console import console, print_command, print_evaluation
from newsimg.reporting.contact_sheet import draw_contact_sheet
from newsimg.reporting.evaluation import (
    check_reranker,
    report_curve,
    report_members,
    report_statistics,
)
from newsimg.reporting.judged.ratings import print_rated_measures, report_ratings
from newsimg.reporting.pages.cards import Stages, read_text_length
from newsimg.reporting.pages.report import describe_run, write_report
from newsimg.reporting.picture_folders import check_folder, save_pictures
from newsimg.reporting.quoting import write_command
from newsimg.storage.pictures.images import save_picture
from newsimg.storage.progress import announce


class EvaluateTask(Task):
    """Runs both stages over all queries and compares them.

    Writes `retrieval.run`, `reranked.run` and `qrels.txt` in TREC's formats, `queries.csv` with
    the ranks of each query, `candidates.parquet`, which task=compare reads, `statistics.csv` with
    intervals and tests, `curve.csv` and `curve.png` with the measures over all weights,
    `contact_sheet.jpg`, and `report.html`, a page of all queries with their candidates before and
    after.

    Args:
        n_sheet_queries: Headlines on the contact sheet; 0 for none.
        report: Whether to write `report.html`.
        save_pictures: Folder for the candidates of each headline, see `save_pictures`; None for
            none.
        copy_pictures: Whether to copy pictures there instead of linking to them.
        confidence_path: Calibration by task=calibrate, which adds a column to `queries.csv`; None
            for none.
        setting: Config values that the calibration must be for.

    Raises:
        ValueError: If `n_sheet_queries` is negative, or `save_pictures` is a folder with files.
    """

    def __init__(
        self,
        *,
        n_sheet_queries: int,
        report: bool,
        save_pictures: str | None,
        copy_pictures: bool,
        confidence_path: str | None,
        setting: Mapping[str, str] | None,
    ) -> None:
        if n_sheet_queries < 0:
            raise ValueError(f"task.n_sheet_queries must be at least 0, got {n_sheet_queries}")
        self.n_sheet_queries = n_sheet_queries
        self.report = report
        self.save_pictures = check_folder(save_pictures)
        self.copy_pictures = copy_pictures
        self.confidence_path = None if confidence_path is None else Path(confidence_path)
        self.setting = setting or {}

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `retrieval/hits_at_1`, `reranked/hits_at_1`, `delta/hits_at_1` and so on for Hits@k and
            MRR@k; `delta/hits_at_1_low`, `_high` and `_p` and so on; `ceiling` (Hits@top_k); the
            number of queries, images and candidates, of queries whose first image changed, of those
            helped and hurt, and of those whose end the backbone does not read (`n_truncated`);
            `n_judged`, the queries with a ground-truth picture among those searched, and
            `ground_truth_share`, their share; `curve/...` and `effective_weight`, see
            `report_curve`; `reranker/...` for what the reranker counted; `data/n_missing` and
            `data/n_damaged` for the pictures that were skipped, and `data/n_unjudged` for the
            headlines that are not measured, as their pictures are not known; with ratings
            `retrieval/mean_rating`, `delta/ndcg_at_10` and so on, see `report_ratings`; with a
            calibration `confidence/ece`, `confidence/brier` and so on, see `measure_reliability`.

        Raises:
            ValueError: If the data does not say which pictures the editors chose, or none of them
                is searched.
        """
        calibration = None
        if self.confidence_path is not None:
            calibration = load_calibration(self.confidence_path.expanduser(), self.setting)
        shared = components.shared
        loaded, found = load_and_retrieve(components)
        matched = shared.get("ground truth", match_ground_truth, loaded, found)
        collection, retrieved = shared.get("judged", keep_judged, matched, found)
        coverage = measure_coverage(collection, retrieved.images)
        qrels: Qrels = collection.qrels or {}
        reranker, weight = components.reranker, components.weight
        scores = shared.get("scores", score_candidates, collection, retrieved, reranker)
        reranked = fuse(retrieved, scores, weight)

        announce("measuring")
        top_k = retrieved.rows.shape[1]
        comparison = compare_stages(collection, retrieved, reranked, qrels)
        comparison["query_truncated"] = retrieved.truncated
        metrics = _summarize(comparison) | {"n_images": len(retrieved.images), "top_k": top_k}
        metrics |= _count_left_out(loaded, collection) | coverage
        metrics |= {f"reranker/{name}": value for name, value in scores.metrics.items()}
        confidences = None
        if calibration is not None:
            confidences = rate_first(calibration, reranked, len(retrieved.images))
            comparison["confidence"] = confidences
            is_right = comparison["reranked_rank"].eq(1).fillna(value=False).to_numpy(dtype=bool)
            quality = measure_reliability(confidences, is_right, N_BINS).measures["value"]
            metrics |= {f"confidence/{name}": value for name, value in quality.items()}
        retrieval_run, retrieval_measures = shared.get(
            "retrieval measures", measure_retrieval, collection, retrieved
        )
        reranked_run = to_run(collection.queries, reranked)
        write_run(retrieval_run, output_dir / "retrieval.run", tag="retrieval")
        write_run(reranked_run, output_dir / "reranked.run", tag="reranked")
        measures = {"retrieval": retrieval_measures}
        measures["reranked"] = measure_run(reranked_run, qrels, top_k)
        measures["delta"] = measures["reranked"] - measures["retrieval"]
        for stage, values in measures.items():
            metrics |= {f"{stage}/{name}": mean for name, mean in values.mean().items()}
        ranked = {"retrieval": (retrieval_run, retrieved), "reranked": (reranked_run, reranked)}
        by_ratings, rated_measures = report_ratings(collection, ranked, output_dir, shared)
        metrics |= by_ratings

        check_reranker(retrieved, scores.values, weight, int(metrics["n_changed"]))
        metrics |= report_statistics(measures, output_dir, shared)
        metrics |= report_curve(collection, retrieved, scores.values, weight, output_dir, shared)
        metrics |= report_members(collection, retrieved, scores, weight, output_dir)

        announce("drawing the report")
        write_qrels(qrels, output_dir / "qrels.txt")
        write_candidates(output_dir, collection, reranked)
        pd.concat([comparison, *_prefixed(measures), rated_measures], axis="columns").to_csv(
            output_dir / "queries.csv"
        )
        if self.save_pictures:
            save_pictures(self.save_pictures, collection, reranked, self.copy_pictures)
        if self.n_sheet_queries:
            sheet = draw_contact_sheet(
                collection, retrieved, reranked, comparison, self.n_sheet_queries
            )
            save_picture(sheet, output_dir / "contact_sheet.jpg", quality=90)
        if self.report:
            source = components.info.data or components.dataset.name
            length = read_text_length(components.backbone.description)
            stages = Stages(
                collection, retrieved, reranked, scores, weight, length, confidences=confidences
            )
            curve_path = output_dir / "curve.csv"
            curve = pd.read_csv(curve_path) if curve_path.exists() else None
            details = describe_run(source, components, metrics, curve)
            write_report(output_dir / "report.html", stages, details)
        print_evaluation(metrics, weight.value, components.info)
        print_rated_measures(metrics)
        if told := describe_coverage(coverage):
            console.print(told)
        values = ["weight.value=0,0.1,0.2,0.3"]
        print_command("sweep weights", write_command("newsimg -m", components.info, values))
        return metrics


def _summarize(comparison: pd.DataFrame) -> dict[str, float]:
    changed = comparison["retrieval_first"] != comparison["reranked_first"]
    return {
        "n_queries": len(comparison),
        "n_changed": int(changed.sum()),
        "n_helped": int((comparison["outcome"] == "helped").sum()),
        "n_hurt": int((comparison["outcome"] == "hurt").sum()),
        "n_truncated": int(comparison["query_truncated"].sum()),
        "ceiling": float(comparison["retrieval_rank"].notna().mean()),
    }


def _count_left_out(loaded: Collection, judged: Collection) -> dict[str, float]:
    counts: dict[str, float] = {f"data/n_{kind}": n for kind, n in loaded.skipped.items()}
    n_unjudged = len(loaded.queries) - len(judged.queries)
    return counts | ({"data/n_unjudged": n_unjudged} if n_unjudged else {})


def _prefixed(measures: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
    return [values.add_prefix(f"{stage}/") for stage, values in measures.items()]
