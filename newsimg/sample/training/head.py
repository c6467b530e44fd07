"""The linear aesthetics head on unit embeddings, and Hits@1 with its scores fused."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
TOP_K = 25


def fit_head(embeddings: FloatArray, quality: FloatArray, ridge: float) -> tuple[FloatArray, float]:
    """Fit a linear head by ridge regression.

    Args:
        embeddings: (n_pictures, dim) unit rows.
        quality: (n_pictures,) target scores.
        ridge: Penalty on the squared weights, per picture.

    Returns:
        weight: (dim,) float32.
        bias: The bias.
    """
    mean, level = embeddings.mean(axis=0), float(quality.mean())
    centred = (embeddings - mean).astype(np.float64)
    gram = centred.T @ centred / len(centred) + ridge * np.eye(centred.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (quality - level) / len(centred)).astype(np.float32)
    return weight, level - float(weight @ mean)


def hits_at_1(texts: FloatArray, images: FloatArray) -> float:
    """Return the share of texts whose relevant picture (same row) has the highest cosine."""
    return float((np.argmax(texts @ images.T, axis=1) == np.arange(len(texts))).mean())


def fused_hits_at_1(
    texts: FloatArray, images: FloatArray, scores: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return Hits@1 after fusing the head's scores of the best `TOP_K` pictures.

    Args:
        texts: (n, dim) unit rows; row i belongs to picture i.
        images: (n, dim) unit rows.
        scores: (n,) head's score of each picture.
        weights: (n_weights,) shares of the head in the fused score.

    Returns:
        (n_weights,) Hits@1.
    """
    cosines = texts @ images.T
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :TOP_K]
    retrieval = _divide_by_sum(np.take_along_axis(cosines, rows, axis=1))
    rerank = _divide_by_sum(scores[rows])
    hits = []
    for weight in weights:
        best = np.argmax((1 - weight) * retrieval + weight * rerank, axis=1)
        hits.append((rows[np.arange(len(rows)), best] == np.arange(len(rows))).mean())
    return np.array(hits, dtype=np.float32)


def _divide_by_sum(values: FloatArray) -> FloatArray:
    return values / np.abs(values).sum(axis=1, keepdims=True)
