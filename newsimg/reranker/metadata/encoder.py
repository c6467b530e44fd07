"""The headline against the words of a picture, by a text encoder."""

from collections.abc import Mapping, Sequence

import numpy as np

from newsimg.datatypes import Candidates, FloatArray
from newsimg.interfaces import Backbone
from newsimg.reranker.metadata.base import MetadataReranker
from newsimg.storage.metadata.word_index import get_text
from newsimg.storage.models.truncated import find_truncated


class EncodedMetadataReranker(MetadataReranker):
    """Scores a candidate by the cosine of the headline with its metadata, field by field.

    Reimers and Gurevych (2019), "Sentence-BERT", EMNLP. Texts that exceed the
    encoder's length are logged.

    Args:
        fields: See `MetadataReranker`.
        pool: See `MetadataReranker`.
        query_template: See `MetadataReranker`.
        encoder: Embeds headlines and metadata: any backbone, of which only texts are used.

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self, *, fields: list[str], pool: str, query_template: str, encoder: Backbone
    ) -> None:
        super().__init__(fields=fields, pool=pool, query_template=query_template)
        self.encoder = encoder

    def compare(self, texts: Sequence[str], candidates: Candidates) -> Mapping[str, FloatArray]:
        """See `MetadataReranker.compare`."""
        distinct, where = np.unique(candidates.rows, return_inverse=True)
        where = where.reshape(candidates.rows.shape)
        known = [candidates.images[row] for row in distinct]
        words = {name: [get_text(image, name) for image in known] for name in self.fields}
        used = sorted({text for own in words.values() for text in own} - {""})
        queries = self.encoder.embed_texts(texts)
        if not used:
            return {name: np.zeros(where.shape, np.float32) for name in self.fields}
        find_truncated(self.encoder, used, "metadata texts")
        positions = {text: i for i, text in enumerate(used)}
        embeddings = np.vstack(
            [self.encoder.embed_texts(used), np.zeros((1, queries.shape[1]), np.float32)]
        )  # the last row is that of an empty text
        scores = {}
        for name, own in words.items():
            rows = np.array([positions.get(text, len(used)) for text in own])
            scores[name] = np.einsum("qd,qkd->qk", queries, embeddings[rows[where]])
        return scores
