"""FAISS indexes described by a factory string."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.base import GrowingIndex
from newsimg.index.gpu import check_device
from newsimg.index.rotation import keep_principal
from newsimg.index.vectors import VectorIndex, estimate_bytes, find_part, walk_parts
from newsimg.storage.text.suggest import refuse_all

log = logging.getLogger(__name__)

POINTS_PER_LIST = 40  # FAISS warns below 39
QUANTISER_POINTS = 65_536  # FAISS uses no more to train a product quantiser and its rotation
PLACEHOLDER = r"{(\w+)}"
Number = int | Literal["auto"] | None


class FaissIndex(GrowingIndex):
    """An inner-product index created by `faiss.index_factory`.

    Args:
        factory: FAISS factory string with the placeholders `{m}`, `{kept_dim}`, `{nlist}` and
            `{nbits}` for the arguments below, e.g. "IVF{nlist},PQ{m}x{nbits}".
        m: Links per vector of HNSW, or number of sub-quantisers of a product quantiser.
        kept_dim: Output dimension of PCAR; auto: 29/32 of the input dimension, at least 64.
        nlist: Number of inverted lists; auto: the largest power of two up to 4 sqrt(n_images)
            that leaves at least 40 images per list.
        nbits: Bits per product-quantiser code.
        ef_construction: Beam width of HNSW while building.
        ef_search: Beam width of HNSW while searching; at least `top_k` is used.
        nprobe: Inverted lists visited per query, doubled for queries with fewer than `top_k`
            results; auto: 1/16 of the lists, 1/8 with fast scan (fs), at least 8.
        k_factor: A refined index re-ranks `k_factor * top_k` results with its finer codes.
        seed: Seed of the sample of training images.
        device: "cpu", or "cuda" to search on a GPU; see `check_device`.

    Raises:
        ValueError: If a number is not positive, or the factory lacks a placeholder for it, or a
            placeholder has no value.
    """

    def __init__(
        self,
        *,
        factory: str,
        m: int | None = None,
        kept_dim: Number = None,
        nlist: Number = None,
        nbits: int | None = None,
        ef_construction: int | None = None,
        ef_search: int | None = None,
        nprobe: Number = None,
        k_factor: int | None = None,
        seed: int = 28,
        device: str = "cpu",
    ) -> None:
        check_device(device)
        build_numbers = {"m": m, "kept_dim": kept_dim, "nlist": nlist, "nbits": nbits}
        search_numbers = {
            "ef_construction": ef_construction,
            "ef_search": ef_search,
            "nprobe": nprobe,
            "k_factor": k_factor,
        }
        given = {k: v for k, v in (build_numbers | search_numbers).items() if v is not None}
        refuse_all(
            f"index.{name} must be at least 1, got {number}"
            for name, number in given.items()
            if not (number == "auto" and name in ("kept_dim", "nlist", "nprobe"))
            and (not isinstance(number, int) or number < 1)
        )
        if nprobe == "auto" and nlist is None:
            raise ValueError("index.nprobe=auto needs index.nlist, got none")
        placeholders = set(re.findall(PLACEHOLDER, factory))
        if set("{}") & set(re.sub(PLACEHOLDER, "", factory)):
            raise ValueError(
                f"index.factory must have placeholders such as {{m}}, got {factory!r}, whose "
                "braces do not match"
            )
        usable = placeholders | ({"ef_construction", "ef_search"} if "HNSW" in factory else set())
        usable |= {"nprobe"} if "IVF" in factory else set()
        usable |= {"k_factor"} if re.search("Refine|RFlat", factory) else set()
        if set(given) - usable or placeholders - set(given):
            raise ValueError(
                f"index.factory {factory!r} takes {sorted(usable) or 'no numbers'}, "
                f"got {sorted(given) or 'none'}"
            )
        self.template = self.factory = factory
        self.given = given
        self.seed = seed
        self.device = device
        self.vectors: VectorIndex | None = None
        self._numbers: dict[str, Any] = {}

    def build(self, embeddings: FloatArray) -> None:
        """Train the index if necessary, then add all `embeddings`.

        Raises:
            ValueError: If there are fewer vectors than centroids, or `dim` is not divisible by `m`.
        """
        n_images = len(embeddings)
        random = np.random.default_rng(self.seed)
        drawn = random.choice(n_images, self.training_size(n_images), replace=False)
        self.train(embeddings[np.sort(drawn)], n_images)
        self.add(embeddings, np.arange(n_images))

    def training_size(self, n_images: int) -> int:
        """See `GrowingIndex.training_size`."""
        n_points = POINTS_PER_LIST * self._choose_nlist(n_images) if "IVF" in self.template else 0
        if re.search(r"PQ|SQ\d", self.template):
            n_points = max(n_points, QUANTISER_POINTS)
        return min(n_points, n_images)

    def train(self, sample: FloatArray, n_images: int) -> None:
        """See `GrowingIndex.train`."""
        dim = sample.shape[1]
        numbers = self._choose_numbers(n_images, dim)
        factory = self.template.format(**numbers)
        _check_training(factory, numbers, len(sample), dim)
        index = _make_index(factory, dim)
        _set_numbers(index, numbers)
        if not index.is_trained:
            _train(index, np.ascontiguousarray(sample, np.float32), self.seed)
        self.factory = factory
        self.vectors = VectorIndex(index, self.device)
        self._numbers = numbers | {"n_training": len(sample), "seed": self.seed}

    def estimate_bytes(self, n_images: int, dim: int) -> int:
        """See `GrowingIndex.estimate_bytes`."""
        factory = self.template.format(**self._choose_numbers(n_images, dim))
        return estimate_bytes(_make_index(factory, dim), n_images)

    def add(self, embeddings: FloatArray, ids: IntArray) -> None:
        """See `GrowingIndex.add`."""
        self._require_vectors("add").add(embeddings, ids)

    def remove(self, ids: IntArray) -> int:
        """See `GrowingIndex.remove`."""
        return self._require_vectors("remove").remove(ids)

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`."""
        return self._require_vectors("search").search(embeddings, top_k)

    def write(self, path: Path) -> None:
        """See `GrowingIndex.write`."""
        self._require_vectors("write").write(path)

    def read(self, path: Path) -> None:
        """See `GrowingIndex.read`."""
        self.vectors = VectorIndex.read(path, device=self.device)
        self._numbers = {}
        self.factory = ""

    @property
    def n_vectors(self) -> int:
        """See `GrowingIndex.n_vectors`."""
        return self.vectors.n_vectors if self.vectors else 0

    @property
    def bytes_per_vector(self) -> float:
        """See `GrowingIndex.bytes_per_vector`."""
        return self._require_vectors("bytes_per_vector").bytes_per_vector

    @property
    def numbers(self) -> Mapping[str, Any]:
        """See `GrowingIndex.numbers`."""
        return {"factory": self.factory} | self._numbers if self._numbers else {}

    def _require_vectors(self, action: str) -> VectorIndex:
        if self.vectors is None:
            raise ValueError(f"{action} needs a built index, this one is empty: call build first")
        return self.vectors

    def _choose_numbers(self, n_images: int, dim: int) -> dict[str, int]:
        numbers: dict[str, Any] = dict(self.given)
        if numbers.get("kept_dim") == "auto":
            numbers["kept_dim"] = max(dim * 29 // 32, min(dim, 64))
        if "nlist" in numbers:
            numbers["nlist"] = self._choose_nlist(n_images)
        if numbers.get("nprobe") == "auto":
            divisor = 8 if "fs" in self.template else 16
            numbers["nprobe"] = min(max(numbers["nlist"] // divisor, 8), numbers["nlist"])
        return numbers

    def _choose_nlist(self, n_images: int) -> int:
        nlist = self.given.get("nlist", 0)
        if nlist != "auto":
            return int(nlist)
        most = min(4 * n_images**0.5, n_images / POINTS_PER_LIST)
        return int(2 ** max(np.floor(np.log2(max(most, 1))), 0))


def _make_index(factory: str, dim: int) -> faiss.Index:
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(f"FAISS cannot create {factory!r} for dim {dim}: {error}") from error


def _check_training(factory: str, numbers: Mapping[str, int], n_points: int, dim: int) -> None:
    """Check that there are enough training images, and that `m` divides the dim."""
    codes = [
        (int(m), int(bits or 8)) for m, bits in re.findall(r"(?<!O)PQ(\d+)(?:x(\d+))?", factory)
    ]
    needed = max([numbers.get("nlist", 0), *(2**bits for _, bits in codes)])
    if n_points < needed:
        raise ValueError(f"{factory} needs at least {needed} images to train on, got {n_points}")
    if "PQ" in factory and dim % numbers.get("m", 1):
        raise ValueError(f"index.m must divide the embedding's dim {dim}, got {numbers['m']}")
    if n_points < POINTS_PER_LIST * needed:
        wanted = POINTS_PER_LIST * needed
        log.info("%s is trained on %d images; %d are recommended", factory, n_points, wanted)


def _set_numbers(index: faiss.Index, numbers: Mapping[str, int]) -> None:
    for part in walk_parts(index):
        if isinstance(part, faiss.IndexHNSW):
            part.hnsw.efConstruction = numbers.get("ef_construction", part.hnsw.efConstruction)
            part.hnsw.efSearch = numbers.get("ef_search", part.hnsw.efSearch)
        elif isinstance(part, faiss.IndexIVF):
            part.nprobe = numbers.get("nprobe", part.nprobe)
        elif isinstance(part, faiss.IndexRefine):
            part.k_factor = numbers.get("k_factor", part.k_factor)


def _train(index: faiss.Index, sample: FloatArray, seed: int) -> None:
    """Train without FAISS's warnings about few points, which `_check_training` logs instead."""
    parts = list(walk_parts(index))
    refine = find_part(index, faiss.IndexRefine)
    if refine is not None:
        parts += walk_parts(refine.refine_index)
    for part in parts:
        if isinstance(part, faiss.IndexIVF):
            part.cp.min_points_per_centroid = 1
        if hasattr(part, "pq"):
            part.pq.cp.min_points_per_centroid = 1
        if isinstance(part, faiss.IndexPreTransform):
            transform = faiss.downcast_VectorTransform(part.chain.at(0))
            if isinstance(transform, faiss.PCAMatrix):
                rotation = keep_principal(sample, transform.d_out, seed)
                faiss.copy_array_to_vector(rotation.ravel(), transform.A)
                transform.have_bias, transform.is_trained = False, True
    index.train(sample)
