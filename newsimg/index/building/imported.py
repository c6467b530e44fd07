"""Vectors of an index that another program wrote, such as the original system's."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from newsimg.datatypes import FloatArray, Image, Listed, Rejected, SkippedFile
from newsimg.interfaces import Backbone
from newsimg.storage.files import hash_file
from newsimg.storage.models.fit import ModelError

log = logging.getLogger(__name__)

METRICS = (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2)
N_COMPARED = 100  # pictures that are embedded again
LOWEST_COSINE = 0.95  # other preprocessing gives 0.99 and more, another model about 0
LENGTH_TOLERANCE = 1e-3
N_AT_ONCE = 8192  # vectors that are read together


class ImportedVectors(Backbone):
    """Takes the embeddings of pictures from a FAISS index instead of computing them.

    The file is mapped and its vectors are read in blocks, so that it may be larger than the memory.
    The row of a picture is its position in the listing. The index must have as many vectors as
    there are pictures, all of length 1, and random ones are compared with the backbone's own.

    Args:
        path: The FAISS index.
        listed: The pictures, in the order of its rows.
        backbone: The backbone that it was built with.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the index cannot be used, or its vectors are not those of the pictures.
    """

    def __init__(self, path: Path, listed: Iterable[Listed], backbone: Backbone) -> None:
        self.path = path
        self.listed = [one for one in listed if not isinstance(one, SkippedFile)]
        self.vectors = MappedVectors(path)
        if self.vectors.n_vectors != len(self.listed):
            raise ValueError(
                f"{path} has {self.vectors.n_vectors} vectors, but {len(self.listed)} pictures are "
                "listed, so that it is not known which vector is whose; build the index again"
            )
        self._rows = {
            one.image_id: i for i, one in enumerate(self.listed) if isinstance(one, Image)
        }
        self.query_template = backbone.query_template
        self.batch_size = backbone.batch_size
        self._backbone = backbone
        self._hash = hash_file(path)
        self.compared = self._compare()

    @property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`."""
        return json.dumps({"imported": self._hash, "backbone": self._backbone.fingerprint})

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says about the import."""
        return {"path": str(self.path), "sha256": self._hash, **self.compared}

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self._backbone.embed_texts(texts)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`: the vectors of the index, which are not cached."""
        return self.vectors.read([self._rows[image.image_id] for image in images])

    def _compare(self) -> dict[str, float]:
        """Compare random vectors with the backbone's own embeddings of the pictures."""
        order = np.random.default_rng(len(self.listed)).permutation(len(self.listed))
        cosines: dict[str, float] = {}
        reasons = []
        for row in order[:N_COMPARED]:
            picture = self.listed[row]
            try:
                if isinstance(picture, Rejected):
                    raise ValueError(f"{picture.uri}: {picture.reason}")
                own = self._backbone.embed_images([picture])[0]
            except ModelError:
                raise
            except (OSError, ValueError) as error:
                reasons.append(str(error))
                continue
            if len(own) != self.vectors.dim:
                raise ValueError(
                    f"{self.path} has vectors of {self.vectors.dim} dimensions, the "
                    f"backbone's have {len(own)}: choose the backbone that it was built with"
                )
            cosines[picture.uri] = float(own @ self.vectors.read([row])[0])
        if not cosines:
            raise ValueError(
                f"none of {len(reasons)} pictures can be read to compare them with {self.path}, "
                f"the first: {reasons[0]}; relative paths of a list are relative to data.root"
            )
        worst = min(cosines, key=cosines.__getitem__)
        n_other = sum(cosine < LOWEST_COSINE for cosine in cosines.values())
        if n_other:
            raise ValueError(
                f"{self.path} was built with another backbone than this run's, or of other "
                f"pictures than those listed: {n_other} of {len(cosines)} compared vectors have a "
                f"cosine below {LOWEST_COSINE} with this backbone's, the lowest "
                f"{cosines[worst]:.4f} ({worst})"
            )
        return {"n_compared": len(cosines), "lowest_cosine": cosines[worst]}


class MappedVectors:
    """The vectors of a FAISS index, in the order in which they were added.

    Args:
        path: The index.

    Attributes:
        n_vectors: Number of vectors.
        dim: Their dimension.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, is empty, compares by another metric than the inner
            product or L2, does not keep whole vectors, or they are not of length 1.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no FAISS index at {path}")
        again = "build the index again with task.action=build"
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise ValueError(f"{path} is not a FAISS index that can be read: {error}") from error
        if index.metric_type not in METRICS:
            raise ValueError(f"{path} must compare by inner product or L2; {again}")
        if not index.ntotal:
            raise ValueError(f"{path} has no vectors")
        self.n_vectors, self.dim = int(index.ntotal), int(index.d)
        self._whole = index  # an IndexIDMap owns the index inside
        try:
            self._index = _open_positions(index)
            shortest, longest = self._measure_lengths()
        except RuntimeError as error:
            raise ValueError(f"{path} does not keep its vectors; {again}") from error
        if not (shortest >= 1 - LENGTH_TOLERANCE and longest <= 1 + LENGTH_TOLERANCE):
            raise ValueError(
                f"{path} has vectors of lengths from {shortest:.4g} to {longest:.4g}, "
                f"expected 1: they are not normalised, or compressed; {again}"
            )

    def read(self, rows: Sequence[int]) -> FloatArray:
        """Read the vectors at some positions: (n_rows, dim) float32, of length 1."""
        if not rows:
            return np.empty((0, self.dim), np.float32)
        vectors = self._index.reconstruct_batch(np.array(rows, np.int64))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1)[:, None], np.float32)

    def _measure_lengths(self) -> tuple[float, float]:
        """Return the smallest and the largest length; not a number if one is."""
        bounds = []
        for start in range(0, self.n_vectors, N_AT_ONCE):
            n_rows = min(N_AT_ONCE, self.n_vectors - start)
            lengths = np.linalg.norm(self._index.reconstruct_n(start, n_rows), axis=1)
            bounds.append((lengths.min(), lengths.max()))
        shortest, longest = np.array(bounds).T
        return float(shortest.min()), float(longest.max())


def _open_positions(index: faiss.Index) -> faiss.Index:
    """Return the index that reconstructs vectors by position.

    Raises:
        RuntimeError: If the ids are not the positions.
    """
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIDMap):
        ids = faiss.vector_to_array(index.id_map)
        if not np.array_equal(ids, np.arange(len(ids))):
            raise RuntimeError("its ids are not 0, 1, 2 ...")
        return _open_positions(index.index)
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    return index
