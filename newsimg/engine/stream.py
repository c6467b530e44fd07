"""Embedding of batches that are read in parallel to the model."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from newsimg.datatypes import Accepted, FloatArray, Image, Rejected, ValidationRules
from newsimg.engine.reading import Read, ReadBatch, read_in_threads
from newsimg.engine.validation import MAX_REASON, without_content
from newsimg.interfaces import Backbone
from newsimg.storage.models.stacked import select_inputs
from newsimg.storage.pictures.images import DamagedPictureError
from newsimg.storage.prefetch import prefetch

N_RUNNING = 2  # batches on a GPU: one computes while the results of another are written


def stream_embeddings(
    pictures: Iterable[Image | Rejected], backbone: Backbone, rules: ValidationRules, n_threads: int
) -> Iterator[Accepted | Rejected]:
    """Embed or reject pictures; yield one result per picture, in order, in constant memory.

    Args:
        pictures: Pictures to embed; rejected ones are passed through.
        backbone: Backbone that embeds batches of its `batch_size`.
        rules: Rules for accepting pictures.
        n_threads: Reading and decoding threads.
    """
    return embed_batches(read_in_threads(pictures, backbone, rules, n_threads), backbone)


def embed_batches(
    batches: Iterable[ReadBatch], backbone: Backbone
) -> Iterator[Accepted | Rejected]:
    """Embed the new pictures of batches; yield one result per picture, in order."""
    if not backbone.is_asynchronous:  # a CPU that computes two batches at a time gains nothing
        for batch in batches:
            yield from _finish(batch, embed_new(batch, backbone))
        return
    with ThreadPoolExecutor(N_RUNNING) as pool:
        running = prefetch(_start(batches, backbone, pool), N_RUNNING - 1)
        for batch, future in running:
            yield from _finish(batch, future.result())


def _start(
    batches: Iterable[ReadBatch], backbone: Backbone, pool: ThreadPoolExecutor
) -> "Iterator[tuple[ReadBatch, Future[list[FloatArray | Rejected]]]]":
    """Embed batches one after the other, without waiting for their results."""
    before: tuple[set[str | None], Future[list[FloatArray | Rejected]]] | None = None
    for batch in batches:
        digests = {image.digest for image in batch.new}
        if before and digests & before[0]:  # the same picture is embedded once
            wait([before[1]])
        future = pool.submit(embed_new, batch, backbone)
        yield batch, future
        before = digests, future


def embed_new(batch: ReadBatch, backbone: Backbone) -> list[FloatArray | Rejected]:
    """Return the embedding of each new picture, reusing those that earlier batches have cached.

    A picture that the backbone decodes itself, and finds to be damaged, is rejected.
    """
    images = batch.new
    if not images:
        return []
    names = [(image.digest, image.truncated) for image in images]
    found = backbone.find_embeddings(images)
    rows = {name: row for name, row in zip(names, found, strict=True) if row is not None}
    damaged: dict[tuple[str | None, bool], str] = {}
    # One of several pictures with equal bytes is embedded, so that their rows are identical.
    missing = {name: i for i, name in enumerate(names) if name not in rows}
    while missing:
        places = list(missing.values())
        inputs = select_inputs(batch.inputs, places)
        try:
            computed = backbone.embed_preprocessed([images[i] for i in places], inputs)
        except DamagedPictureError as error:
            name = (error.image.digest, error.image.truncated)
            damaged[name] = error.reason[:MAX_REASON]
            del missing[name]
            continue
        rows |= dict(zip(missing, computed, strict=True))
        break
    return [
        Rejected(image.uri, damaged[name]) if name in damaged else rows[name]
        for image, name in zip(images, names, strict=True)
    ]


def _finish(batch: ReadBatch, rows: list[FloatArray | Rejected]) -> Iterator[Accepted | Rejected]:
    """Yield the results of a batch in order."""
    new = iter(rows)
    for one in batch.pictures:
        if isinstance(one, Read):
            row = next(new) if one.row is None else one.row
            if isinstance(row, Rejected):
                yield row
            else:
                yield Accepted(without_content(one.image), one.width, one.height, row, one.n_cut)
        else:
            yield one
