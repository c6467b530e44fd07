"""Rotations after which a quantiser loses little; none moves the origin, as products forbid."""

import numpy as np

from newsimg.datatypes import FloatArray


def balance_dimensions(sample: FloatArray, m: int) -> FloatArray:
    """Rotate into principal axes, dealt out so that all parts have the same say.

    A product quantiser gives each of `m` parts of a vector as many bits. Its error is least, for
    normally distributed vectors, if the parts are independent and the products of their variances
    equal: optimised product quantisation, the parametric solution (Ge et al., 2013). It needs one
    eigendecomposition, where FAISS alternates between rotation and codes for minutes.

    Args:
        sample: (n_sample, dim) float32.
        m: Number of parts, which divides dim.

    Returns:
        (dim, dim) float32, orthonormal rows: `rotation @ vector` is the rotated vector.
    """
    dim = sample.shape[1]
    variances, axes = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(dim, dim))
    # A dimension that the sample does not use, or too few images, must not weigh without end.
    floor = max(variances[-1], np.finfo(np.float32).tiny) * 1e-6
    bits = np.log2(np.maximum(variances, floor) / floor)
    parts: list[list[int]] = [[] for _ in range(m)]
    filled = np.zeros(m)
    for axis in reversed(range(dim)):  # eigh sorts ascending
        part = int(np.argmin(filled))
        parts[part].append(axis)
        filled[part] = filled[part] + bits[axis] if len(parts[part]) < dim // m else np.inf
    return np.ascontiguousarray(axes[:, np.concatenate(parts)].T, np.float32)


def keep_principal(sample: FloatArray, n_kept: int, seed: int) -> FloatArray:
    """Project onto the directions in which vectors are longest, and mix those at random.

    Mixed, every dimension has about the same variance, and so suits a scalar quantiser that gives
    each the same number of bits. FAISS's own PCA subtracts the mean, after which inner products
    are others; here the mean is one of the directions.

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
