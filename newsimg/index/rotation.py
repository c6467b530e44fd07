"""A rotation after which a quantiser loses little."""

import numpy as np

from newsimg.datatypes import FloatArray


def keep_principal(sample: FloatArray, n_kept: int, seed: int) -> FloatArray:
    """Project onto the directions in which vectors are longest, and mix those at random.

    Mixed, every dimension has about the same variance, and so suits a quantiser that gives each the
    same number of bits: what optimised product quantisation (Ge et al., 2013) looks for, in one
    eigendecomposition, where FAISS alternates between rotation and codes for minutes. FAISS's own
    PCA subtracts the mean, after which inner products are others; here the mean is one of the
    directions.

    Args:
        sample: (n_sample, dim) float32.
        n_kept: Dimensions of the projection, at most dim.
        seed: Draws the mixture.

    Returns:
        (n_kept, dim) float32, orthonormal rows.
    """
    _, axes = np.linalg.eigh(sample.T @ sample)
    mixture = np.random.default_rng(seed).normal(size=(n_kept, n_kept))
    return np.ascontiguousarray(np.linalg.qr(mixture)[0] @ axes[:, -n_kept:].T, np.float32)
