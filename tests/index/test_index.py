"""Each index of conf/index against an exact search in numpy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from omegaconf import OmegaConf

from newsimg.datatypes import Collection, FloatArray, Image, Query
from newsimg.index.faiss_index import FaissIndex
from newsimg.index.vectors import find_part, walk_parts
from newsimg.interfaces import Backbone
from newsimg.pipeline import retrieve
from newsimg.run import CONF_DIR

DIM, N_IMAGES, N_QUERIES = 64, 1500, 40
# All options of class FaissIndex, without `auto` and `saved`.
OPTIONS = ["flat", "flat_fp16", "hnsw", "ivf_flat", "ivf_pq", "ivf_pq_refined", "ivf_sq8"]
# Minimum recall@10 with the yaml's parameters on the clusters below.
RECALL = {
    "flat": 1.0,
    "flat_fp16": 0.99,
    "hnsw": 0.99,
    "ivf_flat": 0.97,
    "ivf_sq8": 0.95,
    "ivf_pq": 0.8,  # all dimensions have equal variance here, the hardest case
    "ivf_pq_refined": 0.97,
}
# Tolerance of scores of the lossy indexes.
ERROR = {"flat_fp16": 1e-3, "ivf_sq8": 0.02, "ivf_pq": 0.1}
AUTOMATIC = {"nlist": 32, "nprobe": 8, "kept_dim": 64}  # the values for 1500 images of dim 64


def read_yaml(option: str) -> dict[str, Any]:
    config = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "index" / f"{option}.yaml"))
    assert isinstance(config, dict)
    assert config.pop("_target_") == "newsimg.index.faiss_index.FaissIndex"
    return config


def unit(rows: np.ndarray) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clusters() -> tuple[FloatArray, FloatArray]:
    """Images in clusters, and queries near some of the images."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(30, DIM))
    images = unit(centres[np.arange(N_IMAGES) % 30] + 0.6 * random.normal(size=(N_IMAGES, DIM)))
    queries = unit(images[:N_QUERIES] + 0.05 * random.normal(size=(N_QUERIES, DIM)))
    return images, queries


@pytest.fixture(scope="module", params=OPTIONS)
def built(request: pytest.FixtureRequest, clusters: tuple[FloatArray, FloatArray]) -> FaissIndex:
    """Each option with its yaml's parameters, built over the clustered images."""
    index = FaissIndex(**read_yaml(request.param))
    index.build(clusters[0])
    index.option = request.param  # type: ignore[attr-defined]
    return index


def option_of(index: FaissIndex) -> str:
    return index.option  # type: ignore[attr-defined]


def innermost(index: FaissIndex) -> Any:
    assert index.vectors is not None
    return list(walk_parts(index.vectors.faiss))[-1]


def test_recall_against_an_exact_search_is_high(built: FaissIndex, clusters: Any) -> None:
    images, queries = clusters
    exact = np.argsort(-(queries @ images.T), axis=1, kind="stable")[:, :10]
    _, rows = built.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])
    assert recall >= RECALL[option_of(built)]


def test_scores_are_the_inner_products_of_the_returned_rows_in_descending_order(
    built: FaissIndex, clusters: Any
) -> None:
    images, queries = clusters
    scores, rows = built.search(queries, 25)
    assert scores.shape == rows.shape == (N_QUERIES, 25)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 25 for row in rows.tolist())
    true = np.einsum("qd,qkd->qk", queries, images[rows])
    np.testing.assert_allclose(scores, true, atol=ERROR.get(option_of(built), 1e-5))


def test_the_metric_is_the_inner_product(built: FaissIndex) -> None:
    assert built.vectors is not None
    assert built.vectors.faiss.metric_type == faiss.METRIC_INNER_PRODUCT
    ivf = find_part(built.vectors.faiss, faiss.IndexIVF)
    if ivf is not None:
        assert faiss.downcast_index(ivf.quantizer).metric_type == faiss.METRIC_INNER_PRODUCT


