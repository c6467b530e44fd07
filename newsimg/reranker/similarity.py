"""The cosine of a second dual encoder."""

from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.interfaces import Backbone, Reranker
from newsimg.storage.models.queries import check_queries, embed_queries


class SimilarityReranker(Reranker):
    """Scores a candidate by its cosine with the headline in another backbone's space.

    Each distinct headline and picture is embedded once. With a model that was trained on human
    preferences, such as PickScore, the cosine is its score up to a factor.

    Args:
        backbone: The other backbone.
    """

    def __init__(self, *, backbone: Backbone) -> None:
        self.backbone = backbone

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        check_queries(queries, self.backbone)

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        texts = embed_queries(queries, self.backbone)
        rows, where = np.unique(candidates.rows, return_inverse=True)
        images = self.backbone.embed_images([candidates.images[row] for row in rows])
        chosen = images[where.reshape(candidates.rows.shape)]
        return RerankScores(np.einsum("qd,qkd->qk", texts, chosen).astype(np.float32))
