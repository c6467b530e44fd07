"""Random candidates for a report page, and a reader of the page's data."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, Collection, RerankScores
from newsimg.interfaces import Weight
from newsimg.pipeline import fuse, sort_candidates
from newsimg.reporting.pages.report import Details

TOP_K = 8
PLAIN = Details(facts=["tiny"], measures=[{"name": "Hits@1", "before": 0.25, "after": 0.5}])


def rank(collection: Collection, top_k: int = TOP_K) -> tuple[Candidates, Candidates]:
    """Return random candidates, and re-ranked ones.

    The relevant image of every other query is among the first four of the former.
    """
    random = np.random.default_rng(3)
    n_queries, n_images = len(collection.queries), len(collection.images)
    rows = np.stack([random.permutation(n_images)[:top_k] for _ in range(n_queries)])
    ids = [image.image_id for image in collection.images]
    for i, query in list(enumerate(collection.queries))[::2] if collection.qrels else ():
        (editors,) = collection.qrels[query.query_id]
        others = rows[i][rows[i] != ids.index(editors)]
        rows[i] = np.insert(others, min(i // 2 % 4, top_k - 1), ids.index(editors))[:top_k]
    retrieval = -np.sort(-random.random((n_queries, top_k)).astype(np.float32), axis=1)
    rerank = random.random((n_queries, top_k)).astype(np.float32)
    retrieved = Candidates(collection.images, rows, retrieval, {"retrieval": retrieval})
    both = replace(retrieved, parts={"retrieval": retrieval, "rerank": rerank})
    return retrieved, sort_candidates(both, 0.5 * retrieval + 0.5 * rerank)


def rank_stages(
    collection: Collection, weight: Weight, top_k: int = TOP_K
) -> tuple[Candidates, Candidates, RerankScores]:
    """Return the candidates of `rank`, fused by `weight`, and the reranker's scores."""
    retrieved, _ = rank(collection, top_k)
    values = np.random.default_rng(5).random(retrieved.rows.shape).astype(np.float32)
    scores = RerankScores(values)
    return retrieved, fuse(retrieved, scores, weight), scores


def read_data(path: Path) -> dict[str, Any]:
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text()
    )
    return json.loads(text)
