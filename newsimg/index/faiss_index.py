"""Every FAISS index that a factory string can describe."""

import logging
import re

import faiss

from newsimg.datatypes import FloatArray, IntArray
from newsimg.interfaces import Index

log = logging.getLogger(__name__)

TRAINING_POINTS_PER_CENTROID = 39  # below this FAISS itself warns


class FaissIndex(Index):
    """An inner-product index made by `faiss.index_factory`.

    Args:
        factory: FAISS factory string, in which `{m}`, `{nlist}` and `{nbits}` stand for the numbers
            below, e.g. "IVF{nlist},PQ{m}x{nbits}".
        m: HNSW's links per vector, or the number of product-quantiser codes.
        nlist: Number of inverted lists.
        nbits: Bits per product-quantiser code.
        ef_construction: HNSW's beam width while building.
        ef_search: HNSW's beam width while searching; raised to `top_k` where that is larger.
        nprobe: Inverted lists visited per query; more for a query that would come back short.

    Raises:
        ValueError: If a number is not positive, or the factory has no use for it, or lacks one.
    """

    def __init__(
        self,
        *,
        factory: str,
        m: int | None = None,
        nlist: int | None = None,
        nbits: int | None = None,
        ef_construction: int | None = None,
        ef_search: int | None = None,
        nprobe: int | None = None,
    ) -> None:
        numbers = {"m": m, "nlist": nlist, "nbits": nbits}
        search = {"ef_construction": ef_construction, "ef_search": ef_search, "nprobe": nprobe}
        given = {name: number for name, number in (numbers | search).items() if number is not None}
        for name, number in given.items():
            if number < 1:
                raise ValueError(f"index.{name} must be at least 1, got {number}")
        placeholders = set(re.findall(r"{(\w+)}", factory))
        usable = placeholders | ({"ef_construction", "ef_search"} if "HNSW" in factory else set())
        usable |= {"nprobe"} if "IVF" in factory else set()
        if set(given) - usable or placeholders - set(given):
            raise ValueError(
                f"index.factory {factory!r} takes {sorted(usable) or 'no numbers'}, "
                f"got {sorted(given) or 'none'}"
            )
        self.factory = factory.format(**given)
        self.nlist, self.nbits, self.m = nlist, nbits, m
        self.ef_construction, self.ef_search, self.nprobe = ef_construction, ef_search, nprobe
        self.faiss: faiss.Index | None = None

    def build(self, embeddings: FloatArray) -> None:
        """Train where the factory needs it, and add all `embeddings`.

        Raises:
            ValueError: If there are fewer vectors than centroids, or `dim` does not suit.
        """
        n_images, dim = embeddings.shape
        self._check_training(n_images, dim)
        try:
            index = faiss.index_factory(dim, self.factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise ValueError(
                f"FAISS cannot make {self.factory!r} for dim {dim}: {error}"
            ) from error
        parameters = {
            "efConstruction": self.ef_construction,
            "efSearch": self.ef_search,
            "nprobe": self.nprobe,
        }
        for name, number in parameters.items():
            if number is not None:
                faiss.ParameterSpace().set_index_parameter(index, name, number)
        _silence_clustering(index)
        index.train(embeddings)
        index.add(embeddings)
        self.faiss = index

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`."""
        if self.faiss is None:
            raise ValueError("search comes after build: this index is empty")
        if embeddings.ndim != 2 or embeddings.shape[1] != self.faiss.d:
            raise ValueError(f"queries must be (n_queries, {self.faiss.d}), got {embeddings.shape}")
        if not 1 <= top_k <= self.faiss.ntotal:
            raise ValueError(f"top_k must be in [1, {self.faiss.ntotal}], got {top_k}")
        scores, rows = self.faiss.search(embeddings, top_k, params=self._search_parameters(top_k))
        nprobe = self.nprobe
        while (short := (rows < 0).any(axis=1)).any():
            if self.nlist is None or nprobe is None or nprobe >= self.nlist:
                raise ValueError(
                    f"{self.factory} found less than top_k={top_k} images for {short.sum()} queries"
                )
            nprobe = min(2 * nprobe, self.nlist)
            log.info("%d queries came back short: searching %d lists", short.sum(), nprobe)
            scores[short], rows[short] = self.faiss.search(
                embeddings[short], top_k, params=faiss.SearchParametersIVF(nprobe=nprobe)
            )
        return scores, rows

    def _search_parameters(self, top_k: int) -> "faiss.SearchParameters | None":
        if self.ef_search is None or self.ef_search >= top_k:
            return None
        return faiss.SearchParametersHNSW(efSearch=top_k)

    def _check_training(self, n_images: int, dim: int) -> None:
        centroids = [self.nlist or 0, 2**self.nbits if self.nbits else 0]
        if n_images < max(centroids):
            raise ValueError(
                f"{self.factory} needs at least {max(centroids)} images to train on, got {n_images}"
            )
        if "PQ" in self.factory and self.m and dim % self.m:
            raise ValueError(f"index.m must divide the embedding's dim {dim}, got {self.m}")
        if n_images < TRAINING_POINTS_PER_CENTROID * max(centroids):
            wanted = TRAINING_POINTS_PER_CENTROID * max(centroids)
            log.info("%s trains on %d images; %d are advised", self.factory, n_images, wanted)


def _silence_clustering(index: faiss.Index) -> None:
    """Keep FAISS from writing its own training warnings to the console; ours are logged."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        return
    ivf.cp.min_points_per_centroid = 1
    quantiser = faiss.downcast_index(ivf)
    if hasattr(quantiser, "pq"):
        quantiser.pq.cp.min_points_per_centroid = 1
