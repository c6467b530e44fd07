"""Embedding of a collection into a build checkpoint."""

from collections.abc import Callable, Iterable
from itertools import islice

from newsimg.datatypes import Accepted, Listed, Rejected, ValidationRules
from newsimg.engine.listing import Listing, write_listing
from newsimg.index.building.checkpoint import BuildCheckpoint
from newsimg.interfaces import Backbone, Engine
from newsimg.storage.progress import Progress

CHUNK = 512  # pictures per checkpoint write: the most that a killed job may lose


class TooManyRejectedError(ValueError):
    """Raised if too many pictures are rejected; the reasons are in the checkpoint."""


def embed_collection(
    images: Iterable[Listed],
    backbone: Backbone,
    checkpoint: BuildCheckpoint,
    *,
    engine: Engine,
    rules: ValidationRules,
    on_bad_image: str,
    max_rejected: float,
    n_threads: int,
    count_known: Callable[[], int] = int,
) -> Listing:
    """Embed a collection into `checkpoint`, chunk by chunk, resuming an interrupted job.

    Args:
        images: The pictures to embed.
        backbone: Backbone that embeds them.
        checkpoint: State of the job.
        engine: Engine that reads the pictures.
        rules: Rules for accepting pictures.
        on_bad_image: "skip" rejected pictures, or "raise" an error.
        max_rejected: Largest share of rejected pictures.
        n_threads: Reading and decoding threads.
        count_known: Returns, once `images` are read, how many further pictures of the collection
            are in the index already: the share of rejected pictures is of all of them.

    Returns:
        The listed pictures.

    Raises:
        TooManyRejectedError: If the share of rejected pictures is above `max_rejected`.
        ValueError: If a picture is rejected and `on_bad_image` is "raise", or two pictures have
            the same id.
    """
    # A chunk is a multiple of the batch size, so that a resumed job has the same batches.
    size = -(-CHUNK // backbone.batch_size) * backbone.batch_size
    listing = write_listing(images, checkpoint.folder / "listing.arrow", size)
    done = checkpoint.resume(listing)
    numbers = range(done, listing.n_chunks)
    results = engine.embed(listing, numbers, backbone, rules, n_threads)
    n_listed = len(listing) + count_known()
    _check_share(checkpoint, n_listed, max_rejected)
    n_done = checkpoint.n_accepted + checkpoint.n_rejected
    with Progress("Embedding pictures", len(listing), done=n_done) as progress:
        for number in numbers:
            n_chunk = min(size, len(listing) - number * size)
            chunk: list[Accepted | Rejected] = []
            for result in islice(results, n_chunk):
                chunk.append(result)
                progress.update()
                if isinstance(result, Rejected) and on_bad_image == "raise":
                    raise ValueError(f"cannot use {result.uri}: {result.reason}")
            checkpoint.add(listing, number, chunk)
            _check_share(checkpoint, n_listed, max_rejected)
    return listing


def _check_share(checkpoint: BuildCheckpoint, n_listed: int, max_rejected: float) -> None:
    if checkpoint.n_rejected > max_rejected * n_listed:
        raise TooManyRejectedError(
            f"{checkpoint.n_rejected} of {n_listed} pictures are rejected, more than the share "
            f"task.max_rejected={max_rejected} allows"
        )
