"""Batches of pictures that are read, looked up in the cache and preprocessed, in threads."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from newsimg.datatypes import FloatArray, Image, Rejected, ValidationRules
from newsimg.engine.validation import (
    Loaded,
    Prepared,
    load_picture,
    prepare_picture,
    without_content,
)
from newsimg.interfaces import Backbone
from newsimg.storage.models.stacked import StackedInputs
from newsimg.storage.prefetch import prefetch

N_PREFETCH = 2  # batches being read, and batches being decoded, ahead of the model
T = TypeVar("T")
_Preparing = tuple[
    list[Loaded | Rejected], list[FloatArray | None], "list[Future[Prepared | Rejected] | None]"
]


@dataclass(frozen=True)
class Read:
    """A picture that was accepted.

    Attributes:
        image: The picture; with its bytes only if the backbone decodes them itself.
        width: Width in pixels.
        height: Height in pixels.
        n_cut: See `Accepted`.
        row: Its cached embedding, or None if it has to be embedded.
    """

    image: Image
    width: int
    height: int
    n_cut: int
    row: FloatArray | None


@dataclass(frozen=True)
class ReadBatch:
    """A batch that is ready for the model.

    Attributes:
        pictures: In the order of the collection.
        inputs: What `Backbone.preprocess` returned for each picture without an embedding.
    """

    pictures: list[Read | Rejected]
    inputs: Sequence[Any]

    @property
    def new(self) -> list[Image]:
        """The pictures without an embedding."""
        return [one.image for one in self.pictures if isinstance(one, Read) and one.row is None]

    def pin_memory(self) -> "ReadBatch":
        """See `StackedInputs.pin_memory`."""
        if not isinstance(self.inputs, StackedInputs):
            return self
        return replace(self, inputs=self.inputs.pin_memory())


def read_in_threads(
    pictures: Iterable[Image | Rejected], backbone: Backbone, rules: ValidationRules, n_threads: int
) -> Iterator[ReadBatch]:
    """Read pictures ahead of the model; yield batches of the backbone's `batch_size`, in order.

    The number of batches in memory is constant. A picture with a cached embedding is read, because
    the cache is keyed by its bytes, but not decoded.
    """
    with ThreadPoolExecutor(n_threads) as pool:

        def load(batch: list[Image | Rejected]) -> "list[Rejected | Future[Loaded | Rejected]]":
            return [
                one if isinstance(one, Rejected) else pool.submit(load_picture, one, rules)
                for one in batch
            ]

        def prepare(batch: "list[Rejected | Future[Loaded | Rejected]]") -> _Preparing:
            loaded = [one if isinstance(one, Rejected) else one.result() for one in batch]
            rows = find_rows(loaded, backbone)
            futures = [
                pool.submit(prepare_picture, one.image, backbone, rules)
                if isinstance(one, Loaded) and row is None
                else None
                for one, row in zip(loaded, rows, strict=True)
            ]
            return loaded, rows, futures

        loading = prefetch(map(load, in_batches(pictures, backbone.batch_size)), N_PREFETCH)
        for loaded, rows, futures in prefetch(map(prepare, loading), N_PREFETCH):
            prepared = [None if future is None else future.result() for future in futures]
            yield join_batch(loaded, rows, prepared)


def read_batch(
    pictures: Sequence[Image | Rejected], backbone: Backbone, rules: ValidationRules
) -> ReadBatch:
    """Read a batch in this thread; see `read_in_threads`."""
    loaded = [one if isinstance(one, Rejected) else load_picture(one, rules) for one in pictures]
    rows = find_rows(loaded, backbone)
    prepared = [
        prepare_picture(one.image, backbone, rules)
        if isinstance(one, Loaded) and row is None
        else None
        for one, row in zip(loaded, rows, strict=True)
    ]
    return join_batch(loaded, rows, prepared)


def find_rows(loaded: Sequence[Loaded | Rejected], backbone: Backbone) -> list[FloatArray | None]:
    """Return the cached embedding of each picture of a batch, or None."""
    good = [one.image for one in loaded if isinstance(one, Loaded)]
    found = iter(backbone.find_embeddings(good) if good else [])
    return [next(found) if isinstance(one, Loaded) else None for one in loaded]


def join_batch(
    loaded: Sequence[Loaded | Rejected],
    rows: Sequence[FloatArray | None],
    prepared: Sequence[Prepared | Rejected | None],
) -> ReadBatch:
    """Return a batch from the aligned results of its steps, without the bytes of its files."""
    pictures: list[Read | Rejected] = []
    inputs = []
    for picture, row, outcome in zip(loaded, rows, prepared, strict=True):
        if isinstance(picture, Rejected):
            pictures.append(picture)
        elif isinstance(outcome, Rejected):
            pictures.append(outcome)
        else:
            image: Image = without_content(picture.image)
            if outcome is not None:
                inputs.append(outcome.inputs)
                later = outcome.inputs is outcome.image  # the backbone decodes it
                image = outcome.image if later else without_content(outcome.image)
            pictures.append(Read(image, picture.width, picture.height, picture.n_cut, row))
    return ReadBatch(pictures, inputs)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
