"""Embedding of a stream of pictures; reading and decoding run in parallel to the model."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from newsimg.datatypes import Accepted, FloatArray, Image, Rejected, ValidationRules
from newsimg.engine.validation import (
    Loaded,
    Prepared,
    load_picture,
    prepare_picture,
    without_content,
)
from newsimg.interfaces import Backbone
from newsimg.storage.prefetch import prefetch

N_PREFETCH = 2  # batches being read, and batches being decoded, ahead of the model
T = TypeVar("T")


@dataclass(frozen=True)
class _Batch:
    """A batch in preparation; the three lists are aligned."""

    pictures: list[Loaded | Rejected]
    known: list[FloatArray | None]
    preparing: list["Future[Prepared | Rejected] | None"]


def stream_embeddings(
    pictures: Iterable[Image | Rejected], backbone: Backbone, rules: ValidationRules, n_threads: int
) -> Iterator[Accepted | Rejected]:
    """Embed or reject pictures; yield one result per picture, in order.

    The number of batches in memory is constant. A picture with a cached embedding is read, because
    the cache is keyed by its bytes, but not decoded.

    Args:
        pictures: Pictures to embed; rejected ones are passed through.
        backbone: Backbone that embeds batches of its `batch_size`.
        rules: Rules for accepting pictures.
        n_threads: Reading and decoding threads.
    """
    with ThreadPoolExecutor(n_threads) as pool:

        def load(batch: list[Image | Rejected]) -> "list[Rejected | Future[Loaded | Rejected]]":
            return [
                one if isinstance(one, Rejected) else pool.submit(load_picture, one, rules)
                for one in batch
            ]

        def prepare(batch: "list[Rejected | Future[Loaded | Rejected]]") -> _Batch:
            loaded = [one if isinstance(one, Rejected) else one.result() for one in batch]
            good = [one.image for one in loaded if isinstance(one, Loaded)]
            found = iter(backbone.find_embeddings(good) if good else [])
            known = [next(found) if isinstance(one, Loaded) else None for one in loaded]
            preparing = [
                pool.submit(prepare_picture, one.image, backbone, rules)
                if isinstance(one, Loaded) and row is None
                else None
                for one, row in zip(loaded, known, strict=True)
            ]
            return _Batch(loaded, known, preparing)

        loading = prefetch(map(load, _in_batches(pictures, backbone.batch_size)), N_PREFETCH)
        for batch in prefetch(map(prepare, loading), N_PREFETCH):
            yield from _finish(batch, backbone)


def _finish(batch: _Batch, backbone: Backbone) -> Iterator[Accepted | Rejected]:
    """Embed the new pictures of a batch, and yield all results in order."""
    prepared = [None if future is None else future.result() for future in batch.preparing]
    rows = _embed([one for one in prepared if isinstance(one, Prepared)], backbone)
    for picture, known, outcome in zip(batch.pictures, batch.known, prepared, strict=True):
        if isinstance(picture, Rejected):
            yield picture
        elif isinstance(outcome, Rejected):
            yield outcome
        else:
            image = picture.image if outcome is None else outcome.image
            row = next(rows) if known is None else known
            size = (picture.width, picture.height)
            yield Accepted(without_content(image), *size, row, picture.n_cut)


def _embed(prepared: list[Prepared], backbone: Backbone) -> Iterator[FloatArray]:
    """Yield the embedding of each picture, reusing those that earlier batches have cached."""
    if not prepared:
        return
    names = [(one.image.digest, one.image.truncated) for one in prepared]
    found = backbone.find_embeddings([one.image for one in prepared])
    rows = {name: row for name, row in zip(names, found, strict=True) if row is not None}
    # One of several pictures with equal bytes is embedded, so that their rows are identical.
    missing = {name: one for name, one in zip(names, prepared, strict=True) if name not in rows}
    if missing:
        images = [one.image for one in missing.values()]
        computed = backbone.embed_preprocessed(images, [one.inputs for one in missing.values()])
        rows |= dict(zip(missing, computed, strict=True))
    for name in names:
        yield rows[name]


def _in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
