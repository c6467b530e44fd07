"""Interface of the engines that embed a collection."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imports pyarrow, which would slow down --help
    from newsimg.engine.listing import Listing
    from newsimg.engine.validation import Accepted, Rejected, ValidationRules
    from newsimg.interfaces import Backbone


class Engine(ABC):
    """Validates and embeds pictures, in one process or several."""

    @abstractmethod
    def embed(
        self,
        listing: "Listing",
        numbers: range,
        backbone: "Backbone",
        rules: "ValidationRules",
        n_threads: int,
    ) -> "Iterator[Accepted | Rejected]":
        """Yield one result per picture of the given chunks, in order.

        Memory use does not depend on the number of chunks.

        Args:
            listing: The pictures to embed.
            numbers: Chunks to embed; their size is a multiple of the batch size.
            backbone: Backbone that computes, and may cache, the embeddings.
            rules: Rules for accepting pictures.
            n_threads: Reading and decoding threads per process.

        Raises:
            OSError: If the embeddings cannot be cached.
        """
