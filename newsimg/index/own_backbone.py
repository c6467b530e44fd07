"""Retrieval by another backbone than the run's."""

from collections.abc import Sequence

from newsimg.datatypes import FloatArray, Image, IntArray, Query
from newsimg.interfaces import Backbone, Index
from newsimg.storage.models.queries import check_queries, embed_queries, find_truncated_queries


class OwnBackboneIndex(Index):
    """An index with a backbone of its own, as a member of `FusedIndex`.

    It embeds pictures and queries itself, with its backbone's query template, and does not use the
    run's embeddings.

    Args:
        backbone: The backbone.
        index: Index of its embeddings, or a saved index that was built with this backbone.
    """

    def __init__(self, *, backbone: Backbone, index: Index) -> None:
        self.backbone = backbone
        self.index = index
        self._described: Sequence[Image] | None = None

    @property
    def images(self) -> Sequence[Image] | None:
        """See `Index.images`."""
        return self.index.images

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Index.check_queries`."""
        check_queries(queries, self.backbone)
        self.index.check_queries(queries)

    def build(self, embeddings: FloatArray) -> None:
        """Do nothing: these are the run's embeddings, and `describe` computes its own."""

    def describe(self, images: Sequence[Image]) -> None:
        """See `Index.describe`. Embeds and indexes the pictures, unless the index is saved."""
        if images is self._described:
            return
        if self.index.images is None:
            self.index.build(self.backbone.embed_images(images))
        self.index.describe(images)
        self._described = images

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """Raise an error: the embeddings are another backbone's.

        Raises:
            ValueError: Always.
        """
        raise ValueError("index=own_backbone searches for texts alone, not for embeddings")

    def search_queries(
        self, queries: Sequence[Query], embeddings: FloatArray, top_k: int
    ) -> tuple[FloatArray, IntArray]:
        """See `Index.search_queries`; `embeddings` are not used.

        A warning says how many queries this backbone truncates.

        Raises:
            ValueError: If `describe` was not called.
        """
        if self._described is None:
            raise ValueError("index=own_backbone needs the pictures: call describe first")
        model = self.backbone.description.get("model", type(self.backbone).__name__)
        limit = f"the text_length of {model}, the backbone of a member of index=fused,"
        find_truncated_queries(queries, self.backbone, "headlines", limit)
        return self.index.search_queries(queries, embed_queries(queries, self.backbone), top_k)
