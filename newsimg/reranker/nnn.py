"""Query-bank hubness correction by nearest neighbour normalisation."""

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray, IntArray
from newsimg.interfaces import Backbone, Dataset
from newsimg.reranker.query_bank import QueryBankReranker, compare_with_bank


class NNNReranker(QueryBankReranker):
    """Nearest neighbour normalisation: subtracts a picture's mean similarity to the query bank.

    Chowdhury et al. (2024), "Nearest neighbor normalization improves multimodal retrieval",
    arXiv:2410.24114: `s_qj - alpha * mean of the k largest s_bj over the bank`.

    Args:
        backbone: See `QueryBankReranker`.
        bank: See `QueryBankReranker`.
        bank_split: See `QueryBankReranker`.
        alpha: Factor of the subtracted mean.
        k: Number of nearest bank headlines in the mean.

    Raises:
        ValueError: If `alpha` is negative, or `k` is below 1 or above the size of the bank.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        bank: Dataset,
        alpha: float,
        k: int,
        bank_split: str | None = None,
    ) -> None:
        if alpha < 0:
            raise ValueError(f"reranker.alpha must be at least 0, got {alpha}")
        if k < 1:
            raise ValueError(f"reranker.k must be at least 1, got {k}")
        super().__init__(backbone=backbone, bank=bank, bank_split=bank_split)
        self.alpha = float(alpha)
        self.k = k

    def correct(
        self, cosines: FloatArray, rows: IntArray, images: FloatArray, bank: FloatArray
    ) -> FusedArray:
        """See `QueryBankReranker.correct`."""
        if self.k > len(bank):
            raise ValueError(f"reranker.k must be in [1, {len(bank)}], the bank, got {self.k}")
        biases = np.empty(len(images))
        for start, similarities in compare_with_bank(images, bank):
            largest = np.partition(similarities, -self.k, axis=0)[-self.k :]
            biases[start : start + largest.shape[1]] = largest.mean(axis=0, dtype=np.float64)
        return cosines - self.alpha * biases[rows]
