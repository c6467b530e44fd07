"""One process."""

from collections.abc import Iterator

from newsimg.engine.base import Engine
from newsimg.engine.listing import Listing
from newsimg.engine.stream import stream_embeddings
from newsimg.engine.validation import Accepted, Rejected, ValidationRules
from newsimg.interfaces import Backbone


class LocalEngine(Engine):
    """Embeds in this process."""

    def embed(
        self,
        listing: Listing,
        numbers: range,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
    ) -> Iterator[Accepted | Rejected]:
        """See `Engine.embed`."""
        pictures = (picture for number in numbers for picture in listing.read_chunk(number))
        return stream_embeddings(pictures, backbone, rules, n_threads)
