"""The method: retrieve candidates, score them with a reranker, sort by the fused score."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from newsimg.datatypes import (
    Candidates,
    Collection,
    FloatArray,
    FusedArray,
    Image,
    IntArray,
    Query,
    RerankScores,
)
from newsimg.interfaces import Backbone, Components, Dataset, Index, Reranker, Weight
from newsimg.storage.copies import find_first_copies, share_scores
from newsimg.storage.metadata.filters import check_matching, find_matching
from newsimg.storage.metadata.lazy import with_metadata
from newsimg.storage.models.queries import (
    check_queries,
    embed_queries,
    find_truncated_queries,
)
from newsimg.storage.pictures.damaged import embed_readable
from newsimg.storage.progress import announce

log = logging.getLogger(__name__)

QUERIES_AT_ONCE = 64  # limits memory where a filter needs long results


def retrieve(collection: Collection, backbone: Backbone, index: Index, top_k: int) -> Candidates:
    """Return the candidates of `retrieve_readable`."""
    return retrieve_readable(collection, backbone, index, top_k)[1]


def retrieve_readable(
    collection: Collection, backbone: Backbone, index: Index, top_k: int
) -> tuple[Collection, Candidates]:
    """Find the `top_k` images nearest to each headline, in the collection or in a saved index.

    Returns:
        The collection, without the images that cannot be read if it is to skip those, and the
        candidates.

    Raises:
        ValueError: If there are no headlines or no pictures, or `top_k` is below 1. Above the
            pool's size it is lowered, with a warning.
    """
    if not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k!r}")
    if not collection.queries:
        raise ValueError(
            f"{collection.name} has pictures and no headlines: newsimg task=index makes it "
            "searchable"
        )
    check_queries(collection.queries, backbone)
    index.check_queries(collection.queries)
    if not (collection.images if index.images is None else index.images):
        raise ValueError(
            f"{collection.name} has headlines and no pictures: index=saved "
            "'index.folders=[FOLDER]' searches those that newsimg task=index has made searchable"
        )
    collection, images, searched = prepare_pool(collection, backbone, index)
    n_images = len(images) if searched is None else len(searched)
    if top_k > n_images:
        log.warning("top_k=%d exceeds the pool of %d images; using %d", top_k, n_images, n_images)
        top_k = n_images
    queries = collection.queries
    truncated = find_truncated_queries(queries, backbone, "headlines")
    announce("searching")
    index.describe(images)
    embeddings = embed_queries(queries, backbone)
    found = find_nearest(index, queries, embeddings, top_k, images, searched)
    return collection, replace(found, truncated=truncated)


def prepare_pool(
    collection: Collection, backbone: Backbone, index: Index
) -> tuple[Collection, Sequence[Image], IntArray | None]:
    """Embed and index the pictures of a collection, or take those of a saved index.

    Returns:
        The collection, without the images that are filtered out or cannot be read; the pool; and
        its rows to search, None for all.
    """
    if index.images is None:
        collection, embeddings = embed_readable(choose_images(collection), backbone)
        images = backbone.with_digests(collection.images)
        index.build(embeddings)
        return collection, images, None
    if collection.filter is None:
        return collection, index.images, None
    searched = np.array(find_matching(index.images, collection.filter), np.int64)
    skipped = _count_filtered(collection, index.images, searched)
    return replace(collection, skipped=skipped), index.images, searched


def find_nearest(
    index: Index,
    queries: Sequence[Query] | None,
    embeddings: FloatArray,
    top_k: int,
    images: Sequence[Image],
    searched: IntArray | None,
) -> Candidates:
    """Search a pool and return candidates, duplicates with equal scores, in a fixed order.

    Args:
        index: The index of the pool.
        queries: (n_queries,); None for pictures, which have no words.
        embeddings: (n_queries, dim), see `Index.search`.
        top_k: Images per query, at most the number of searched rows.
        images: The pool.
        searched: The rows to search; None for all.
    """
    scores, rows = search_rows(index, queries, embeddings, top_k, len(images), searched)
    # The order of equal scores depends on the index; sorting by row first makes it deterministic.
    by_row = np.argsort(rows, axis=1)
    rows, scores = take(rows, by_row), take(scores, by_row)
    scores = share_scores(scores, find_first_copies(images, rows))
    return sort_candidates(Candidates(images, rows, scores, {"retrieval": scores}), scores)


def choose_images(collection: Collection) -> Collection:
    """Return the collection with the pictures that match its filter, and their own metadata.

    Metadata are read from the pictures when they are needed.

    Raises:
        ValueError: If no picture matches.
    """
    images = tuple(map(with_metadata, collection.images))
    if collection.filter is None:
        return replace(collection, images=images)
    rows = find_matching(images, collection.filter)
    skipped = _count_filtered(collection, images, rows)
    return replace(collection, images=tuple(images[row] for row in rows), skipped=skipped)


def _count_filtered(
    collection: Collection, images: Sequence[Image], rows: Sequence[int] | IntArray
) -> dict[str, int]:
    check_matching(len(rows), len(images))
    return {**collection.skipped, "filtered": len(images) - len(rows)}


def search_rows(
    index: Index,
    queries: Sequence[Query] | None,
    embeddings: FloatArray,
    top_k: int,
    n_images: int,
    searched: IntArray | None,
) -> tuple[FloatArray, IntArray]:
    """Search some rows of an index: ever longer results are reduced to these rows.

    The result is that of an index of these rows alone, if the index is exact.

    Args:
        index: The index.
        queries: (n_queries,); None for pictures, which have no words.
        embeddings: (n_queries, dim), see `Index.search`.
        top_k: Images per query, at most the number of searched rows.
        n_images: Number of rows of the index.
        searched: The rows to search; None for all.
    """

    def search(block: IntArray, depth: int) -> tuple[FloatArray, IntArray]:
        if queries is None:
            return index.search(embeddings[block], depth)
        return index.search_queries([queries[i] for i in block], embeddings[block], depth)

    if searched is None or len(searched) == n_images:
        return search(np.arange(len(embeddings)), top_k)
    is_searched = np.zeros(n_images, bool)
    is_searched[searched] = True
    scores = np.empty((len(embeddings), top_k), np.float32)
    rows = np.empty((len(embeddings), top_k), np.int64)
    waiting = np.arange(len(embeddings))
    depth = top_k
    while len(waiting):
        # Twice what the share of searched rows makes likely, doubled for those with too few.
        depth = min(n_images, max(2 * depth, 2 * top_k * n_images // len(searched)))
        missing = []
        for start in range(0, len(waiting), QUERIES_AT_ONCE):
            block = waiting[start : start + QUERIES_AT_ONCE]
            found_scores, found_rows = search(block, depth)
            for query, own_scores, own_rows in zip(block, found_scores, found_rows, strict=True):
                kept = np.flatnonzero(is_searched[own_rows])[:top_k]
                if len(kept) < top_k:
                    missing.append(query)
                    continue
                scores[query], rows[query] = own_scores[kept], own_rows[kept]
        waiting = np.array(missing, np.int64)
    return scores, rows


def load_and_retrieve(components: Components) -> tuple[Collection, Candidates]:
    """Load the data and retrieve candidates; jobs of a sweep share the result."""

    def load(
        dataset: Dataset, backbone: Backbone, index: Index, top_k: int
    ) -> tuple[Collection, Candidates]:
        announce("reading the data")
        collection = dataset.load()
        components.reranker.check_queries(collection.queries)
        return retrieve_readable(collection, backbone, index, top_k)

    arguments = (components.dataset, components.backbone, components.index, components.top_k)
    return components.shared.get("candidates", load, *arguments)


def score_candidates(
    collection: Collection, candidates: Candidates, reranker: Reranker
) -> RerankScores:
    """Score the candidates with the reranker.

    Duplicate pictures (the same bytes) are scored once.

    Raises:
        TypeError: If the reranker returns anything but `RerankScores`.
    """
    announce("scoring the candidates")
    rows = find_first_copies(candidates.images, candidates.rows)
    scores = reranker.score(collection.queries, dataclasses.replace(candidates, rows=rows))
    if not isinstance(scores, RerankScores):
        raise TypeError(
            f"{type(reranker).__name__}.score must return newsimg.datatypes.RerankScores, got "
            f"{type(scores).__name__}: return RerankScores(values) where there are scores alone"
        )
    return dataclasses.replace(scores, values=share_scores(scores.values, rows))


def rerank(
    collection: Collection, candidates: Candidates, reranker: Reranker, weight: Weight
) -> Candidates:
    """Score the candidates again and sort them by the fused score.

    Raises:
        ValueError: If the reranker's scores are not finite or not of the candidates' shape.
    """
    return fuse(candidates, score_candidates(collection, candidates, reranker), weight)


def fuse(candidates: Candidates, scores: RerankScores, weight: Weight) -> Candidates:
    """Sort the candidates by the fused score; no model runs.

    Args:
        candidates: Candidates in retrieval order.
        scores: Scores of the reranker.
        weight: Normalisation and weight.

    Raises:
        ValueError: If the reranker's scores are not finite or not of the candidates' shape.
    """
    retrieval = candidates.parts["retrieval"]
    fused = weight.combine(retrieval, scores.values)
    named = {f"criterion/{name}": part for name, part in scores.components.items()}
    parts = {"retrieval": retrieval, "rerank": scores.values, **named}
    texts = {f"explanation/{name}": texts for name, texts in scores.explanations.items()}
    found = dataclasses.replace(candidates, scores=fused, parts=parts, texts=texts)
    return sort_candidates(found, fused)


def sort_candidates(candidates: Candidates, scores: FloatArray | FusedArray) -> Candidates:
    """Sort every row by `scores`, best first; equal scores keep their order.

    This is the only function that sorts candidates; their scores and texts are sorted with them.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    return Candidates(
        images=candidates.images,
        rows=take(candidates.rows, order),
        scores=take(scores, order),
        parts={name: take(part, order) for name, part in candidates.parts.items()},
        truncated=candidates.truncated,
        texts={name: take(texts, order) for name, texts in candidates.texts.items()},
    )


def take(values: Any, order: IntArray) -> Any:
    """Reorder each row of (n_queries, top_k) `values` by its row of `order`."""
    return np.take_along_axis(values, order, axis=1)
