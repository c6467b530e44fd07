"""The linear aesthetics head: quality as a linear function of unit embeddings."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def fit_head(embeddings: FloatArray, quality: FloatArray, ridge: float) -> tuple[FloatArray, float]:
    """Fit by ridge regression.

    Args:
        embeddings: (n_pictures, dim) unit rows.
        quality: (n_pictures,) target scores.
        ridge: Penalty on the squared weights, per picture.

    Returns:
        weight: (dim,) float32, and the bias.
    """
    mean, level = embeddings.mean(axis=0), float(quality.mean())
    centred = (embeddings - mean).astype(np.float64)
    gram = centred.T @ centred / len(centred) + ridge * np.eye(centred.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (quality - level) / len(centred)).astype(np.float32)
    return weight, level - float(weight @ mean)