def test_the_parameters_of_the_yaml_are_set_on_the_faiss_object(built: FaissIndex) -> None:
    numbers, index = read_yaml(option_of(built)), innermost(built)
    ivf = {"nlist": "nlist", "nprobe": "nprobe"}
    readers: dict[str, dict[str, Any]] = {
        "hnsw": {
            "m": lambda: index.hnsw.nb_neighbors(1),
            "ef_construction": lambda: index.hnsw.efConstruction,
            "ef_search": lambda: index.hnsw.efSearch,
        },
        "ivf_pq": {"kept_dim": lambda: index.pq.M},
        "ivf_pq_refined": {
            "kept_dim": lambda: index.pq.M,
            "k_factor": lambda: find_part(built.vectors.faiss, faiss.IndexRefineFlat).k_factor,
        },
    }
    numbers = {
        k: AUTOMATIC[k] if v == "auto" else v
        for k, v in numbers.items()
        if k not in ("factory", "device")
    }
    read = {k: getattr(index, k) for k in ivf if k in numbers}
    read |= {k: reader() for k, reader in readers.get(option_of(built), {}).items()}
    assert read == numbers
    assert numbers.items() <= built.numbers.items()
    kinds = {
        "flat": faiss.IndexFlat,
        "flat_fp16": faiss.IndexScalarQuantizer,
        "hnsw": faiss.IndexHNSWFlat,
        "ivf_flat": faiss.IndexIVFFlat,
        "ivf_sq8": faiss.IndexIVFScalarQuantizer,
        "ivf_pq": faiss.IndexIVFPQFastScan,
        "ivf_pq_refined": faiss.IndexIVFPQFastScan,
    }
    assert isinstance(index, kinds[option_of(built)])
    assert index.ntotal == N_IMAGES


@pytest.mark.parametrize(
    ("option", "changes", "read"),
    [
        ("hnsw", {"m": 8}, lambda i: i.hnsw.nb_neighbors(1) == 8),
        ("hnsw", {"ef_construction": 33}, lambda i: i.hnsw.efConstruction == 33),
        ("hnsw", {"ef_search": 17}, lambda i: i.hnsw.efSearch == 17),
        ("ivf_flat", {"nlist": 5}, lambda i: i.nlist == 5),
        ("ivf_flat", {"nprobe": 7}, lambda i: i.nprobe == 7),
        ("ivf_pq", {"kept_dim": 16}, lambda i: i.pq.M == 16),
    ],
)
def test_changed_parameters_are_set_on_the_faiss_object(
    option: str, changes: dict[str, int], read: Any, clusters: Any
) -> None:
    index = FaissIndex(**read_yaml(option) | changes)
    index.build(clusters[0])
    assert read(innermost(index))


def test_a_search_returns_top_k_rows_up_to_the_number_of_images(
    built: FaissIndex, clusters: Any
) -> None:
    for top_k in (1, 300, N_IMAGES):
        scores, rows = built.search(clusters[1][:3], top_k)
        assert ((rows >= 0) & (rows < N_IMAGES)).all()
        assert np.isfinite(scores).all()
        assert (np.diff(scores, axis=1) <= 0).all()
        assert all(len(set(row)) == top_k for row in rows.tolist())


