"""The quality of a picture, whatever the headline."""

import logging
from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.interfaces import Reranker, VisionLanguageModel

log = logging.getLogger(__name__)

ANSWER = "quality"


class PictureQualityReranker(Reranker):
    """Scores a candidate by a metric of picture quality; each distinct picture is rated once.

    Metrics: `unread`, the number of pictures that the metric cannot rate, which count as the mean
    of the others.

    Args:
        model: Metric that rates pictures.
    """

    def __init__(self, *, model: VisionLanguageModel) -> None:
        self.model = model

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If the metric can rate no picture.
        """
        rows, where = np.unique(candidates.rows, return_inverse=True)
        images = [candidates.images[row] for row in rows]
        found = np.concatenate(self.model.ask(images, [[""]] * len(images), [ANSWER]))[:, 0]
        readable = np.isfinite(found)
        if not readable.any():
            raise ValueError(f"the metric can rate none of {len(found)} pictures")
        if n_unread := int((~readable).sum()):
            log.warning("%d of %d pictures cannot be rated by the metric", n_unread, len(found))
        scores = np.where(readable, found, found[readable].mean()).astype(np.float32)
        values = scores[where].reshape(candidates.rows.shape)
        return RerankScores(values, metrics={"unread": float(n_unread)})
