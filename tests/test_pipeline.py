"""The method itself, with an encoder whose cosines are written down here."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsimg.datatypes import Candidates, Collection, FloatArray, Image, Query, RerankScores
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Backbone, Reranker
from newsimg.pipeline import rerank, retrieve, sort_candidates
from newsimg.reranker.identity import IdentityReranker
from newsimg.weight.l1 import L1Weight
from newsimg.weight.raw import RawWeight


class TableBackbone(Backbone):
    """Looks embeddings up: of texts by the text, of images by the id."""

    query_template = "{title}"
    batch_size = 1
    fingerprint = "table"

    def __init__(self, table: dict[str, list[float]]) -> None:
        self.table = table

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.array([self.table[text] for text in texts], np.float32)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        return np.array([self.table[image.image_id] for image in images], np.float32)


class TableReranker(Reranker):
    """Looks a score up by query and image, so that it follows the image wherever it is moved."""

    def __init__(self, table: dict[tuple[str, str], float]) -> None:
        self.table = table

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        scores = [
            [self.table[query.query_id, candidates.images[row].image_id] for row in rows]
            for query, rows in zip(queries, candidates.rows, strict=True)
        ]
        return RerankScores(np.array(scores, np.float32))


def angle(cosine: float) -> list[float]:
    """A unit vector with this cosine to (1, 0)."""
    return [cosine, (1 - cosine**2) ** 0.5]


def make_collection(image_ids: Sequence[str], n_queries: int = 1) -> Collection:
    queries = tuple(Query(f"q{i}", "storm") for i in range(n_queries))
    images = tuple(Image(image_id, Path(f"{image_id}.jpg")) for image_id in sorted(image_ids))
    return Collection("table", queries, images, None)


def ids(candidates: Candidates) -> list[list[str]]:
    return [[candidates.images[row].image_id for row in rows] for rows in candidates.rows]


def test_candidates_come_best_first_with_their_cosines() -> None:
    cosines = {"a": 0.1, "b": 0.9, "c": -0.4, "d": 0.5}
    backbone = TableBackbone({"storm": [1, 0]} | {name: angle(c) for name, c in cosines.items()})
    found = retrieve(make_collection("abcd"), backbone, FaissIndex(factory="Flat"), 3)
    assert ids(found) == [["b", "d", "a"]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.5, 0.1]], atol=1e-6)
    np.testing.assert_array_equal(found.parts["retrieval"], found.scores)
    assert found.scores.dtype == np.float32
    assert found.rows.dtype == np.int64


def test_equal_retrieval_scores_keep_the_image_id_order() -> None:
    names = [f"{i:03}" for i in range(50)]
    cosine = {name: 0.5 if i % 3 else 0.25 for i, name in enumerate(names)}
    backbone = TableBackbone({"storm": [1, 0]} | {name: angle(c) for name, c in cosine.items()})
    found = retrieve(make_collection(names, 3), backbone, FaissIndex(factory="Flat"), 50)
    expected = sorted(names, key=lambda name: (-cosine[name], name))
    assert ids(found) == [expected] * 3


@pytest.mark.parametrize("top_k", [1, 3, 7])
def test_among_equals_at_the_cut_the_first_in_image_id_order_stay(top_k: int) -> None:
    names = [f"{i:03}" for i in range(40)]
    backbone = TableBackbone({"storm": [1, 0]} | {name: angle(0.5) for name in names})
    found = retrieve(make_collection(names, 25), backbone, FaissIndex(factory="Flat"), top_k)
    assert ids(found) == [names[:top_k]] * 25


def test_fused_scores_travel_with_their_candidates() -> None:
    random = np.random.default_rng(0)
    names = [f"{i:02}" for i in range(20)]
    collection = make_collection(names, 5)
    cosine = dict(zip(names, random.uniform(-1, 1, 20), strict=True))
    backbone = TableBackbone({"storm": [1, 0]} | {name: angle(c) for name, c in cosine.items()})
    opinion = {(f"q{q}", name): float(random.normal()) for q in range(5) for name in names}
    found = retrieve(collection, backbone, FaissIndex(factory="Flat"), 10)
    fused = rerank(collection, found, TableReranker(opinion), RawWeight(value=0.3))
    for q, shown in enumerate(ids(fused)):
        wanted = {name: 0.7 * cosine[name] + 0.3 * opinion[f"q{q}", name] for name in ids(found)[q]}
        assert shown == sorted(wanted, key=lambda name: -wanted[name])
        np.testing.assert_allclose(fused.scores[q], [wanted[n] for n in shown], atol=1e-6)
        parts = fused.parts
        np.testing.assert_allclose(parts["retrieval"][q], [cosine[n] for n in shown], atol=1e-6)
        np.testing.assert_allclose(parts["rerank"][q], [opinion[f"q{q}", n] for n in shown])


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_equal_fused_scores_keep_the_retrieval_order(value: float) -> None:
    collection = make_collection("abcd")
    table = {name: angle(0.5) for name in "abcd"}
    found = retrieve(
        collection, TableBackbone({"storm": [1, 0]} | table), FaissIndex(factory="Flat"), 4
    )
    same = TableReranker({("q0", name): 7.0 for name in "abcd"})
    assert ids(rerank(collection, found, same, L1Weight(value=value))) == [["a", "b", "c", "d"]]


def test_reranking_leaves_the_retrieved_candidates_as_they_are() -> None:
    collection = make_collection("abc")
    table = {"storm": [1, 0], "a": angle(0.9), "b": angle(0.5), "c": angle(0.1)}
    found = retrieve(collection, TableBackbone(table), FaissIndex(factory="Flat"), 3)
    before = (found.rows.copy(), found.scores.copy())
    opposite = TableReranker({("q0", "a"): 0.0, ("q0", "b"): 1.0, ("q0", "c"): 2.0})
    assert ids(rerank(collection, found, opposite, L1Weight(value=1))) == [["c", "b", "a"]]
    np.testing.assert_array_equal(found.rows, before[0])
    np.testing.assert_array_equal(found.scores, before[1])


def test_identity_repeats_the_retrieval_scores() -> None:
    collection = make_collection("abc")
    table = {"storm": [1, 0], "a": angle(0.2), "b": angle(0.5), "c": angle(0.9)}
    found = retrieve(collection, TableBackbone(table), FaissIndex(factory="Flat"), 3)
    np.testing.assert_array_equal(
        IdentityReranker().score(collection.queries, found).values, found.parts["retrieval"]
    )


def test_scores_that_are_no_rerank_scores_are_refused_with_what_to_return() -> None:
    class Bare(IdentityReranker):
        def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
            return super().score(queries, candidates).values  # type: ignore[return-value]

    collection = make_collection("abc")
    table = {"storm": [1, 0], "a": angle(0.2), "b": angle(0.5), "c": angle(0.9)}
    found = retrieve(collection, TableBackbone(table), FaissIndex(factory="Flat"), 3)
    with pytest.raises(TypeError, match=r"Bare\.score must return .*RerankScores, got ndarray"):
        rerank(collection, found, Bare(), L1Weight(value=0.5))


def test_more_candidates_than_pictures_are_all_of_them_with_a_warning_of_both_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backbone = TableBackbone({"storm": [1, 0]} | {name: angle(0.5) for name in "abc"})
    with caplog.at_level(logging.WARNING):
        found = retrieve(make_collection("abc"), backbone, FaissIndex(factory="Flat"), 1000)
    assert found.rows.shape == (1, 3)
    (record,) = [r for r in caplog.records if r.name.startswith("newsimg")]
    assert record.levelno == logging.WARNING
    assert "1000" in record.getMessage()
    assert "3 images" in record.getMessage()


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_candidates_at_all_are_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k must be at least 1, got {top_k}"):
        retrieve(make_collection("a"), TableBackbone({}), FaissIndex(factory="Flat"), top_k)


@given(data=st.data())
def test_sorting_is_that_of_pythons_stable_sort_and_takes_all_parts_along(
    data: st.DataObject,
) -> None:
    n_queries, top_k = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    scores = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(-2, 2), min_size=top_k, max_size=top_k),
                min_size=n_queries,
                max_size=n_queries,
            )
        ),
        np.float64,
    )
    rows = np.arange(scores.size, dtype=np.int64).reshape(scores.shape)
    images = tuple(Image(str(i), Path(str(i))) for i in range(scores.size))
    before = Candidates(images, rows, scores, {"retrieval": (scores * 10).astype(np.float32)})
    after = sort_candidates(before, scores)
    for q in range(n_queries):
        order = sorted(range(top_k), key=lambda i: -scores[q, i])
        assert after.rows[q].tolist() == rows[q][order].tolist()
        assert after.scores[q].tolist() == scores[q][order].tolist()
        assert after.parts["retrieval"][q].tolist() == (scores[q][order] * 10).tolist()
