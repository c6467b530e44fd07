"""The headline against the words of a picture, by BM25."""

from collections.abc import Mapping, Sequence

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, Image
from newsimg.reranker.metadata.base import MetadataReranker
from newsimg.storage.metadata.word_index import WordIndex, check_bm25, get_text


class BM25MetadataReranker(MetadataReranker):
    """Scores a candidate by BM25 of the headline's words in its metadata, field by field.

    The frequencies of words are those in the searched pictures or, if these are more than
    `pool_up_to`, in the candidates of all headlines.

    Args:
        fields: See `MetadataReranker`.
        pool: See `MetadataReranker`.
        query_template: See `MetadataReranker`.
        k1: See `WordIndex`.
        b: See `WordIndex`.
        pool_up_to: Largest number of searched pictures whose words are counted.

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        *,
        fields: list[str],
        pool: str,
        query_template: str,
        k1: float,
        b: float,
        pool_up_to: int,
    ) -> None:
        check_bm25("reranker", fields, k1, b)
        if pool_up_to < 0:
            raise ValueError(f"reranker.pool_up_to must be at least 0, got {pool_up_to}")
        super().__init__(fields=fields, pool=pool, query_template=query_template)
        self.k1 = float(k1)
        self.b = float(b)
        self.pool_up_to = pool_up_to
        self._pool: Sequence[Image] | None = None
        self._indexes: dict[str, WordIndex] = {}

    def compare(self, texts: Sequence[str], candidates: Candidates) -> Mapping[str, FloatArray]:
        """See `MetadataReranker.compare`."""
        images, rows = candidates.images, candidates.rows
        if len(images) <= self.pool_up_to:
            if images is not self._pool:  # headlines one by one search the same pictures
                self._pool, self._indexes = images, self._count_words(images)
            indexes = self._indexes
        else:
            distinct, where = np.unique(rows, return_inverse=True)
            rows = where.reshape(rows.shape)
            indexes = self._count_words([images[row] for row in distinct])
        return {
            name: np.stack([index.score(text)[own] for text, own in zip(texts, rows, strict=True)])
            for name, index in indexes.items()
        }

    def _count_words(self, images: Sequence[Image]) -> dict[str, WordIndex]:
        known = list(images)
        return {
            name: WordIndex([get_text(one, name) for one in known], self.k1, self.b)
            for name in self.fields
        }
