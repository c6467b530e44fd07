from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_models import RandomBackbone

from newsimg.datatypes import Candidates, Collection, Image, Query
from newsimg.interfaces import Dataset
from newsimg.reranker.nnn import NNNReranker
from newsimg.reranker.qb_norm import QBNormReranker

N_IMAGES, N_BANK, N_QUERIES, TOP_K = 1500, 300, 40, 6


@dataclass
class Headlines(Dataset):
    queries: tuple[Query, ...]
    name: str = "bank"

    def load(self):
        return Collection(self.name, self.queries, (), None)

    def with_split(self, split):
        raise ValueError(f"no split {split}")


@pytest.fixture(scope="module")
def scene():
    images = tuple(Image(str(i), Path(f"{i}.png")) for i in range(N_IMAGES))
    queries = tuple(Query(f"q{i}", f"query {i}") for i in range(N_QUERIES))
    bank = tuple(Query(f"b{i}", f"bank {i}") for i in range(N_BANK))
    backbone = RandomBackbone()
    pool = backbone.embed_images(images)
    similarities = backbone.embed_texts([q.title for q in queries]) @ pool.T
    rows = np.argsort(-similarities, axis=1, kind="stable")[:, :TOP_K]
    scores = np.take_along_axis(similarities, rows, axis=1)
    candidates = Candidates(images, rows, scores, {"retrieval": scores})
    banked = backbone.embed_texts([q.title for q in bank]) @ pool.T
    return backbone, Headlines(bank), queries, candidates, similarities, banked


def dense_inverted_softmax(similarities, banked, beta):
    return np.exp(beta * similarities.astype(float)) / np.exp(beta * banked.astype(float)).sum(0)


def test_inverted_softmax_equals_the_dense_formula_of_the_paper(scene):
    backbone, bank, queries, candidates, similarities, banked = scene
    reranker = QBNormReranker(backbone=backbone, bank=bank, beta=20, dynamic=False)
    expected = dense_inverted_softmax(similarities, banked, 20)
    got = np.exp(20 * reranker.score(queries, candidates).values.astype(float))
    np.testing.assert_allclose(
        got, np.take_along_axis(expected, candidates.rows, axis=1), rtol=2e-4
    )


def test_dynamic_inverted_softmax_corrects_only_queries_whose_first_image_a_bank_query_finds(scene):
    backbone, bank, queries, candidates, similarities, banked = scene
    active = set(banked.argmax(axis=1))
    corrected = np.array([similarities[i].argmax() in active for i in range(N_QUERIES)])
    assert 0 < corrected.sum() < N_QUERIES
    dense = np.log(dense_inverted_softmax(similarities, banked, 20)) / 20
    expected = np.where(corrected[:, None], dense, similarities)
    reranker = QBNormReranker(backbone=backbone, bank=bank, beta=20, dynamic=True)
    np.testing.assert_allclose(
        reranker.score(queries, candidates).values,
        np.take_along_axis(expected, candidates.rows, axis=1),
        atol=1e-5,
    )


def test_nearest_neighbour_normalisation_subtracts_a_share_of_the_mean_of_the_k_largest(scene):
    backbone, bank, queries, candidates, similarities, banked = scene
    reranker = NNNReranker(backbone=backbone, bank=bank, alpha=0.75, k=7)
    dense = similarities - 0.75 * np.sort(banked, axis=0)[-7:].mean(axis=0)
    np.testing.assert_allclose(
        reranker.score(queries, candidates).values,
        np.take_along_axis(dense, candidates.rows, axis=1),
        atol=1e-6,
    )


def test_a_bank_of_many_splits_is_the_one_that_is_named(scene):
    backbone, bank, queries, candidates, *_ = scene
    halves = {"train": Headlines(bank.queries[::2]), "val": Headlines(bank.queries[1::2])}

    class Whole(Headlines):
        def with_split(self, split):
            return halves[split]

    settings = {"backbone": backbone, "alpha": 1, "k": 5}
    for split, half in halves.items():
        named = NNNReranker(bank=Whole(bank.queries), bank_split=split, **settings)
        alone = NNNReranker(bank=half, **settings)
        expected = alone.score(queries, candidates).values
        np.testing.assert_array_equal(named.score(queries, candidates).values, expected)
        whole = NNNReranker(bank=Whole(bank.queries), **settings)
        assert not np.array_equal(whole.score(queries, candidates), expected)


def test_an_evaluated_query_in_the_bank_is_refused_by_its_id(scene):
    backbone, bank, queries, candidates, *_ = scene
    tainted = Headlines((*bank.queries, queries[3]))
    for reranker in (
        NNNReranker(backbone=backbone, bank=tainted, alpha=1, k=2),
        QBNormReranker(backbone=backbone, bank=tainted, beta=20, dynamic=True),
    ):
        with pytest.raises(ValueError, match="holds 1 of 40, 'q3' the first"):
            reranker.score(queries, candidates)


def test_parameters_out_of_range_are_refused_with_the_range(scene):
    backbone, bank, queries, candidates, *_ = scene
    with pytest.raises(ValueError, match=r"reranker.beta must be above 0, got 0"):
        QBNormReranker(backbone=backbone, bank=bank, beta=0, dynamic=True)
    with pytest.raises(ValueError, match=r"reranker.alpha must be at least 0, got -1"):
        NNNReranker(backbone=backbone, bank=bank, alpha=-1, k=2)
    with pytest.raises(ValueError, match=r"reranker.k must be at least 1, got 0"):
        NNNReranker(backbone=backbone, bank=bank, alpha=1, k=0)
    with pytest.raises(ValueError, match=r"must be in \[1, 300\], the bank, got 301"):
        NNNReranker(backbone=backbone, bank=bank, alpha=1, k=301).score(queries, candidates)
