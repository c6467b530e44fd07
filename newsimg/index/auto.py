"""An index that chooses the FAISS index type by collection size and memory limit."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.base import GrowingIndex

log = logging.getLogger(__name__)

GIB = 2**30


class AutoIndex(GrowingIndex):
    """An index selected from several options by number of images and available memory.

    Up to `exact_up_to` images the first option is used, which should be exact; above that, the
    first of the other options that fits into memory. The choice and its reason are logged.

    Args:
        options: Candidate indexes by name, in order of preference.
        exact_up_to: Largest number of images for which the first option is used.
        memory_gb: Memory limit of the index in GiB; None allows half of the machine's memory.
        seed: Seed of the sample of training images.

    Raises:
        ValueError: If there are fewer than two options, or a number is out of range.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, GrowingIndex],
        exact_up_to: int,
        memory_gb: float | None = None,
        seed: int = 28,
    ) -> None:
        if len(options) < 2:
            raise ValueError(f"index.options must hold at least 2 indexes, got {list(options)}")
        if exact_up_to < 0:
            raise ValueError(f"index.exact_up_to must be at least 0, got {exact_up_to}")
        if memory_gb is not None and memory_gb <= 0:
            raise ValueError(f"index.memory_gb must be above 0, got {memory_gb}")
        self.options = dict(options)
        self.exact_up_to = exact_up_to
        self.memory_gb = memory_gb
        self.seed = seed
        self.chosen: GrowingIndex = next(iter(self.options.values()))
        self.reason = ""

    def build(self, embeddings: FloatArray) -> None:
        """See `Index.build`; logs the choice."""
        self._choose(*embeddings.shape)
        self.chosen.build(embeddings)

    def training_size(self, n_images: int) -> int:
        """Return the largest training size of all options, as the choice depends on the dim."""
        first, *others = self.options.values()
        candidates = [first] if n_images <= self.exact_up_to else others
        return max(option.training_size(n_images) for option in candidates)

    def train(self, sample: FloatArray, n_images: int) -> None:
        """See `GrowingIndex.train`; logs the choice."""
        self._choose(n_images, sample.shape[1])
        n_wanted = min(self.chosen.training_size(n_images), len(sample))
        drawn = np.random.default_rng(self.seed).choice(len(sample), n_wanted, replace=False)
        self.chosen.train(sample[np.sort(drawn)], n_images)

    def estimate_bytes(self, n_images: int, dim: int) -> int:
        """See `GrowingIndex.estimate_bytes`."""
        return self._pick(n_images, dim)[1].estimate_bytes(n_images, dim)

    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """See `GrowingIndex.add`."""
        self.chosen.add(embeddings, ids)

    def remove(self, ids: IntArray) -> int:
        """See `GrowingIndex.remove`."""
        return self.chosen.remove(ids)

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`."""
        return self.chosen.search(embeddings, top_k)

    def write(self, path: Path) -> None:
        """See `GrowingIndex.write`."""
        self.chosen.write(path)

    def read(self, path: Path) -> None:
        """See `GrowingIndex.read`; the file holds the option chosen when it was built."""
        self.chosen.read(path)

    @property
    def factory(self) -> str:  # type: ignore[override]
        """See `GrowingIndex.factory`."""
        return self.chosen.factory

    @property
    def n_vectors(self) -> int:
        """See `GrowingIndex.n_vectors`."""
        return self.chosen.n_vectors

    @property
    def bytes_per_vector(self) -> float:
        """See `GrowingIndex.bytes_per_vector`."""
        return self.chosen.bytes_per_vector

    @property
    def numbers(self) -> Mapping[str, Any]:
        """See `GrowingIndex.numbers`; includes the reason for the choice."""
        return dict(self.chosen.numbers) | ({"reason": self.reason} if self.reason else {})

    def _choose(self, n_images: int, dim: int) -> None:
        name, self.chosen, self.reason = self._pick(n_images, dim)
        log.info("index          %s: %s", name, self.reason)

    def _pick(self, n_images: int, dim: int) -> tuple[str, GrowingIndex, str]:
        allowed = self.memory_gb or _machine_memory() / 2 / GIB
        source = "index.memory_gb" if self.memory_gb else "half of this machine's memory"
        limit = f"the limit is {allowed:.3g} GiB ({source})"
        (first, exact), *others = self.options.items()
        if n_images <= self.exact_up_to:
            others = [(first, exact), *others]
        sizes = []
        for name, option in others:
            size = option.estimate_bytes(n_images, dim) / GIB
            sizes.append(f"{name} {size:.3g} GiB")
            if size <= allowed:
                reason = f"{n_images} images of dim {dim} take {', '.join(sizes)}; {limit}"
                if name == first:
                    reason = f"{n_images} images, exact search is used up to {self.exact_up_to}"
                return name, option, reason
        raise ValueError(
            f"no index option fits: {n_images} images of dim {dim} take {', '.join(sizes)}; "
            f"{limit}: raise index.memory_gb, or split the collection into several indexes"
        )


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
