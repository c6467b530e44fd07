"""Query-bank hubness correction by the dynamic inverted softmax."""

import numpy as np
from scipy.special import logsumexp

from newsimg.datatypes import FloatArray, FusedArray, IntArray
from newsimg.interfaces import Backbone, Dataset
from newsimg.reranker.query_bank import QueryBankReranker, compare_with_bank


class QBNormReranker(QueryBankReranker):
    """Querybank normalisation: scales a cosine by the picture's similarity to the query bank.

    Bogolin et al. (2022), "Cross modal retrieval with querybank normalisation", CVPR. Their score
    of query q and picture j is `exp(beta s_qj) / sum_b exp(beta s_bj)`; this is its logarithm over
    `beta`, which has the same order, cannot overflow and stays on the scale of a cosine.

    Args:
        backbone: See `QueryBankReranker`.
        bank: See `QueryBankReranker`.
        bank_split: See `QueryBankReranker`.
        beta: Inverse temperature.
        dynamic: Whether only queries whose nearest candidate is the nearest picture of some bank
            headline are corrected (dynamic inverted softmax), not all (inverted softmax, Smith et
            al. 2017).

    Raises:
        ValueError: If `beta` is not above 0.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        bank: Dataset,
        beta: float,
        dynamic: bool,
        bank_split: str | None = None,
    ) -> None:
        if not beta > 0:
            raise ValueError(f"reranker.beta must be above 0, got {beta}")
        super().__init__(backbone=backbone, bank=bank, bank_split=bank_split)
        self.beta = float(beta)
        self.dynamic = dynamic

    def correct(
        self, cosines: FloatArray, rows: IntArray, images: FloatArray, bank: FloatArray
    ) -> FusedArray:
        """See `QueryBankReranker.correct`."""
        biases = np.empty(len(images))
        highest = np.full(len(bank), -np.inf)
        nearest = np.zeros(len(bank), dtype=np.int64)
        for start, similarities in compare_with_bank(images, bank):
            exact = similarities.astype(np.float64)
            stop = start + exact.shape[1]
            biases[start:stop] = logsumexp(self.beta * exact, axis=0) / self.beta
            best = exact.max(axis=1)
            nearest = np.where(best > highest, start + exact.argmax(axis=1), nearest)
            highest = np.maximum(highest, best)
        corrected = cosines - biases[rows]
        if not self.dynamic:
            return corrected
        first = np.take_along_axis(rows, cosines.argmax(axis=1)[:, None], axis=1)
        return np.where(np.isin(first, nearest), corrected, cosines)
