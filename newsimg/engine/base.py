"""Where the pictures of a collection are embedded."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # brings pyarrow, too slow for --help
    from newsimg.engine.listing import Listing
    from newsimg.engine.validation import Accepted, Rejected, ValidationRules
    from newsimg.interfaces import Backbone


class Engine(ABC):
    """Reads, judges and embeds pictures: in this process, or in several."""

    @abstractmethod
    def embed(
        self,
        listing: "Listing",
        numbers: range,
        backbone: "Backbone",
        rules: "ValidationRules",
        n_threads: int,
    ) -> "Iterator[Accepted | Rejected]":
        """Yield one result for each picture of some chunks, in their order.

        What is held in memory does not grow with the number of chunks.

        Args:
            listing: What is to be embedded.
            numbers: The chunks, which are whole batches.
            backbone: Embeds, and keeps what it computed.
            rules: What to take.
            n_threads: Threads of each process that read and decode.

        Raises:
            OSError: If what is computed cannot be kept.
        """
