"""Search over several indexes with merged results."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from newsimg.datatypes import FloatArray, IntArray


class Searchable(Protocol):
    """A searchable index: a `VectorIndex`, a `GrowingIndex` or a `SavedIndex`."""

    @property
    def n_vectors(self) -> int:
        """Number of searchable images."""

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`."""


def search_merged(
    indexes: Sequence[Searchable], offsets: Sequence[int], embeddings: FloatArray, top_k: int
) -> tuple[FloatArray, IntArray]:
    """Find the `top_k` nearest images over all indexes.

    If every index is exact, the result is the same as that of one index over all images; otherwise
    merging causes no further loss. Equal scores are sorted by row.

    Args:
        indexes: The indexes; each may hold fewer than `top_k` images.
        offsets: Number added to the rows of each index.
        embeddings: (n_queries, dim) float32, rows of unit length.
        top_k: Images per query, between 1 and the number in all indexes.

    Returns:
        scores: (n_queries, top_k) float32, descending.
        rows: (n_queries, top_k) int64, row within its index plus the index's offset.

    Raises:
        ValueError: If `top_k` is out of range, or the numbers of offsets and indexes differ.
    """
    if len(offsets) != len(indexes):
        raise ValueError(f"need one offset per index ({len(indexes)}), got {len(offsets)}")
    n_vectors = sum(index.n_vectors for index in indexes)
    if not 1 <= top_k <= n_vectors:
        raise ValueError(f"top_k must be in [1, {n_vectors}], got {top_k}")
    scores = np.empty((len(embeddings), 0), np.float32)
    rows = np.empty((len(embeddings), 0), np.int64)
    for index, offset in zip(indexes, offsets, strict=True):
        if index.n_vectors == 0:
            continue
        more_scores, more_rows = index.search(embeddings, min(top_k, index.n_vectors))
        scores = np.concatenate([scores, more_scores], axis=1)
        rows = np.concatenate([rows, more_rows + offset], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :top_k]
        scores = np.take_along_axis(scores, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
    return scores, rows
