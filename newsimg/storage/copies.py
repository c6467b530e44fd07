"""Duplicate pictures (equal bytes), which get equal scores."""

from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import FloatArray, Image, IntArray


def find_first_copies(images: Sequence[Image], rows: IntArray) -> IntArray:
    """Return, for each of `rows`, the lowest row whose picture has the same bytes.

    Args:
        images: The pool. Pictures without a digest are treated as unique.
        rows: Positions in the pool, of any shape.
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
    """Give duplicates within a query the score of the first of them.

    Equal rows of a matrix may give products that differ in the last bit.

    Args:
        scores: (n_queries, top_k).
        rows: (n_queries, top_k), equal for duplicates, see `find_first_copies`.
    """
    if scores.shape != rows.shape:
        return scores  # the fusion reports the wrong shape
    ordered = np.sort(rows, axis=1)
    repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    shared = scores.copy() if len(repeated) else scores
    for query in repeated:
        _, first, where = np.unique(rows[query], return_index=True, return_inverse=True)
        shared[query] = scores[query][first[where]]
    return shared
