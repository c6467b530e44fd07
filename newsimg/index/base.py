"""Base class of the indexes that `task=index` builds incrementally and writes to a file."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from newsimg.datatypes import FloatArray, IntArray
from newsimg.interfaces import Index


class GrowingIndex(Index):
    """An index to which vectors are added in batches with explicit ids, and which can be saved."""

    factory: str
    """FAISS factory string."""
    seed: int
    """Seed of the sample of training images."""

    @abstractmethod
    def training_size(self, n_images: int) -> int:
        """Return how many of `n_images` images to train on; 0 if no training is needed."""

    @abstractmethod
    def train(self, sample: FloatArray, n_images: int) -> None:
        """Discard all vectors, set the parameters for `n_images` images and train on a sample.

        Args:
            sample: (n_sample, dim) float32, embeddings of `training_size` images; (0, dim) if no
                training is needed.
            n_images: Number of images that will be added.

        Raises:
            ValueError: If the sample is too small for the configured parameters.
        """

    @abstractmethod
    def estimate_bytes(self, n_images: int, dim: int) -> int:
        """Return the size in bytes of an index of `n_images` vectors."""

    @abstractmethod
    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """Add images with new, ascending ids; `search` returns these ids as rows.

        Raises:
            ValueError: If the shapes do not match, or the ids do not ascend.
        """

    @abstractmethod
    def remove(self, ids: IntArray) -> int:
        """Remove images by id; return how many of the ids were in the index."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the index to one file, atomically."""

    @abstractmethod
    def read(self, path: Path) -> None:
        """Load an index from a file, with the training and search parameters saved in it.

        Raises:
            ValueError: If the file cannot be read.
        """

    @property
    @abstractmethod
    def n_vectors(self) -> int:
        """Number of searchable images."""

    @property
    @abstractmethod
    def bytes_per_vector(self) -> float:
        """Size of the index in bytes per image, in memory and on disk."""

    @property
    @abstractmethod
    def numbers(self) -> Mapping[str, Any]:
        """Build parameters for the manifest: factory, n_training, ...; empty after `read`."""
