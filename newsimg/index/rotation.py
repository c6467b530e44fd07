"""A PCA projection with random rotation that reduces the loss of a quantiser."""

import numpy as np

from newsimg.datatypes import FloatArray


def keep_principal(sample: FloatArray, n_kept: int, seed: int) -> FloatArray:
    """Return a projection onto the principal directions, followed by a random rotation.

    After the rotation every dimension has about the same variance, which suits a quantiser with
    the same number of bits for each. Optimised product quantisation (Ge et al., 2013) has the same
    goal, but in FAISS it alternates between rotation and codes for minutes; this takes one
    eigendecomposition. FAISS's own PCA subtracts the mean, which changes inner products; here the
    data are not centred.

    Args:
        sample: (n_sample, dim) float32.
        n_kept: Dimensions of the projection, at most dim.
        seed: Seed of the random rotation.

    Returns:
        (n_kept, dim) float32, orthonormal rows.
    """
    _, axes = np.linalg.eigh(sample.T @ sample)
    normal = np.random.default_rng(seed).normal(size=(n_kept, n_kept))
    return np.ascontiguousarray(np.linalg.qr(normal)[0] @ axes[:, -n_kept:].T, np.float32)
