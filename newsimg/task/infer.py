"""Find pictures for headlines without ground truth."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.datatypes import (
    Candidates,
    Collection,
    FusedArray,
    IntArray,
    Query,
    SharedResults,
)
from newsimg.evaluation.confidence.calibration import load_calibration, rate_first
from newsimg.evaluation.ground_truth import (
    count_covered,
    describe_coverage,
    match_ground_truth,
)
from newsimg.evaluation.metrics import measure_retrieval, measure_run, to_run, write_run
from newsimg.interfaces import Components, Task
from newsimg.pipeline import (
    fuse,
    load_and_retrieve,
    retrieve_readable,
    score_candidates,
)
from newsimg.reporting.console import (
    console,
    cut_text,
    describe_setting,
    print_command,
    print_table,
    shorten_path,
)
from newsimg.reporting.pages.cards import Stages, read_text_length
from newsimg.reporting.pages.report import describe_run, write_report
from newsimg.reporting.picture_folders import check_folder, save_pictures
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.reporting.results import gather, write_results
from newsimg.storage.files import write_atomically
from newsimg.storage.progress import announce

log = logging.getLogger(__name__)

N_LETTERS = 100  # of a headline on the console
N_PRINTED = 5  # headlines on the console, or candidates of a single one
# What is typed for finding pictures and not for submitting them.
FINDING = (
    *("data", "backbone", "index", "engine", "reranker", "weight", "top_k", "seed", "experiment"),
    *("llm", "vlm", "prompt", "criteria"),
)


class InferTask(Task):
    """Runs both stages and writes the candidates of each headline, best first.

    Writes `results.parquet` and `results.jsonl` with all scores, `results.run` in TREC's format,
    `summary.json`, and `report.html`, a page of all headlines with their candidates before and
    after. Pictures with cached embeddings are only opened for that page.

    Args:
        query: A headline to use instead of those of the data.
        report: Whether to write `report.html`.
        save_pictures: Folder for the candidates of each headline, see `save_pictures`; None for
            none.
        copy_pictures: Whether to copy pictures there instead of linking to them.
        confidence_path: Calibration by task=calibrate, which adds the column `confidence`; None for
            none.
        min_confidence: Headlines whose confidence is below are left without a picture: they are
            listed in `unsure.csv`, marked in the results, and not in `results.run`. None for none.
        setting: Config values that the calibration must be for.

    Raises:
        ValueError: If `query` is blank, or `min_confidence` is not in [0, 1] or without
            `confidence_path`.
    """

    def __init__(
        self,
        *,
        query: str | None,
        report: bool,
        save_pictures: str | None,
        copy_pictures: bool,
        confidence_path: str | None,
        min_confidence: float | None,
        setting: Mapping[str, str] | None,
    ) -> None:
        if query is not None and not query.strip():
            raise ValueError(f"query must be a headline, got {query!r}")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise ValueError(f"task.min_confidence must be in [0, 1], got {min_confidence}")
        if min_confidence is not None and confidence_path is None:
            raise ValueError(
                "task.min_confidence needs task.confidence_path=FILE, the confidence.json that "
                "newsimg task=calibrate writes"
            )
        self.confidence_path = None if confidence_path is None else Path(confidence_path)
        self.min_confidence = min_confidence
        self.setting = setting or {}
        self.query = None if query is None else Query("query", query.strip(), typed=True)
        self.report = report
        self.save_pictures = check_folder(save_pictures)
        self.copy_pictures = copy_pictures

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_queries`, `n_images`, `top_k`, `n_changed` (queries whose first image changed),
            `n_truncated` (queries whose end the backbone does not read), `reranker/...` for what
            the reranker counted, `data/n_missing` and `data/n_damaged` for pictures that were
            skipped; with a calibration `mean_confidence` and `n_unsure`; and, where editors'
            pictures are in the index, `n_judged`, `ground_truth_share`,
            `retrieval/hits_at_1`, `reranked/hits_at_1`, `delta/hits_at_1` and so on for Hits@k and
            MRR@k. A picture that the index lacks counts 0.

        Raises:
            ValueError: If there are no headlines or no pictures.
        """
        if self.query is None and components.dataset.is_sample and not components.info.is_sample:
            log.warning(
                "the headlines are those of the sample newsroom, invented for its own pictures: "
                'query="HEADLINE" or data=queries data.csv_path=FILE searches for others'
            )
        calibration = None
        if self.confidence_path is not None:
            calibration = load_calibration(self.confidence_path.expanduser(), self.setting)
        listed, found = self._retrieve(components)
        shared, reranker = components.shared, components.reranker
        listed = shared.get("ground truth", match_ground_truth, listed, found)
        collection, retrieved = shared.get("gathered", gather, listed, found)
        scores = shared.get("scores", score_candidates, collection, retrieved, reranker)
        reranked = fuse(retrieved, scores, components.weight)
        changed = retrieved.rows[:, 0] != reranked.rows[:, 0]
        metrics = {
            "n_queries": len(collection.queries),
            "n_images": len(found.images),
            "top_k": retrieved.rows.shape[1],
            "n_changed": int(changed.sum()),
            "n_truncated": sum(found.truncated),
        }
        metrics |= {f"data/n_{kind}": n for kind, n in listed.skipped.items()}
        metrics |= {f"reranker/{name}": value for name, value in scores.metrics.items()}
        metrics |= measure_stages(collection, retrieved, reranked, shared)
        confidences, unsure = None, np.zeros(0, dtype=np.int64)
        if calibration is not None:
            confidences = rate_first(calibration, reranked, len(found.images))
            if self.min_confidence is not None:
                unsure = np.flatnonzero(confidences < self.min_confidence)
                write_unsure(output_dir / "unsure.csv", collection, reranked, confidences, unsure)
            metrics |= {"mean_confidence": float(confidences.mean()), "n_unsure": len(unsure)}
        parts = collection, reranked, found.truncated, confidences
        write_results(output_dir, *parts, set(unsure.tolist()))
        ranked = to_run(collection.queries, reranked)
        left_out = {collection.queries[i].query_id for i in unsure}
        with write_atomically(output_dir / "results.run") as temporary:
            sure = {name: own for name, own in ranked.items() if name not in left_out}
            write_run(sure, temporary, tag="newsimg")
        if self.save_pictures:
            announce("saving the pictures")
            save_pictures(self.save_pictures, collection, reranked, self.copy_pictures)
        if self.report:
            announce("drawing the report")
            length = read_text_length(components.backbone.description)
            weight = components.weight
            stages = Stages(
                collection, retrieved, reranked, scores, weight, length, confidences=confidences
            )
            source = collection.name if self.query else components.info.data or collection.name
            details = describe_run(source, components, metrics)
            write_report(output_dir / "report.html", stages, details)
        with write_atomically(output_dir / "summary.json") as temporary:
            facts = {
                "collection": collection.name,
                "backbone": components.backbone.fingerprint,
                "reranker": type(components.reranker).__name__,
                "weight": components.weight.value,
                "warning": components.info.warning,
            }
            if self.min_confidence is not None:
                facts |= {"min_confidence": self.min_confidence, "unsure": sorted(left_out)}
            temporary.write_text(json.dumps(facts | metrics, indent=2))
        console.print(describe_setting(components.info, components.weight.value))
        print_results(collection, reranked, metrics)
        if self.min_confidence is not None:
            console.print(
                f"{len(unsure)} of {len(collection.queries)} headlines are left without a picture, "
                f"as their confidence is below {self.min_confidence:g}"
                + (f": {shorten_path(output_dir / 'unsure.csv')}" if len(unsure) else "")
            )
        if listed.qrels is not None and collection.qrels is None:
            console.print("none of the editors' pictures is in the index: nothing is measured")
        console.print(f"results        {shorten_path(output_dir / 'results.parquet')}")
        run = f"task.runs={{APPROACH:{quote_value(shorten_path(output_dir))}}}"
        settings = ["task=submit", "task.group=GROUP", run]
        words = write_command("newsimg", components.info, settings, FINDING)
        print_command("submit them", words)
        return metrics

    def _retrieve(self, components: Components) -> tuple[Collection, Candidates]:
        """Return the queries and their candidates."""
        dataset, backbone = components.dataset, components.backbone
        index, top_k = components.index, components.top_k
        if self.query is None:
            return load_and_retrieve(components)
        collection = Collection("query", (self.query,), (), None, filter=dataset.filter)
        if index.images is None:
            collection = replace(dataset.load(), name="query", queries=(self.query,), qrels=None)
        return retrieve_readable(collection, backbone, index, top_k)