@pytest.mark.parametrize("top_k", [0, -1, N_IMAGES + 1])
def test_a_top_k_out_of_range_is_refused(built: FaissIndex, clusters: Any, top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k must be in \[1, {N_IMAGES}\], got {top_k}"):
        built.search(clusters[1], top_k)


def test_queries_of_another_dim_are_refused_with_both_shapes(
    built: FaissIndex, clusters: Any
) -> None:
    with pytest.raises(ValueError, match=r"\(n_queries, 64\), got \(40, 63\)"):
        built.search(np.ascontiguousarray(clusters[1][:, :63]), 5)
    with pytest.raises(ValueError, match=r"\(n_queries, 64\), got \(64,\)"):
        built.search(clusters[1][0], 5)


def test_a_search_changes_neither_the_queries_nor_the_index(
    built: FaissIndex, clusters: Any
) -> None:
    before = clusters[1].copy()
    first = built.search(clusters[1], 10)
    built.search(clusters[1], N_IMAGES)  # raises nprobe for this search only
    np.testing.assert_array_equal(built.search(clusters[1], 10)[1], first[1])
    np.testing.assert_array_equal(clusters[1], before)


def test_building_again_replaces_the_vectors(clusters: Any) -> None:
    index = FaissIndex(factory="Flat")
    index.build(clusters[0])
    index.build(clusters[0][:10])
    with pytest.raises(ValueError, match=r"\[1, 10\], got 11"):
        index.search(clusters[1], 11)


def test_searching_before_building_is_refused() -> None:
    with pytest.raises(ValueError, match="search needs a built index"):
        FaissIndex(factory="Flat").search(np.zeros((1, 2), np.float32), 1)


def test_nprobe_is_raised_until_top_k_images_are_found(clusters: Any) -> None:
    images, queries = clusters
    index = FaissIndex(factory="IVF{nlist},Flat", nlist=30, nprobe=1)
    index.build(images)
    assert index.vectors is not None
    assert (index.vectors.faiss.search(queries, 400)[1] < 0).any()  # FAISS alone pads with -1
    _, rows = index.search(queries, 400)
    assert (rows >= 0).all()
    _, everything = index.search(queries, N_IMAGES)
    exact = np.argsort(-(queries @ images.T), axis=1, kind="stable")
    assert (np.sort(everything, axis=1) == np.arange(N_IMAGES)).all()
    assert (everything[:, :10] == exact[:, :10]).mean() > 0.99
    assert innermost(index).nprobe == 1


def test_ef_search_is_raised_to_top_k(clusters: Any) -> None:
    images, queries = clusters
    index = FaissIndex(factory="HNSW{m},Flat", m=16, ef_construction=100, ef_search=4)
    index.build(images)
    _, rows = index.search(queries, 200)
    exact = np.argsort(-(queries @ images.T), axis=1)[:, :200]
    recall = np.mean([len(set(a) & set(b)) / 200 for a, b in zip(rows, exact, strict=True)])
    assert (rows >= 0).all()
    assert recall > 0.9
    assert innermost(index).hnsw.efSearch == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factory": "IVF{nlist},Flat"}, r"takes .*nlist.*got none"),
        ({"factory": "Flat", "m": 4}, r"takes no numbers, got \['m'\]"),
        ({"factory": "Flat", "nprobe": 4}, r"got \['nprobe'\]"),
        ({"factory": "HNSW{m},Flat", "m": 0}, r"index.m must be at least 1, got 0"),
        ({"factory": "IVF{nlist},Flat", "nlist": 4, "ef_search": 9}, r"ef_search"),
        ({"factory": "IVF{nlist},Flat", "nlist": -4}, r"index.nlist must be at least 1, got -4"),
    ],
)
def test_parameters_that_the_factory_cannot_use_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FaissIndex(**arguments)


@pytest.mark.parametrize(
    ("arguments", "n_images", "message"),
    [
        ({"factory": "IVF{nlist},Flat", "nlist": 16}, 15, r"at least 16 images.*got 15"),
        ({"factory": "IVF{nlist},Flat", "nlist": 4}, 3, r"at least 4 images.*got 3"),
        ({"factory": "PQ{m}x{nbits}", "m": 8, "nbits": 8}, 255, r"at least 256 images.*got 255"),
        ({"factory": "PQ{m}x{nbits}", "m": 7, "nbits": 4}, 99, r"index.m must divide.*64, got 7"),
        ({"factory": "Nonsense"}, 99, r"FAISS cannot create 'Nonsense' for dim 64"),
    ],
)
def test_too_few_images_or_an_unsuitable_dim_are_refused_with_both_numbers(
    arguments: dict[str, Any], n_images: int, message: str, clusters: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        FaissIndex(**arguments).build(clusters[0][:n_images])


@pytest.mark.parametrize("option", OPTIONS)
def test_building_and_searching_print_nothing(
    option: str, clusters: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    index = FaissIndex(**read_yaml(option))
    index.build(clusters[0][:300])
    index.search(clusters[1], 25)
    assert capfd.readouterr() == ("", "")


class FixedBackbone(Backbone):
    """Pairs of images with equal embeddings: every score occurs twice."""

    query_template = "{title}"
    batch_size = 1
    fingerprint = "fixed"

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        return unit(np.random.default_rng(1).normal(size=(len(texts), DIM)))

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        distinct = unit(np.random.default_rng(2).normal(size=(300, DIM)))
        random = np.random.default_rng(3)
        return distinct[random.permutation(np.repeat(np.arange(300), 2))[: len(images)]]


@pytest.mark.parametrize("option", OPTIONS)
def test_equal_scores_are_in_image_id_order_with_every_index(option: str) -> None:
    images = tuple(Image(f"{i:04}", Path(f"{i:04}.jpg")) for i in range(600))
    queries = tuple(Query(f"q{i}", f"title {i}") for i in range(10))
    collection = Collection("pairs", queries, images, None)
    found = retrieve(collection, FixedBackbone(), FaissIndex(**read_yaml(option)), 100)
    ties = np.diff(found.scores, axis=1) == 0
    assert ties.sum() > 100
    assert (np.diff(found.rows, axis=1)[ties] > 0).all()
