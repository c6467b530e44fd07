"""Indexes with added and removed vectors, saved, merged and measured, against numpy."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.base import GrowingIndex
from newsimg.index.building.quality import measure_quality, measure_recall, split_blocks
from newsimg.index.faiss_index import FaissIndex
from newsimg.index.merged_search import search_merged
from newsimg.index.rotation import keep_principal
from newsimg.index.vectors import VectorIndex
from newsimg.run import CONF_DIR

DIM, N_IMAGES = 32, 2000
RECALL = {"flat": 0.9999, "auto": 0.9999, "ivf_pq": 0.85}  # of 10, on the clusters below
OPTIONS = sorted(
    path.stem
    for path in (CONF_DIR / "index").glob("*.yaml")
    if re.search(r"_target_: newsimg\.index\.(faiss_index|auto)\.", path.read_text())
)


@cache
def read_config(option: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", [f"index={option}", *overrides]).index


def make_index(option: str, *overrides: str) -> GrowingIndex:
    return instantiate(read_config(option, *overrides), _convert_="all")  # type: ignore[no-any-return]


def search_exactly(images: FloatArray, queries: FloatArray, top_k: int) -> IntArray:
    return np.argsort(-(queries @ images.T), axis=1, kind="stable")[:, :top_k]


@pytest.fixture(scope="module")
def images() -> FloatArray:
    """Clusters in which the variance differs between dimensions."""
    random = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(DIM))
    rows = random.normal(size=(40, DIM))[np.arange(N_IMAGES) % 40] * scale
    rows = (rows + 0.7 * random.normal(size=(N_IMAGES, DIM)) * scale).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def grow(option: str, images: FloatArray, ids: IntArray) -> GrowingIndex:
    """Train on a sample of `training_size` images, and add all in three batches of unequal size."""
    index = make_index(option)
    random = np.random.default_rng(index.seed)
    drawn = random.choice(len(images), index.training_size(len(images)), replace=False)
    index.train(images[np.sort(drawn)], len(images))
    for part in np.split(np.arange(len(images)), [100, 101]):
        index.add(images[part], ids[part])
    return index


def test_images_added_in_batches_are_found_with_their_ids(option: str, images: FloatArray) -> None:
    ids = np.arange(N_IMAGES) * 7 + 3
    index = grow(option, images, ids)
    assert index.n_vectors == N_IMAGES
    scores, found = index.search(images[:200], 10)
    assert (found[:, 0] == ids[:200]).mean() > 0.9
    assert np.isin(found, ids).all()
    nearest = ids[search_exactly(images, images[:200], 10)]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, nearest, strict=True)])
    assert recall > RECALL.get(option, 0.95)
    rows = (found - 3) // 7
    true = np.einsum("qd,qkd->qk", images[:200], images[rows])
    np.testing.assert_allclose(scores, true, atol=0.1 if option == "ivf_pq" else 0.02)


def test_adding_in_batches_or_at_once_gives_the_same_index(option: str, images: FloatArray) -> None:
    at_once = make_index(option)
    at_once.build(images)
    parts = grow(option, images, np.arange(N_IMAGES))
    if option == "hnsw":  # threads race for the links
        return
    for a, b in zip(at_once.search(images[:50], 10), parts.search(images[:50], 10), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_removed_images_are_never_found_and_the_others_still_are(
    option: str, images: FloatArray
) -> None:
    ids = np.arange(N_IMAGES) * 2
    index = grow(option, images, ids)
    removed = ids[::3]
    assert index.remove(removed[:400]) == 400
    assert index.remove(removed) == len(removed) - 400  # 400 were removed before
    assert index.remove(np.array([1, 10**9, removed[0]])) == 0
    left = np.setdiff1d(ids, removed)
    assert index.n_vectors == len(left)
    _, everything = index.search(images[:3], len(left))
    assert (np.sort(everything, axis=1) == left).all()
    _, found = index.search(images[:100], 10)
    nearest = left[search_exactly(images[left // 2], images[:100], 10)]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, nearest, strict=True)])
    assert recall > RECALL.get(option, 0.95)
    index.add(images[:1], np.array([5000]))
    assert 5000 in index.search(images[:1], 5)[1]
    with pytest.raises(ValueError, match=rf"\[1, {len(left) + 1}\], got {len(left) + 2}"):
        index.search(images[:1], len(left) + 2)


def test_reading_a_written_index_restores_it(
    option: str, images: FloatArray, tmp_path: Path
) -> None:
    index = grow(option, images, np.arange(N_IMAGES))
    index.remove(np.arange(50))
    index.write(tmp_path / "vectors.faiss")
    expected = index.search(images[:50], 10)
    again = make_index(option)
    again.read(tmp_path / "vectors.faiss")
    plain = VectorIndex.read(tmp_path / "vectors.faiss")
    mapped = VectorIndex.read(tmp_path / "vectors.faiss", mapped=True)
    for reader in (again, plain, mapped):
        assert reader.n_vectors == N_IMAGES - 50
        for a, b in zip(reader.search(images[:50], 10), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    size = (tmp_path / "vectors.faiss").stat().st_size
    assert plain.count_bytes() == size
    assert index.bytes_per_vector == size / (N_IMAGES - 50)
    plain.add(images[:1], np.array([N_IMAGES]))
    assert plain.n_vectors == N_IMAGES - 49


@pytest.mark.slow
def test_the_estimated_size_is_near_the_actual_size(option: str, images: FloatArray) -> None:
    many = np.concatenate([images] * 10)
    index = make_index(option)
    estimate = index.estimate_bytes(len(many), DIM)
    index.train(many[: index.training_size(len(many))], len(many))
    index.add(many, np.arange(len(many)))
    assert estimate == pytest.approx(index.bytes_per_vector * len(many), rel=0.05)


def test_a_file_that_is_not_an_index_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "x.faiss").write_bytes(b"not an index")
    with pytest.raises(ValueError, match=r"x\.faiss is not a FAISS index"):
        VectorIndex.read(tmp_path / "x.faiss")
    with pytest.raises(ValueError, match=r"y\.faiss is not a FAISS index"):
        VectorIndex.read(tmp_path / "y.faiss")
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "l2.faiss"))
    with pytest.raises(ValueError, match=r"by inner product, got IndexFlatL2"):
        VectorIndex.read(tmp_path / "l2.faiss")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 0, 2], r"ids must be ascending and >= 0, got \[1, 0, 2\]"),
        ([1, 1, 2], r"ids must be ascending"),
        ([-1, 0, 1], r"ids must be ascending"),
        ([0, 1], r"ids must be 3 integers, got int64 \(2,\)"),
        ([0.0, 1.0, 2.0], r"ids must be 3 integers, got float64"),
    ],
)
def test_ids_that_do_not_ascend_are_refused(
    ids: list[float], message: str, images: FloatArray
) -> None:
    index = FaissIndex(factory="Flat")
    index.train(images[:0], 3)
    with pytest.raises(ValueError, match=message):
        index.add(images[:3], np.array(ids))


@pytest.mark.parametrize(
    ("n_images", "nlist"), [(1, 1), (79, 1), (80, 2), (1000, 16), (1_000_000, 2048), (10**8, 32768)]
)
def test_automatic_nlist_depends_on_the_number_of_images(n_images: int, nlist: int) -> None:
    index = FaissIndex(factory="IVF{nlist},Flat", nlist="auto", nprobe="auto")
    assert index.training_size(n_images) == min(40 * nlist, n_images)
    if n_images <= 1000:
        random = np.random.default_rng(0)
        index.build(random.normal(size=(n_images, 4)).astype(np.float32))
        assert index.factory == f"IVF{nlist},Flat"
        assert index.numbers["nprobe"] == min(8, nlist)


def test_automatic_nprobe_without_nlist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"index\.nprobe=auto needs index\.nlist, got none"):
        FaissIndex(factory="IVF16,Flat", nprobe="auto")


def test_auto_is_exact_for_few_images_and_else_chooses_the_first_option_that_fits(
    images: FloatArray, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    index = make_index("auto")
    index.build(images)
    assert index.numbers["factory"] == "Flat"
    assert "2000 images, exact search is used up to 20000" in index.numbers["reason"]
    many = np.concatenate([images] * 5)
    for memory_kib, factory in ((1500, "IVF128,Flat"), (500, "IVF128,SQ8")):
        index = make_index("auto", "index.exact_up_to=0", f"index.memory_gb={memory_kib / 2**20}")
        index.build(many)
        assert index.factory.startswith(factory)
        assert index.bytes_per_vector * len(many) <= memory_kib * 1024
    assert re.search(
        "10000 images of dim 32 take ivf_flat .* the limit is", index.numbers["reason"]
    )
    assert index.numbers["reason"] in caplog.text


@pytest.mark.parametrize(
    ("memory_gb", "option"), [(3, "ivf_flat"), (1, "ivf_sq8"), (0.3, "ivf_pq")]
)
def test_auto_chooses_an_option_for_a_million_images_by_the_memory_limit(
    memory_gb: float, option: str
) -> None:
    index = make_index("auto", f"index.memory_gb={memory_gb}")
    expected = make_index(option).estimate_bytes(1_000_000, 512)
    assert index.estimate_bytes(1_000_000, 512) == expected <= memory_gb * 2**30


def test_auto_explains_what_to_do_if_no_option_fits() -> None:
    with pytest.raises(ValueError, match=r"ivf_pq 0\.\d+ GiB; the limit is 0\.1 GiB.*split the"):
        make_index("auto", "index.memory_gb=0.1").estimate_bytes(1_000_000, 512)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("index.exact_up_to=-1", r"index.exact_up_to must be at least 0, got -1"),
        ("index.memory_gb=0", r"index.memory_gb must be above 0, got 0"),
        ("index.options={}", r"index.options must hold at least 2 indexes"),
    ],
)
def test_auto_refuses_arguments_out_of_range(override: str, message: str) -> None:
    options = [f"~index.options.{o}" for o in ("flat", "ivf_flat", "ivf_sq8", "ivf_pq")]
    with pytest.raises(Exception, match=message):
        make_index("auto", *(options if "options" in override else [override]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_merged_exact_indexes_give_the_result_of_one_index_over_all_images(data: Any) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any))
    # Small integers have many equal and exactly computed products.
    images = random.integers(-2, 3, (sum(sizes), 4)).astype(np.float32)
    queries = random.integers(-2, 3, (3, 4)).astype(np.float32)
    offsets = np.cumsum([0, *sizes[:-1]])
    parts = []
    for offset, size in zip(offsets, sizes, strict=True):
        part = FaissIndex(factory="Flat")
        part.train(images[:0], size)
        part.add(images[offset : offset + size], np.arange(size))
        parts.append(part)
    top_k = data.draw(st.integers(1, len(images)))
    scores, rows = search_merged(parts, offsets.tolist(), queries, top_k)
    products = queries @ images.T
    np.testing.assert_array_equal(scores, -np.sort(-products, axis=1)[:, :top_k])
    np.testing.assert_array_equal(scores, np.take_along_axis(products, rows, axis=1))
    for found, score in zip(rows, scores, strict=True):
        assert len(set(found.tolist())) == top_k
        assert (np.diff(found)[np.diff(score) == 0] > 0).all()


def test_merging_refuses_a_top_k_out_of_range_and_missing_offsets(images: FloatArray) -> None:
    index = FaissIndex(factory="Flat")
    index.build(images[:5])
    with pytest.raises(ValueError, match=r"top_k must be in \[1, 10\], got 11"):
        search_merged([index, index], [0, 5], images[:1], 11)
    with pytest.raises(ValueError, match=r"need one offset per index \(2\), got 1"):
        search_merged([index, index], [0], images[:1], 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
def test_recall_is_the_share_of_the_exact_nearest_counting_ties(
    seed: int, top_k: int, n_rows: int
) -> None:
    random = np.random.default_rng(seed)
    images = random.integers(-1, 2, (25, 3)).astype(np.float32)  # many are the same
    queries = random.integers(-1, 2, (4, 3)).astype(np.float32)
    found = np.stack([random.permutation(25)[:top_k] for _ in queries])
    products = queries @ images.T
    worst = -np.sort(-products, axis=1)[:, [top_k - 1]]
    expected = (np.take_along_axis(products, found, axis=1) >= worst).mean()
    ids = np.arange(25) * 3
    measured = measure_recall(found * 3, split_blocks(images, ids, n_rows), queries)
    assert measured == pytest.approx(expected)


def test_quality_is_1_for_an_exact_index_and_less_for_a_coarse_one(images: FloatArray) -> None:
    blocks = list(split_blocks(images, np.arange(N_IMAGES), 700))
    assert [len(ids) for _, ids in blocks] == [700, 700, 600]
    exact = FaissIndex(factory="Flat")
    exact.build(images)
    quality = measure_quality(exact, blocks, images[:60], 25)
    assert quality.recall == 1
    assert quality.to_json().keys() >= {"recall", "ms_single", "ms_batched", "n_threads"}
    assert "recall@25 1.0000 against exact over 60 queries" in str(quality)
    coarse = FaissIndex(factory="PQ{m}x{nbits}", m=4, nbits=4)
    coarse.build(images)
    found = coarse.search(images[:60], 25)[1]
    nearest = search_exactly(images, images[:60], 25)
    expected = np.mean([len(set(a) & set(b)) / 25 for a, b in zip(found, nearest, strict=True)])
    assert measure_quality(coarse, blocks, images[:60], 25).recall == pytest.approx(expected)
    assert expected < 0.9


def test_quality_of_a_small_index_is_measured_with_a_lower_top_k(images: FloatArray) -> None:
    index = FaissIndex(factory="Flat")
    index.build(images[:9])
    quality = measure_quality(index, split_blocks(images[:9], np.arange(9)), images[:3], 25)
    assert (quality.top_k, quality.recall) == (9, 1)
    with pytest.raises(ValueError, match="at least 1 query, got 0"):
        measure_quality(index, [], images[:0], 25)


def test_the_projection_preserves_inner_products_of_low_rank_data() -> None:
    random = np.random.default_rng(0)
    mixing = np.linalg.qr(random.normal(size=(16, 16)))[0] * (1 / (1 + np.arange(16)) ** 2)
    sample = (random.normal(size=(500, 16)) @ mixing.T + 3 * mixing[:, 0]).astype(np.float32)
    projection = keep_principal(sample, 8, seed=1)
    np.testing.assert_allclose(projection @ projection.T, np.eye(8), atol=1e-5)
    products, projected = sample @ sample.T, (sample @ projection.T) @ (sample @ projection.T).T
    assert np.abs(products - projected).max() < 0.003 * np.abs(products).max()
    assert (
        np.ptp(np.log2(np.square(sample @ projection.T).mean(axis=0))) < 8
    )  # 12.5 without the rotation


def test_scores_are_inner_products_even_if_all_images_are_similar(
    images: FloatArray,
) -> None:
    near = images + 2 * images[0]
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    index = make_index("ivf_pq")
    index.build(near)
    scores, rows = index.search(near[:50], 10)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", near[:50], near[rows]), atol=0.02)


@pytest.mark.parametrize("n_images", [16, 100, 300])
def test_every_option_can_be_built_from_a_few_images(
    option: str, n_images: int, images: FloatArray, capfd: pytest.CaptureFixture[str]
) -> None:
    index = make_index(option)
    index.build(images[:n_images])
    _, found = index.search(images[:n_images], 1)
    assert (found[:, 0] == np.arange(n_images)).mean() > 0.8
    assert "WARNING" not in capfd.readouterr().err


def test_too_few_images_to_train_the_codes_are_refused_with_both_numbers(
    images: FloatArray,
) -> None:
    with pytest.raises(ValueError, match=r"needs at least 16 images to train on, got 15"):
        make_index("ivf_pq").build(images[:15])


def test_batched_exact_searches_equal_one_product_for_any_number_of_queries() -> None:
    random = np.random.default_rng(1)
    images = random.normal(size=(20_000, 16)).astype(np.float32)  # several blocks of FAISS
    index = make_index("flat")
    index.build(images)
    for n_queries in (1, 19, 20, 300):
        queries = random.normal(size=(n_queries, 16)).astype(np.float32)
        scores, rows = index.search(queries, 7)
        products = queries @ images.T
        np.testing.assert_array_equal(rows, np.argsort(-products, axis=1)[:, :7])
        np.testing.assert_allclose(scores, np.take_along_axis(products, rows, 1), atol=1e-4)


def test_a_search_on_a_gpu_that_faiss_does_not_have_is_refused_in_a_sentence() -> None:
    if hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS is built for GPUs")
    for option in ("flat", "ivf_flat", "ivf_sq8"):
        with pytest.raises(InstantiationException, match=r"cuda needs a GPU and FAISS built for"):
            make_index(option, "index.device=cuda")
    with pytest.raises(ValueError, match=r"index.device must be one of cpu, cuda, got 'gpu'"):
        FaissIndex(factory="Flat", device="gpu")


def test_an_index_without_a_gpu_version_is_refused_and_not_left_on_the_cpu(
    images: FloatArray,
) -> None:
    graph = make_index("hnsw")
    graph.build(images)
    assert isinstance(graph, FaissIndex)
    assert graph.vectors is not None
    graph.vectors.device = "cuda"
    with pytest.raises(
        ValueError, match=r"no GPU version of a IndexHNSWFlat: add index.device=cpu"
    ):
        graph.search(images[:2], 3)


@pytest.mark.gpu
@pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="needs FAISS for GPUs")
@pytest.mark.parametrize("option", ["flat", "ivf_flat"])
def test_a_search_on_a_gpu_finds_what_the_cpu_finds(option: str, images: FloatArray) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        index = make_index(option, f"index.device={device}")
        index.build(images)
        first = index.search(images[:50], 10)[1]
        index.add(images[:50], np.arange(N_IMAGES, N_IMAGES + 50))  # the copy is made again
        found[device] = (first, index.search(images[:50], 10)[1])
    assert (found["cpu"][0] == found["cuda"][0]).mean() > 0.99
    assert (found["cpu"][1] == found["cuda"][1]).mean() > 0.95  # duplicates may swap
