"""Folders of runs with random candidates, as task=compare reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from newsimg.datatypes import Candidates, Collection
from newsimg.pipeline import sort_candidates
from newsimg.reporting.comparing.candidates import write_candidates

TOP_K = 12


def draw_candidates(collection: Collection, seed: int, top_k: int = TOP_K) -> Candidates:
    """Return random candidates, among whose first three the editor's picture often is."""
    random = np.random.default_rng(seed)
    n_queries, n_images = len(collection.queries), len(collection.images)
    rows = np.stack([random.permutation(n_images)[:top_k] for _ in range(n_queries)])
    place = {image.image_id: row for row, image in enumerate(collection.images)}
    for i, query in enumerate(collection.queries):
        editors = next(iter((collection.qrels or {}).get(query.query_id, {})), None)
        if editors is not None and random.random() < 0.7:
            others = rows[i][rows[i] != place[editors]]
            rows[i] = np.insert(others, random.integers(3), place[editors])[:top_k]
    scores = -np.sort(-random.random((n_queries, top_k)).astype(np.float32), axis=1)
    parts = {"retrieval": scores[:, ::-1].copy(), "rerank": scores + 1}
    return sort_candidates(Candidates(collection.images, rows, scores, parts), scores)


def write_compared(
    folder: Path,
    collection: Collection,
    candidates: Candidates,
    choices: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write what a run of task=evaluate leaves that task=compare reads."""
    (folder / ".hydra").mkdir(parents=True)
    chosen = {"data": "newsimages", "task": "evaluate", "weight": "l1", **choices}
    hydra = {"hydra": {"runtime": {"choices": chosen}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    own = {"data": {"name": "tiny", "split": "val"}, "weight": {"value": 0.5}, "top_k": TOP_K}
    (folder / "config.yaml").write_text(yaml.safe_dump(own | dict(config or {})))
    write_candidates(folder, collection, candidates)
    return folder


def mark_unsure(folder: Path, article_ids: Sequence[str]) -> None:
    """Mark articles as left without a picture, as task=infer does by `task.min_confidence`."""
    path = folder / "candidates.parquet"
    table = pd.read_parquet(path)
    table.assign(unsure=table["article_id"].isin(article_ids)).to_parquet(path)
