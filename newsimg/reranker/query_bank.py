"""Hub pictures, which are near every headline, told by a bank of other headlines."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from newsimg.datatypes import (
    Candidates,
    FloatArray,
    FusedArray,
    IntArray,
    Query,
    render_queries,
)
from newsimg.interfaces import Backbone, Dataset, Reranker
from newsimg.storage.copies import find_first_copies
from newsimg.storage.truncated import find_truncated

IMAGES_AT_ONCE = 1024  # so that 100,000 headlines against all pictures need not fit into memory


class QueryBankReranker(Reranker):
    """Corrects a candidate's cosine by how near its picture is to the headlines of a bank.

    The metric `bank_truncated` counts headlines of the bank whose end the backbone does not read.

    Args:
        backbone: Embeds headlines and pictures; the run's own, whose embeddings are at hand.
        bank: Headlines that are not evaluated, such as the train split.
    """

    def __init__(self, *, backbone: Backbone, bank: Dataset) -> None:
        self.backbone = backbone
        self.bank = bank

    def score(self, queries: Sequence[Query], candidates: Candidates) -> FloatArray:
        """See `Reranker.score`.

        Raises:
            ValueError: If a query is also in the bank, which would correct it by itself.
        """
        bank = self.bank.load().queries
        check_bank(bank, queries)
        # A picture that is in the pool more than once counts as one, also as a headline's nearest.
        pool = find_first_copies(candidates.images, np.arange(len(candidates.images)))
        distinct, where = np.unique(pool, return_inverse=True)
        images = self.backbone.embed_images([candidates.images[row] for row in distinct])
        rows = where[candidates.rows]
        texts, own_texts = (
            render_queries(part, self.backbone.query_template) for part in (bank, queries)
        )
        self.metrics = {
            "bank_truncated": sum(find_truncated(self.backbone, texts, "headlines of the bank"))
        }
        titles, own = map(self.backbone.embed_texts, (texts, own_texts))
        cosines = np.einsum("qd,qkd->qk", own, images[rows])
        return self.correct(cosines, rows, images, titles).astype(np.float32)

    @abstractmethod
    def correct(
        self, cosines: FloatArray, rows: IntArray, images: FloatArray, bank: FloatArray
    ) -> FusedArray:
        """Correct the candidates' cosines.

        Args:
            cosines: (n_queries, top_k), between a query and its candidates.
            rows: (n_queries, top_k), the candidates' positions in `images`.
            images: (n_images, dim), the whole pool, each picture once.
            bank: (n_bank, dim), the bank's headlines.
        """


def check_bank(bank: Sequence[Query], queries: Sequence[Query]) -> None:
    """Refuse a bank that holds an evaluated query.

    Raises:
        ValueError: If it does; names the query.
    """
    known = {query.query_id for query in bank}
    shared = [query.query_id for query in queries if query.query_id in known]
    if shared:
        raise ValueError(
            f"reranker.bank must hold no evaluated query, but holds {len(shared)} of "
            f"{len(queries)}, {shared[0]!r} the first"
        )


def compare_with_bank(images: FloatArray, bank: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield cosines (n_bank, n_some) of successive pictures, with the row of the first."""
    for start in range(0, len(images), IMAGES_AT_ONCE):
        yield start, bank @ images[start : start + IMAGES_AT_ONCE].T
