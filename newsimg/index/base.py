"""The index that `task=index` builds: part by part, and kept in a file."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from newsimg.datatypes import FloatArray, IntArray
from newsimg.interfaces import Index


class GrowingIndex(Index):
    """An index that takes its vectors in parts, under ids of their own, and lies in a file."""

    factory: str
    """What it is made of, as FAISS writes it."""
    seed: int
    """Draws the images that it is trained on."""

    @abstractmethod
    def training_size(self, n_images: int) -> int:
        """Return how many of `n_images` images to train on: none, if there is nothing to learn."""

    @abstractmethod
    def train(self, sample: FloatArray, n_images: int) -> None:
        """Begin anew: choose numbers for `n_images` images, and learn from some of them.

        Args:
            sample: (n_sample, dim) float32, the embeddings of `training_size` images; (0, dim) says
                the dim where there is nothing to learn.
            n_images: How many will be added.

        Raises:
            ValueError: If these images are too few for what the config asks for.
        """

    @abstractmethod
    def estimate_bytes(self, n_images: int, dim: int) -> int:
        """Return how large the index would get."""

    @abstractmethod
    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """Add images under new, ascending ids, which `search` returns for rows.

        Raises:
            ValueError: If the shapes do not fit, or ids do not ascend.
        """

    @abstractmethod
    def remove(self, ids: IntArray) -> int:
        """Remove images by id; returns how many of them were there."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the index to one file, whole or not at all."""

    @abstractmethod
    def read(self, path: Path) -> None:
        """Go on with the index of a file, as it was trained and searched when it was written.

        Raises:
            ValueError: If the file cannot be read.
        """

    @property
    @abstractmethod
    def n_vectors(self) -> int:
        """Images that can be found."""

    @property
    @abstractmethod
    def bytes_per_vector(self) -> float:
        """Bytes of the whole index by image, in memory and in its file."""

    @property
    @abstractmethod
    def numbers(self) -> Mapping[str, Any]:
        """What it was made with, for a manifest: factory, n_training, ...; empty after `read`."""
