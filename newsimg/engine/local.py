"""Embedding in one process."""

from collections.abc import Iterator

from newsimg.datatypes import Accepted, Chunks, Rejected, ValidationRules
from newsimg.engine.stream import stream_embeddings
from newsimg.interfaces import Backbone, Engine


class LocalEngine(Engine):
    """An engine that embeds in this process."""

    def embed(
        self,
        listing: Chunks,
        numbers: range,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
    ) -> Iterator[Accepted | Rejected]:
        """See `Engine.embed`."""
        pictures = (picture for number in numbers for picture in listing.read_chunk(number))
        return stream_embeddings(pictures, backbone, rules, n_threads)
