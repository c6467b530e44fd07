"""Comparison of both stages for each query."""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, Image, Qrels

log = logging.getLogger(__name__)


def find_rows(images: Sequence[Image], image_ids: Iterable[str]) -> dict[str, int]:
    """Return the rows of pictures in a pool, by id, without those that are not in it.

    Args:
        images: The pool, in image-id order; a saved index creates image objects lazily.
        image_ids: Ids to look up.
    """
    rows = {}
    for image_id in image_ids:
        row = bisect_left(images, image_id, key=attrgetter("image_id"))
        if row < len(images) and images[row].image_id == image_id:
            rows[image_id] = row
    return rows


def keep_judged(collection: Collection, candidates: Candidates) -> tuple[Collection, Candidates]:
    """Drop queries without a known relevant image, which cannot be evaluated.

    Raises:
        ValueError: If no query is left.
    """
    qrels = collection.qrels or {}
    kept = [i for i, query in enumerate(collection.queries) if qrels.get(query.query_id)]
    n_queries = len(collection.queries)
    if not kept:
        raise ValueError(f"{collection.name} names no editors' pictures: nothing to measure by")
    if len(kept) == n_queries:
        return collection, candidates
    log.warning(
        "the editors' pictures of %d of %d headlines are not known: the others are measured",
        n_queries - len(kept),
        n_queries,
    )
    return take_queries(collection, candidates, kept)


def take_queries(
    collection: Collection, candidates: Candidates, kept: Sequence[int]
) -> tuple[Collection, Candidates]:
    """Return some of the queries with their candidates.

    Args:
        collection: The queries.
        candidates: Their candidates.
        kept: Positions of the queries.
    """
    queries = tuple(collection.queries[i] for i in kept)
    taken = replace(
        candidates,
        rows=candidates.rows[kept],
        scores=candidates.scores[kept],
        parts={name: part[kept] for name, part in candidates.parts.items()},
        truncated=[candidates.truncated[i] for i in kept] if candidates.truncated else (),
        texts={name: texts[kept] for name, texts in candidates.texts.items()},
    )
    return replace(collection, queries=queries), taken


def find_ranks(collection: Collection, candidates: Candidates, qrels: Qrels) -> pd.Series:
    """Return the 1-based rank of each relevant image; NA if it is no candidate or not known."""
    ranks = {}
    for query, rows in zip(collection.queries, candidates.rows, strict=True):
        wanted = qrels.get(query.query_id, {})
        relevant = [candidates.images[row].image_id in wanted for row in rows]
        ranks[query.query_id] = relevant.index(True) + 1 if any(relevant) else pd.NA
    return pd.Series(ranks, dtype="Int64")


def compare_stages(
    collection: Collection, retrieved: Candidates, reranked: Candidates, qrels: Qrels
) -> pd.DataFrame:
    """Compare retrieval and reranking for each query.

    Returns:
        One row per query, indexed by query id: `title`, `image_id` (the editor's picture),
        `retrieval_rank` and `reranked_rank` of it (NA: not a candidate), `retrieval_first` and
        `reranked_first` (image ids), `outcome`: helped (the editor's picture came first only after
        reranking), hurt (only before) or unchanged.
    """
    before, after = (find_ranks(collection, stage, qrels) for stage in (retrieved, reranked))
    first_before = before.eq(1).fillna(False)
    first_after = after.eq(1).fillna(False)
    return pd.DataFrame(
        {
            "title": [query.title for query in collection.queries],
            "image_id": [" ".join(qrels.get(query.query_id, {})) for query in collection.queries],
            "retrieval_rank": before,
            "reranked_rank": after,
            "retrieval_first": _first_ids(retrieved),
            "reranked_first": _first_ids(reranked),
            "outcome": np.select(
                [first_after & ~first_before, first_before & ~first_after],
                ["helped", "hurt"],
                "unchanged",
            ),
        },
        index=before.index.rename("query_id"),
    )


def _first_ids(candidates: Candidates) -> list[str]:
    return [candidates.images[row].image_id for row in candidates.rows[:, 0]]