def write_unsure(
    path: Path,
    collection: Collection,
    reranked: Candidates,
    confidences: FusedArray,
    unsure: IntArray,
) -> None:
    """Write the headlines without a picture for a person to decide, the least certain first."""
    rows = [
        {
            "article_id": collection.queries[i].query_id,
            "title": collection.queries[i].title,
            "confidence": confidences[i],
            "nearest_image_id": reranked.images[reranked.rows[i, 0]].image_id,
            "nearest_uri": reranked.images[reranked.rows[i, 0]].uri,
        }
        for i in unsure[np.argsort(confidences[unsure], kind="stable")]
    ]
    columns = ["article_id", "title", "confidence", "nearest_image_id", "nearest_uri"]
    with write_atomically(path) as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)


def measure_stages(
    collection: Collection, retrieved: Candidates, reranked: Candidates, shared: SharedResults
) -> dict[str, float]:
    """Return means of Hits@k and MRR@k over the judged queries; nothing if there are none."""
    if collection.qrels is None:
        return {}
    _, before = shared.get("retrieval measures", measure_retrieval, collection, retrieved)
    top_k = reranked.rows.shape[1]
    after = measure_run(to_run(collection.queries, reranked), collection.qrels, top_k)
    stages = {"retrieval": before, "reranked": after, "delta": after - before}
    n_judged = count_covered(collection, collection.images)
    metrics: dict[str, float] = {
        "n_judged": n_judged,
        "ground_truth_share": n_judged / len(collection.qrels),
    }
    for stage, values in stages.items():
        metrics |= {f"{stage}/{name}": mean for name, mean in values.mean().items()}
    return metrics


