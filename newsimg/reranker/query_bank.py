"""Query-bank hubness correction: pictures near many bank headlines (hubs) are scored lower."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from newsimg.datatypes import (
    Candidates,
    FloatArray,
    FusedArray,
    IntArray,
    Query,
    RerankScores,
)
from newsimg.interfaces import Backbone, Dataset, Reranker
from newsimg.storage.copies import find_first_copies
from newsimg.storage.models.queries import check_queries, embed_queries, find_truncated_queries

IMAGES_AT_ONCE = 1024  # limits memory for banks of 100,000 headlines


class QueryBankReranker(Reranker):
    """Base class: corrects cosines by the similarity of each picture to a bank of headlines.

    The metric `bank_truncated` counts bank headlines that exceed the backbone's text length.

    Args:
        backbone: Embeds headlines and pictures; the run's backbone, whose embeddings are cached.
        bank: Data set of the bank's headlines, none of which may be evaluated.
        bank_split: Split of the bank; None for the split that the data set is configured with.
    """

    def __init__(self, *, backbone: Backbone, bank: Dataset, bank_split: str | None = None) -> None:
        self.backbone = backbone
        self.bank = bank if bank_split is None else bank.with_split(bank_split)

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        check_queries(queries, self.backbone)

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If a query is also in the bank; it would be corrected by itself.
        """
        bank = self.bank.load().queries
        check_bank(bank, queries)
        # Duplicates of a picture in the pool count once, also as nearest neighbours.
        pool = find_first_copies(candidates.images, np.arange(len(candidates.images)))
        distinct, where = np.unique(pool, return_inverse=True)
        images = self.backbone.embed_images([candidates.images[row] for row in distinct])
        rows = where[candidates.rows]
        n_truncated = sum(find_truncated_queries(bank, self.backbone, "headlines of the bank"))
        titles, own = (embed_queries(part, self.backbone) for part in (bank, queries))
        cosines = np.einsum("qd,qkd->qk", own, images[rows])
        values = self.correct(cosines, rows, images, titles).astype(np.float32)
        return RerankScores(values, metrics={"bank_truncated": n_truncated})

    @abstractmethod
    def correct(
        self, cosines: FloatArray, rows: IntArray, images: FloatArray, bank: FloatArray
    ) -> FusedArray:
        """Correct the candidates' cosines.

        Args:
            cosines: (n_queries, top_k), of each query with its candidates.
            rows: (n_queries, top_k), positions of the candidates in `images`.
            images: (n_images, dim), embeddings of the pool without duplicates.
            bank: (n_bank, dim), embeddings of the bank's headlines.
        """


def check_bank(bank: Sequence[Query], queries: Sequence[Query]) -> None:
    """Check that the bank contains no evaluated query.

    Raises:
        ValueError: If it contains one; names the query.
    """
    known = {query.query_id for query in bank}
    shared = [query.query_id for query in queries if query.query_id in known]
    if shared:
        raise ValueError(
            f"reranker.bank must hold no evaluated query, but holds {len(shared)} of "
            f"{len(queries)}, {shared[0]!r} the first"
        )


def compare_with_bank(images: FloatArray, bank: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the cosines (n_bank, n_block) of successive blocks of pictures, with each first row."""
    for start in range(0, len(images), IMAGES_AT_ONCE):
        yield start, bank @ images[start : start + IMAGES_AT_ONCE].T
