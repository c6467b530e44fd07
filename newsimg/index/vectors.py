"""Vectors with ids in one FAISS index: it grows, shrinks, is searched, and lies in one file."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from newsimg.datatypes import FloatArray, IntArray
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

ID_BYTES = 8


class VectorIndex:
    """What FAISS's indexes have in common, without what some of them lack.

    Inverted lists keep ids of their own and free what is removed. The others get a table of ids;
    where they cannot forget a vector (a graph, a refined index) it loses its id, is never found
    again, and keeps its bytes.

    Args:
        index: A trained FAISS index for inner products, without vectors or with ids from 0 on.
    """

    def __init__(self, index: faiss.Index) -> None:
        if index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ValueError(f"the index must compare by inner product, got {type(index).__name__}")
        # A downcast index does not own its memory: the object that came is the one to keep.
        self._owner = index
        self.faiss = faiss.downcast_index(index)
        if not (isinstance(self.faiss, faiss.IndexIDMap) or _is_ivf(index)):
            self.faiss = faiss.IndexIDMap(index)
        self.n_removed = int((self._id_table() < 0).sum())

    @classmethod
    def read(cls, path: Path, mapped: bool = False) -> "VectorIndex":
        """Read what `write` wrote, with the numbers it was searched with.

        Args:
            path: The file.
            mapped: Leave the vectors on disk and read the parts that a search touches; only for
                searching.

        Raises:
            ValueError: If the file is not there, or not a FAISS index for inner products.
        """
        flags = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY if mapped else 0
        try:
            return cls(faiss.read_index(str(path), flags))
        except RuntimeError as error:
            raise ValueError(f"{path} is not a FAISS index that can be read: {error}") from error

    def write(self, path: Path) -> None:
        """Write everything to `path`; the file is there whole or not at all."""
        with write_atomically(path) as temporary:
            faiss.write_index(self.faiss, str(temporary))

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self.faiss.d)

    @property
    def n_vectors(self) -> int:
        """Vectors that can be found."""
        return int(self.faiss.ntotal) - self.n_removed

    @property
    def bytes_per_vector(self) -> float:
        """Bytes of the whole index, centroids and ids and links included, by vector."""
        return self.count_bytes() / max(self.n_vectors, 1)

    def count_bytes(self) -> int:
        """Return the size of the file that `write` would write, which is that in memory too."""
        total = 0

        def count(block: bytes) -> None:
            nonlocal total
            total += len(block)

        faiss.write_index(self.faiss, faiss.PyCallbackIOWriter(count, 1 << 20))
        return total

    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """Add vectors under new ids.

        Args:
            embeddings: (n, dim) float32, rows of unit length.
            ids: (n,) int64, ascending; none of them in the index already.

        Raises:
            ValueError: If the shapes do not fit each other and the index, or ids do not ascend.
        """
        self._check_dim(embeddings, "vectors")
        ids = np.asarray(ids)
        if ids.shape != (len(embeddings),) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids must be {len(embeddings)} integers, got {ids.dtype} {ids.shape}")
        if len(ids) and (ids[0] < 0 or (np.diff(ids) <= 0).any()):
            raise ValueError(f"ids must ascend from 0 or above, got {ids[:5].tolist()}...")
        self.faiss.add_with_ids(np.ascontiguousarray(embeddings, np.float32), ids.astype(np.int64))

    def remove(self, ids: IntArray) -> int:
        """Remove the vectors with these ids.

        Returns:
            How many of the ids were in the index.
        """
        ids = np.unique(np.asarray(ids, np.int64))
        if _is_ivf(self.faiss) or _forgets(self.faiss.index):
            return int(self.faiss.remove_ids(ids))
        table = self._id_table()
        gone = (table >= 0) & np.isin(table, ids)
        table[gone] = -1
        faiss.copy_array_to_vector(table, self.faiss.id_map)
        self.n_removed += int(gone.sum())
        return int(gone.sum())

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """Find the `top_k` nearest vectors of each query.

        Args:
            embeddings: (n_queries, dim) float32, rows of unit length.
            top_k: Vectors per query, between 1 and `n_vectors`.

        Returns:
            scores: (n_queries, top_k) float32, descending.
            ids: (n_queries, top_k) int64.

        Raises:
            ValueError: If `dim` differs from the index's, `top_k` is out of range, or the index
                does not find as many however far it looks.
        """
        self._check_dim(embeddings, "queries")
        if not 1 <= top_k <= self.n_vectors:
            raise ValueError(f"top_k must be in [1, {self.n_vectors}], got {top_k}")
        embeddings = np.ascontiguousarray(embeddings, np.float32)
        ivf = find_part(self.faiss, faiss.IndexIVF)
        n_lists, nprobe = (ivf.nlist, ivf.nprobe) if ivf is not None else (1, 1)
        n_wanted = top_k
        scores, ids = self._search(embeddings, top_k, n_wanted, nprobe)
        while (short := (ids < 0).any(axis=1)).any():
            if nprobe >= n_lists and n_wanted >= self.faiss.ntotal:
                raise ValueError(
                    f"the index found less than top_k={top_k} images for {short.sum()} queries"
                )
            nprobe = min(2 * nprobe, n_lists)
            if self.n_removed:  # they took places
                n_wanted = min(2 * n_wanted, self.faiss.ntotal)
            elif nprobe == n_lists:
                n_wanted = self.faiss.ntotal  # nothing is left to widen after this
            log.info("%d queries came back short: searching %d lists", short.sum(), nprobe)
            scores[short], ids[short] = self._search(embeddings[short], top_k, n_wanted, nprobe)
        return scores, ids

    def _search(
        self, embeddings: FloatArray, top_k: int, n_wanted: int, nprobe: int
    ) -> tuple[FloatArray, IntArray]:
        parameters = _search_parameters(self.faiss, n_wanted, nprobe)
        scores, ids = self.faiss.search(embeddings, n_wanted, params=parameters)
        if n_wanted > top_k or self.n_removed:
            found_first = np.argsort(ids < 0, axis=1, kind="stable")[:, :top_k]
            scores = np.take_along_axis(scores, found_first, axis=1)
            ids = np.take_along_axis(ids, found_first, axis=1)
        return scores, ids

    def _check_dim(self, embeddings: FloatArray, what: str) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise ValueError(f"{what} must be (n_{what}, {self.dim}), got {embeddings.shape}")

    def _id_table(self) -> IntArray:
        if not isinstance(self.faiss, faiss.IndexIDMap):
            return np.empty(0, np.int64)
        return faiss.vector_to_array(self.faiss.id_map)


def walk_parts(index: faiss.Index) -> Iterator[Any]:
    """Yield an index and those that it wraps, from the outside in."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexIDMap | faiss.IndexPreTransform):
        yield from walk_parts(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from walk_parts(index.base_index)


def find_part(index: faiss.Index, kind: type) -> Any:
    """Return the part of an index that is of a kind, or None."""
    return next((part for part in walk_parts(index) if isinstance(part, kind)), None)


def estimate_bytes(index: faiss.Index, n_vectors: int) -> int:
    """Return how large an index gets with so many vectors, from one that has none yet."""
    parts = list(walk_parts(index))
    if (refine := find_part(index, faiss.IndexRefine)) is not None:
        parts += walk_parts(refine.refine_index)
    by_vector: float = 0 if _is_ivf(index) else ID_BYTES  # the table of ids
    fixed = 0
    for part in parts:
        if isinstance(part, faiss.IndexHNSW):
            # Links: 2 m at the bottom, m for each of the m-th part that goes further up.
            by_vector += faiss.downcast_index(part.storage).code_size + 4 + 8
            by_vector += 4 * part.hnsw.nb_neighbors(0) * (1 + 1 / part.hnsw.nb_neighbors(0))
        elif isinstance(part, faiss.IndexIVF):
            by_vector += part.code_size + ID_BYTES
            fixed += 4 * part.nlist * part.d
            if hasattr(part, "bbs"):  # fast scanning fills each list up to a whole block
                fixed += part.nlist * (part.bbs // 2) * part.code_size
        elif isinstance(part, faiss.IndexFlatCodes):
            by_vector += part.code_size
        elif isinstance(part, faiss.IndexPreTransform):
            fixed += 4 * part.chain.at(0).d_in * part.chain.at(0).d_out
        if hasattr(part, "pq"):
            fixed += 4 * part.pq.ksub * part.d
    return int(fixed + by_vector * n_vectors)


def _is_ivf(index: faiss.Index) -> bool:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _is_ivf(index.index)
    return isinstance(index, faiss.IndexIVF)


def _forgets(index: faiss.Index) -> bool:
    return isinstance(faiss.downcast_index(index), faiss.IndexFlatCodes)


def _search_parameters(
    index: faiss.Index, n_wanted: int, nprobe: int
) -> "faiss.SearchParameters | None":
    """Say how far to look, for this search alone, through all that is wrapped."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIDMap):
        return _search_parameters(index.index, n_wanted, nprobe)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _search_parameters(index.index, n_wanted, nprobe)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        # The base index hands over so many times the vectors that are wanted.
        inner = _search_parameters(index.base_index, int(n_wanted * index.k_factor), nprobe)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=inner)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, n_wanted))
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=nprobe)
    return None
