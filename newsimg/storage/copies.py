"""Pictures of the same bytes: they are scored once, and so alike, wherever they stand."""

from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import FloatArray, Image, IntArray


def find_first_copies(images: Sequence[Image], rows: IntArray) -> IntArray:
    """Return for each of `rows` the lowest of them whose picture has the same bytes.

    Args:
        images: The pool. A picture whose digest is not known is a copy of none.
        rows: Positions in it, of any shape.
    """
    present, where = np.unique(rows, return_inverse=True)
    first: dict[tuple[str, bool], int] = {}
    firsts = present.copy()
    for i, row in enumerate(present.tolist()):
        image = images[row]
        if image.digest is not None:
            firsts[i] = first.setdefault((image.digest, image.truncated), row)
    return firsts[where].reshape(rows.shape)


def share_scores(scores: FloatArray, rows: IntArray) -> FloatArray:
    """Give candidates of one picture the score of the first of them.

    A matrix product may differ in the last bit from row to row, also where the rows are equal.

    Args:
        scores: (n_queries, top_k).
        rows: (n_queries, top_k), equal where the pictures are, see `find_first_copies`.
    """
    if scores.shape != rows.shape:
        return scores  # which is told where scores are fused
    ordered = np.sort(rows, axis=1)
    repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    shared = scores.copy() if len(repeated) else scores
    for query in repeated:
        _, first, where = np.unique(rows[query], return_index=True, return_inverse=True)
        shared[query] = scores[query][first[where]]
    return shared
