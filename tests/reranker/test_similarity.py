"""The cosine of a second dual encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, Image, Query
from newsimg.interfaces import Backbone
from newsimg.reranker.similarity import SimilarityReranker


class NamedBackbone(Backbone):
    """Embeds texts and pictures by tables, and notes what it was asked for."""

    query_template = "about {title}"
    batch_size = 4
    fingerprint = "named"

    def __init__(self) -> None:
        rows = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
        self.rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.asked: list[str] = []

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        return self.rows[[int(text[-1]) for text in texts]]

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        self.asked += [image.image_id for image in images]
        return self.rows[[4 + int(image.image_id) for image in images]]


def test_the_score_is_the_cosine_and_each_picture_is_embedded_once() -> None:
    backbone = NamedBackbone()
    images = tuple(Image(str(i), Path(f"{i}.jpg")) for i in range(4))
    rows = np.array([[3, 0], [0, 2]])
    scores = np.zeros(rows.shape, np.float32)
    candidates = Candidates(images, rows, scores, {"retrieval": scores})
    queries = [Query("a", "storm 0"), Query("b", "cow 1")]
    found = SimilarityReranker(backbone=backbone).score(queries, candidates).values
    for i, own in enumerate(rows):
        for j, row in enumerate(own):
            expected = backbone.rows[i] @ backbone.rows[4 + row]
            np.testing.assert_allclose(found[i, j], expected, atol=1e-6)
    assert backbone.asked == ["about storm 0", "about cow 1", "0", "2", "3"]
