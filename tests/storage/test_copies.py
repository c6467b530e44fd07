"""Duplicate pictures get equal scores from every reranker."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Candidates, Collection, FloatArray, Image, Query, RerankScores
from newsimg.evaluation.comparison import compare_stages
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Backbone, Dataset, Reranker
from newsimg.pipeline import rerank, retrieve, score_candidates
from newsimg.reranker.ensemble import EnsembleReranker
from newsimg.reranker.nnn import NNNReranker
from newsimg.reranker.qb_norm import QBNormReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.copies import find_first_copies, share_scores
from newsimg.weight.rank import RankWeight
from newsimg.weight.rrf import RRFWeight

N_COPIES = 6


class Unsteady(Reranker):
    """Scores a picture by its digest, plus a rounding error that depends on its position."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        place = np.random.default_rng(5).normal(size=candidates.rows.shape) * 1e-6
        known = {row: int(str(candidates.images[row].digest), 36) / 36 for row in range(12)}
        scores = np.vectorize(known.get)(candidates.rows) + place
        return RerankScores(scores.astype(np.float32))


class UnsteadyBackbone(Backbone):
    """Embeds a picture by its bytes, plus a rounding error that depends on its position."""

    query_template = "{title}"
    batch_size = 4
    fingerprint = "unsteady"

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        return self._embed(texts, 0.0)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        return self._embed([str(image.digest) for image in images], 1e-5)

    def _embed(self, names: Sequence[str], noise: float) -> FloatArray:
        rows = [np.random.default_rng(list(name.encode())).normal(size=8) for name in names]
        place = np.random.default_rng(1).normal(size=(len(rows), 8)) * noise
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True) + place).astype(np.float32)


@pytest.fixture
def collection() -> Collection:
    """Six headlines, each with its own picture and one of six copies of another picture."""
    copies = [Image(f"copy{i}", Path(f"{i}"), digest="z") for i in range(N_COPIES)]
    others = [Image(f"other{i}", Path(f"{i}"), digest=f"{i}") for i in range(6)]
    queries = tuple(Query(f"q{i}", f"headline {i}") for i in range(N_COPIES))
    qrels = {f"q{i}": {f"copy{i}": 1} for i in range(N_COPIES)}
    return Collection("copies", queries, (*copies, *others), qrels)


def find_copies(candidates: Candidates) -> np.ndarray:
    return np.isin(candidates.rows, range(N_COPIES))


@pytest.mark.parametrize("weight", [RankWeight(value=0.5), RRFWeight(value=0.5, k=60)])
def test_copies_have_equal_scores_and_keep_their_order(collection, weight):
    retrieved = retrieve(collection, UnsteadyBackbone(), FaissIndex(factory="Flat"), 12)
    reranked = rerank(collection, retrieved, Unsteady(), weight)
    for scores in (*reranked.parts.values(), reranked.scores):
        for row, own in zip(scores, find_copies(reranked), strict=True):
            assert own.sum() == N_COPIES
            assert len(set(row[own])) == 1
    for rows in reranked.rows:
        assert rows[np.isin(rows, range(N_COPIES))].tolist() == list(range(N_COPIES))
    outcomes = compare_stages(collection, retrieved, reranked, collection.qrels)["outcome"]
    assert outcomes.value_counts().get("hurt", 0) + outcomes.value_counts().get("helped", 0) <= 1


def test_an_ensemble_ranks_copies_equally_within_each_member(collection):
    retrieved = retrieve(collection, UnsteadyBackbone(), FaissIndex(factory="Flat"), 12)
    member = {"reranker": Unsteady(), "weight": 0.5, "normalization": RankWeight(value=0.5)}
    ensemble = EnsembleReranker(members={"one": member, "two": member})
    scores = score_candidates(collection, retrieved, ensemble)
    for row, own in zip(scores.values, find_copies(retrieved), strict=True):
        assert len(set(row[own])) == 1
    # Six copies share the mean of the ranks 1 to 6 among twelve.
    assert scores.components["one"].max() == pytest.approx(1 - 2.5 / 12)


class Bank(Dataset):
    name = "bank"

    def load(self) -> Collection:
        queries = tuple(Query(f"b{i}", f"bank {i}") for i in range(5))
        return Collection("bank", queries, (), None)

    def with_split(self, split: str) -> "Bank":
        raise ValueError(split)


@pytest.mark.parametrize(
    "make",
    [
        lambda **parts: QBNormReranker(beta=20, dynamic=True, **parts),
        lambda **parts: NNNReranker(alpha=0.75, k=2, **parts),
    ],
)
def test_a_hubness_correction_treats_copies_as_one_picture(collection, make):
    reranker = make(backbone=UnsteadyBackbone(), bank=Bank())
    retrieved = retrieve(collection, UnsteadyBackbone(), FaissIndex(factory="Flat"), 12)
    scores = score_candidates(collection, retrieved, reranker).values
    images = (collection.images[0], *collection.images[N_COPIES:])
    single = Collection("single", collection.queries, images, None)
    alone = retrieve(single, UnsteadyBackbone(), FaissIndex(factory="Flat"), 7)
    expected = score_candidates(single, alone, reranker).values
    for i in range(len(collection.queries)):
        known = {images[row].digest: s for row, s in zip(alone.rows[i], expected[i], strict=True)}
        for row, score in zip(retrieved.rows[i], scores[i], strict=True):
            assert score == pytest.approx(known[collection.images[row].digest], abs=1e-4)


def test_copies_are_detected_by_the_hashes_of_the_cache(tmp_path):
    for name, text in (("a", "same"), ("b", "other"), ("c", "same")):
        (tmp_path / name).write_text(text)
    images = [Image(name, tmp_path / name) for name in "abc"]
    backbone = CachedBackbone(UnsteadyBackbone(), OutputCache(tmp_path / "cache"))
    known = backbone.with_digests(images)
    rows = np.array([[2, 1], [0, 2]])
    assert find_first_copies(known, rows).tolist() == [[0, 1], [0, 0]]
    assert find_first_copies(images, rows).tolist() == rows.tolist()
    assert [image.image_id for image in known] == ["a", "b", "c"]
    collection = Collection("found", (Query("q", "headline"),), tuple(images), None)
    retrieved = retrieve(collection, backbone, FaissIndex(factory="Flat"), 3)
    (row,) = retrieved.rows.tolist()
    assert row.index(2) == row.index(0) + 1  # ties keep the order of ids
    assert retrieved.scores[0, row.index(0)] == retrieved.scores[0, row.index(2)]


def test_copies_get_the_score_of_the_first_one():
    scores = np.float32([[1, 2, 3], [4, 5, 6]])
    shared = share_scores(scores, np.array([[7, 8, 7], [1, 2, 3]]))
    assert shared.tolist() == [[1, 2, 1], [4, 5, 6]]
    assert scores.tolist() == [[1, 2, 3], [4, 5, 6]]
