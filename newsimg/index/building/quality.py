"""Measure an index: recall against an exact search, and time per query."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import faiss
import numpy as np

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.merged_search import Searchable

SAME_SCORE = 1e-6  # smaller score differences count as ties
N_TIMED = 100


@dataclass(frozen=True)
class IndexQuality:
    """Quality of an index on a sample of queries.

    Attributes:
        top_k: Images per query.
        recall: Share of the exact `top_k` that was found; images with an equal score count.
        ms_single: Median milliseconds of a single query on one thread.
        ms_batched: Milliseconds per query with all queries in one batch on `n_threads` threads.
        n_queries: Number of queries in the sample.
        n_threads: Number of FAISS threads for a batch.
    """

    top_k: int
    recall: float
    ms_single: float
    ms_batched: float
    n_queries: int
    n_threads: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a manifest."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"recall@{self.top_k} {self.recall:.4f} against exact over {self.n_queries} queries; "
            f"{self.ms_single:.3g} ms per single query, {self.ms_batched:.3g} ms in a batch "
            f"({self.n_threads} threads)"
        )


def measure_quality(
    index: Searchable,
    blocks: Iterable[tuple[FloatArray, IntArray]],
    queries: FloatArray,
    top_k: int,
) -> IndexQuality:
    """Compare a search in an index with an exact search over its embeddings.

    Queries should be like those of later searches: images of the collection find themselves first,
    which inflates recall.

    Args:
        index: Index of the vectors in `blocks`.
        blocks: Pairs of embeddings (n, dim) and ascending ids (n,); read once.
        queries: (n_queries, dim) float32, rows of unit length.
        top_k: Images per query; lowered to the number in the index.

    Raises:
        ValueError: If there are no queries.
    """
    if len(queries) == 0:
        raise ValueError("measuring an index needs at least 1 query, got 0")
    top_k = min(top_k, index.n_vectors)
    with single_thread():  # threads only add overhead to a single query
        ms_single = [
            _time_search(index, queries[[i]], top_k) for i in range(min(len(queries), N_TIMED))
        ]
    ms_batched = min(_time_search(index, queries, top_k) for _ in range(3)) / len(queries)
    _, found = index.search(queries, top_k)
    return IndexQuality(
        top_k=top_k,
        recall=measure_recall(found, blocks, queries),
        ms_single=float(np.median(ms_single)),
        ms_batched=ms_batched,
        n_queries=len(queries),
        n_threads=faiss.omp_get_max_threads(),
    )


def measure_recall(
    found: IntArray, blocks: Iterable[tuple[FloatArray, IntArray]], queries: FloatArray
) -> float:
    """Return the share of the exact nearest images in `found`, (n_queries, top_k) ids."""
    n_queries, top_k = found.shape
    best = np.full((n_queries, top_k), -np.inf, np.float32)
    found_scores = np.full((n_queries, top_k), -np.inf, np.float32)
    for embeddings, ids in blocks:
        scores, _ = faiss.knn(
            queries, embeddings, min(top_k, len(ids)), metric=faiss.METRIC_INNER_PRODUCT
        )
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :top_k]
        positions = np.minimum(np.searchsorted(ids, found), len(ids) - 1)
        query, rank = np.nonzero(ids[positions] == found)
        vectors = embeddings[positions[query, rank]]
        found_scores[query, rank] = np.einsum("nd,nd->n", queries[query], vectors)
    return float((found_scores >= best[:, -1:] - SAME_SCORE).mean())


def split_blocks(
    embeddings: FloatArray, ids: IntArray, n_rows: int = 65_536
) -> Iterator[tuple[FloatArray, IntArray]]:
    """Yield blocks of rows that fit into memory from an array that may be memory-mapped."""
    for start in range(0, len(ids), n_rows):
        part = np.ascontiguousarray(embeddings[start : start + n_rows], np.float32)
        yield part, ids[start : start + n_rows]


@contextmanager
def single_thread() -> Iterator[None]:
    """Restrict FAISS to a single thread."""
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(n_threads)


def _time_search(index: Searchable, queries: FloatArray, top_k: int) -> float:
    start = time.perf_counter()
    index.search(queries, top_k)
    return (time.perf_counter() - start) * 1000
