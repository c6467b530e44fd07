"""A FAISS index with explicit ids: add, remove, search, read and write."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.gpu import MOST_RESULTS, copy_to_gpu
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

ID_BYTES = 8
BLOCK_BYTES = 1 << 20  # of a serialised index, passed on at once
# Vectors that an exact search multiplies with a batch of queries at once. FAISS's 1,024 spend more
# time on collecting results than on products; the scores are the same.
faiss.cvar.distance_compute_blas_database_bs = 8192


class VectorIndex:
    """A uniform interface to FAISS indexes, including removal where FAISS lacks it.

    Inverted lists store ids and free the memory of removed vectors. Other indexes are wrapped in an
    id table; if they do not support removal (a graph, a refined index), a removed vector loses its
    id and is never returned, but its memory is not freed.

    Args:
        index: A trained FAISS index for inner products, empty or with ids from 0.
        device: "cpu", or "cuda" to search a copy on the first GPU; see `check_device`.
    """

    def __init__(self, index: faiss.Index, device: str = "cpu") -> None:
        if index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ValueError(f"the index must compare by inner product, got {type(index).__name__}")
        # A downcast index does not own its memory, so keep a reference to the original.
        self._owner = index
        self.faiss = faiss.downcast_index(index)
        if not (isinstance(self.faiss, faiss.IndexIDMap) or _is_ivf(index)):
            self.faiss = faiss.IndexIDMap(index)
        self.n_removed = int((self._id_table() < 0).sum())
        self.device = device
        self._on_gpu: Any = None

    @classmethod
    def read(cls, path: Path, mapped: bool = False, device: str = "cpu") -> "VectorIndex":
        """Read an index written by `write`, with its search parameters.

        Args:
            path: The file.
            mapped: Memory-map the vectors instead of loading them; for searching only.
            device: See `VectorIndex`.

        Raises:
            ValueError: If the file is missing, or not a FAISS index for inner products.
        """
        flags = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY if mapped else 0
        try:
            return cls(faiss.read_index(str(path), flags), device)
        except RuntimeError as error:
            raise ValueError(f"{path} is not a FAISS index that can be read: {error}") from error

    def write(self, path: Path) -> None:
        """Write the index to `path` atomically.

        Raises:
            OSError: If it cannot be written; names `path`.
        """
        # FAISS itself reports a full disk as a RuntimeError, or not at all when it closes the file.
        failed: list[OSError] = []
        with write_atomically(path) as temporary, temporary.open("wb", buffering=0) as file:

            def keep(block: bytes) -> None:
                content = memoryview(block)
                try:
                    while content and not failed:
                        content = content[file.write(content) :]
                except OSError as error:  # an exception would not pass through FAISS
                    failed.append(error)

            faiss.write_index(self.faiss, faiss.PyCallbackIOWriter(keep, BLOCK_BYTES))
            if failed:
                raise failed[0]

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.faiss.d)

    @property
    def n_vectors(self) -> int:
        """Number of searchable vectors."""
        return int(self.faiss.ntotal) - self.n_removed

    @property
    def bytes_per_vector(self) -> float:
        """Size of the index in bytes per vector, including centroids, ids and links."""
        return self.count_bytes() / max(self.n_vectors, 1)

    def count_bytes(self) -> int:
        """Return the size of the serialised index in bytes, which is also its size in memory."""
        total = 0

        def count(block: bytes) -> None:
            nonlocal total
            total += len(block)

        faiss.write_index(self.faiss, faiss.PyCallbackIOWriter(count, BLOCK_BYTES))
        return total

    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """Add vectors with new ids.

        Args:
            embeddings: (n, dim) float32, rows of unit length.
            ids: (n,) int64, ascending; none of them in the index already.

        Raises:
            ValueError: If the shapes do not match, or the ids do not ascend.
        """
        self._check_dim(embeddings, "vectors")
        self._on_gpu = None
        ids = np.asarray(ids)
        if ids.shape != (len(embeddings),) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids must be {len(embeddings)} integers, got {ids.dtype} {ids.shape}")
        if len(ids) and (ids[0] < 0 or (np.diff(ids) <= 0).any()):
            raise ValueError(f"ids must be ascending and >= 0, got {ids[:5].tolist()}...")
        self.faiss.add_with_ids(np.ascontiguousarray(embeddings, np.float32), ids.astype(np.int64))

    def remove(self, ids: IntArray) -> int:
        """Remove the vectors with these ids.

        Returns:
            Number of these ids that were in the index.
        """
        ids = np.unique(np.asarray(ids, np.int64))
        self._on_gpu = None
        if _is_ivf(self.faiss) or _supports_removal(self.faiss.index):
            return int(self.faiss.remove_ids(ids))
        table = self._id_table()
        removed = (table >= 0) & np.isin(table, ids)
        table[removed] = -1
        faiss.copy_array_to_vector(table, self.faiss.id_map)
        self.n_removed += int(removed.sum())
        return int(removed.sum())

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """Find the `top_k` nearest vectors of each query.

        Args:
            embeddings: (n_queries, dim) float32, rows of unit length.
            top_k: Vectors per query, between 1 and `n_vectors`.

        Returns:
            scores: (n_queries, top_k) float32, descending.
            ids: (n_queries, top_k) int64.

        Raises:
            ValueError: If `dim` differs from the index's, `top_k` is out of range, or a full
                search finds fewer than `top_k` vectors.
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
                    f"the index found fewer than top_k={top_k} images for {short.sum()} queries"
                )
            nprobe = min(2 * nprobe, n_lists)
            if self.n_removed:  # removed vectors take up places among the results
                n_wanted = min(2 * n_wanted, self.faiss.ntotal)
            elif nprobe == n_lists:
                n_wanted = self.faiss.ntotal  # the last attempt searches everything
            log.info("%d queries have too few results: searching %d lists", short.sum(), nprobe)
            scores[short], ids[short] = self._search(embeddings[short], top_k, n_wanted, nprobe)
        return scores, ids

    def _search(
        self, embeddings: FloatArray, top_k: int, n_wanted: int, nprobe: int
    ) -> tuple[FloatArray, IntArray]:
        parameters = _search_parameters(self.faiss, n_wanted, nprobe)
        index = self.faiss
        if self.device == "cuda" and max(n_wanted, nprobe) <= MOST_RESULTS:
            if self._on_gpu is None:
                self._on_gpu = copy_to_gpu(self.faiss, list(walk_parts(self.faiss)))
            index = self._on_gpu
        scores, ids = index.search(embeddings, n_wanted, params=parameters)
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
    """Yield an index and the indexes that it wraps, from the outermost to the innermost."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexIDMap | faiss.IndexPreTransform):
        yield from walk_parts(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from walk_parts(index.base_index)


def find_part(index: faiss.Index, kind: type) -> Any:
    """Return the first part of an index that is an instance of `kind`, or None."""
    return next((part for part in walk_parts(index) if isinstance(part, kind)), None)


def estimate_bytes(index: faiss.Index, n_vectors: int) -> int:
    """Return the size in bytes that an empty index will have with `n_vectors` vectors."""
    parts = list(walk_parts(index))
    if (refine := find_part(index, faiss.IndexRefine)) is not None:
        parts += walk_parts(refine.refine_index)
    bytes_each: float = 0 if _is_ivf(index) else ID_BYTES  # the id table
    fixed = 0
    for part in parts:
        if isinstance(part, faiss.IndexHNSW):
            # Links: 2 m on level 0, m on each higher level, to which 1/m of the vectors extend.
            bytes_each += faiss.downcast_index(part.storage).code_size + 4 + 8
            bytes_each += 4 * part.hnsw.nb_neighbors(0) * (1 + 1 / part.hnsw.nb_neighbors(0))
        elif isinstance(part, faiss.IndexIVF):
            bytes_each += part.code_size + ID_BYTES
            fixed += 4 * part.nlist * part.d
            if hasattr(part, "bbs"):  # fast scan pads each list to a full block
                fixed += part.nlist * (part.bbs // 2) * part.code_size
        elif isinstance(part, faiss.IndexFlatCodes):
            bytes_each += part.code_size
        elif isinstance(part, faiss.IndexPreTransform):
            fixed += 4 * part.chain.at(0).d_in * part.chain.at(0).d_out
        if hasattr(part, "pq"):
            fixed += 4 * part.pq.ksub * part.d
    return int(fixed + bytes_each * n_vectors)


def _is_ivf(index: faiss.Index) -> bool:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _is_ivf(index.index)
    return isinstance(index, faiss.IndexIVF)


def _supports_removal(index: faiss.Index) -> bool:
    return isinstance(faiss.downcast_index(index), faiss.IndexFlatCodes)


def _search_parameters(
    index: faiss.Index, n_wanted: int, nprobe: int
) -> "faiss.SearchParameters | None":
    """Return the parameters of one search for an index and the indexes that it wraps."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIDMap):
        return _search_parameters(index.index, n_wanted, nprobe)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _search_parameters(index.index, n_wanted, nprobe)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        # The base index returns k_factor * n_wanted vectors for re-ranking.
        inner = _search_parameters(index.base_index, int(n_wanted * index.k_factor), nprobe)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=inner)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, n_wanted))
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=nprobe)
    return None
