"""Retrieval by pixels and by words."""

from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import FloatArray, FusedArray, Image, IntArray, Query
from newsimg.interfaces import Index
from newsimg.storage.metadata.word_index import WordIndex, check_bm25, get_text
from newsimg.storage.text.suggest import refuse_all


class HybridIndex(Index):
    """Two searches, by embeddings and by BM25 of the headline in metadata, fused by their ranks.

    A picture at rank r by pixels and s by words has the score `(1 - share) / (k + r) + share / (k +
    s)`; a picture that one search does not find in its first `depth` results, or whose words have
    none of the headline's, has the other term alone.

    Cormack, Clarke and Buettcher (2009), "Reciprocal rank fusion outperforms Condorcet and
    individual rank learning methods", SIGIR.

    Args:
        pixels: Index of the embeddings.
        fields: Metadata fields whose words are searched, as one text.
        share: Share of the words in the fusion, in [0, 1]; the original has equal shares.
        k: Constant of the fusion: the larger, the less the first ranks count.
        depth: Results of each search; at least `top_k` are used.
        k1: See `WordIndex`.
        b: See `WordIndex`.

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        *,
        pixels: Index,
        fields: list[str],
        share: float,
        k: float,
        depth: int,
        k1: float,
        b: float,
    ) -> None:
        check_bm25("index", fields, k1, b)
        refuse_all(
            f"index.{name} must be at least 1, got {number}"
            for name, number in {"k": k, "depth": depth}.items()
            if number < 1
        )
        if not 0 <= share <= 1:
            raise ValueError(f"index.share must be in [0, 1], got {share}")
        self.pixels = pixels
        self.share = float(share)
        self.fields = fields
        self.k = float(k)
        self.depth = depth
        self.k1 = float(k1)
        self.b = float(b)
        self._described: Sequence[Image] | None = None
        self._words: WordIndex | None = None

    @property
    def images(self) -> Sequence[Image] | None:
        """See `Index.images`."""
        return self.pixels.images

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Index.check_queries`."""
        self.pixels.check_queries(queries)

    def build(self, embeddings: FloatArray) -> None:
        """See `Index.build`."""
        self.pixels.build(embeddings)

    def describe(self, images: Sequence[Image]) -> None:
        """See `Index.describe`. The words of all pictures are held in memory."""
        if images is self._described:
            return
        texts = [" ".join(get_text(image, field) for field in self.fields) for image in images]
        self._described, self._words = images, WordIndex(texts, self.k1, self.b)

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`: by pixels alone."""
        return self.pixels.search(embeddings, top_k)

    def search_queries(
        self, queries: Sequence[Query], embeddings: FloatArray, top_k: int
    ) -> tuple[FloatArray, IntArray]:
        """See `Index.search_queries`; the scores are sums of reciprocal ranks.

        Raises:
            ValueError: If `describe` was not called.
        """
        if self._words is None:
            raise ValueError("index=hybrid needs the pictures' metadata: call describe first")
        n_images = self._words.n_texts
        depth = min(max(top_k, self.depth), n_images)
        _, nearest = self.pixels.search(embeddings, depth)
        scores = np.empty((len(queries), top_k), np.float32)
        rows = np.empty((len(queries), top_k), np.int64)
        for i, query in enumerate(queries):
            fused = np.zeros(n_images)
            fused[nearest[i]] += (1 - self.share) * self._reciprocals(depth)
            found = _rank_words(self._words.score(query.title), depth)
            fused[found] += self.share * self._reciprocals(len(found))
            rows[i] = np.argsort(-fused, kind="stable")[:top_k]
            scores[i] = fused[rows[i]]
        return scores, rows

    def _reciprocals(self, n_ranks: int) -> FusedArray:
        return 1 / (self.k + np.arange(1, n_ranks + 1))


def _rank_words(scores: FloatArray, depth: int) -> IntArray:
    """Return the rows with a positive score, best first; equal scores by row."""
    order = np.argsort(-scores, kind="stable")[:depth]
    return order[scores[order] > 0]