def print_results(
    collection: Collection, reranked: Candidates, metrics: Mapping[str, float]
) -> None:
    """Print the first pictures of the first headlines, or of the only one, and the measures."""
    n_queries = len(collection.queries)
    n_shown = min(N_PRINTED, reranked.rows.shape[1]) if n_queries == 1 else 1
    rows = [
        {
            "headline": cut_text(query.title, N_LETTERS),
            "rank": rank + 1,
            "image": reranked.images[reranked.rows[i, rank]].image_id,
            "retrieval": float(reranked.parts["retrieval"][i, rank]),
            "rerank": float(reranked.parts["rerank"][i, rank]),
            "fused": float(reranked.scores[i, rank]),
        }
        for i, query in enumerate(collection.queries[:N_PRINTED])
        for rank in range(n_shown)
    ]
    title = f"{n_queries} headlines" if n_queries > 1 else "1 headline"
    title += f", {metrics['n_images']:,.0f} pictures, {metrics['top_k']:.0f} candidates each"
    print_table(pd.DataFrame(rows), title)
    if n_queries > N_PRINTED:
        console.print(f"... and {n_queries - N_PRINTED} more headlines")
    console.print(f"first image changed for {metrics['n_changed']:.0f}")
    if "n_judged" in metrics:
        n_known = len(collection.qrels or {})
        console.print(
            f"Hits@1 {metrics['retrieval/hits_at_1']:.4f} before and "
            f"{metrics['reranked/hits_at_1']:.4f} after reranking"
            + (
                f"; {n_known} of {n_queries} headlines name a picture"
                if n_known < n_queries
                else ""
            )
        )
        if told := describe_coverage(metrics):
            console.print(told)
