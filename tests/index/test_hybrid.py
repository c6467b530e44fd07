"""Retrieval by pixels and words, fused by reciprocal ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from newsimg.datatypes import Image, Query
from newsimg.index.faiss_index import FaissIndex
from newsimg.index.hybrid import HybridIndex
from newsimg.storage.metadata.word_index import WordIndex

N_IMAGES = 60


def make_hybrid(**changes: Any) -> HybridIndex:
    arguments: dict[str, Any] = {
        "pixels": FaissIndex(factory="Flat"), "fields": ["title", "caption"], "share": 0.3,
        "k": 10, "depth": 20, "k1": 1.2, "b": 0.75,
    }  # fmt: skip
    return HybridIndex(**arguments | changes)


@pytest.fixture
def pictures() -> list[Image]:
    """Pictures with some of five words each, and every seventh with none."""
    random = np.random.default_rng(3)
    words = ["ferry", "storm", "goat", "harbour", "snow"]
    captions = [" ".join(random.choice(words, 1 + i % 4)) if i % 7 else "" for i in range(N_IMAGES)]
    return [
        Image(str(i), Path(f"{i}.jpg"), metadata={"caption": text} if text else {})
        for i, text in enumerate(captions)
    ]


def embed(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("top_k", "depth"), [(5, 20), (25, 20), (60, 1000)])
def test_results_are_those_of_brute_force(pictures: list[Image], top_k: int, depth: int) -> None:
    images, queries = embed(N_IMAGES, 1), embed(3, 2)
    texts = ["Ferry in a storm", "nothing known", "goat goat snow"]
    index = make_hybrid(depth=depth)
    index.build(images)
    index.describe(pictures)
    scores, rows = index.search_queries([Query(text, text) for text in texts], queries, top_k)
    bm25 = WordIndex([(one.metadata or {}).get("caption", "") for one in pictures], 1.2, 0.75)
    n_ranks = max(top_k, depth)
    for i, text in enumerate(texts):
        by_pixels = sorted(range(N_IMAGES), key=lambda row: -float(images[row] @ queries[i]))
        word_scores = bm25.score(f" {text}")
        by_words = sorted(range(N_IMAGES), key=lambda row: -word_scores[row])
        by_words = [row for row in by_words if word_scores[row] > 0][:n_ranks]
        fused = dict.fromkeys(range(N_IMAGES), 0.0)
        for share, ranked in ((0.7, by_pixels[:n_ranks]), (0.3, by_words)):
            for rank, row in enumerate(ranked, start=1):
                fused[row] += share / (10 + rank)
        best = sorted(fused, key=lambda row: -fused[row])[:top_k]
        assert rows[i].tolist() == best
        np.testing.assert_allclose(scores[i], [fused[row] for row in best], rtol=1e-6)


def test_a_picture_whose_caption_names_the_person_is_found_though_its_pixels_are_far_away() -> None:
    images = embed(N_IMAGES, 1)
    query = images[:1]
    farthest = int((images @ query[0]).argmin())
    captions = {farthest: "Åsa Lindqvist at the market", 5: "a market"}
    pictures = [
        Image(str(i), Path("x"), metadata={"caption": captions.get(i, "something")})
        for i in range(N_IMAGES)
    ]
    index = make_hybrid(depth=10)
    index.build(images)
    index.describe(pictures)
    _, rows = index.search_queries([Query("0", "Minister Åsa Lindqvist resigns")], query, 25)
    assert farthest in rows[0, :17]
    assert farthest not in index.search(query, 25)[1]


def test_without_words_the_results_are_those_of_the_pixels() -> None:
    images, queries = embed(N_IMAGES, 1), embed(3, 2)
    index = make_hybrid()
    index.build(images)
    with pytest.raises(ValueError, match="describe first"):
        index.search_queries([Query("0", "a")] * 3, queries, 5)
    index.describe([Image(str(i), Path("x")) for i in range(N_IMAGES)])
    _, rows = index.search_queries([Query("0", "a")] * 3, queries, 15)
    np.testing.assert_array_equal(rows, index.search(queries, 15)[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": 1.5}, r"index.share must be in \[0, 1\], got 1.5"),
        ({"k": 0, "depth": 0}, "index.k must be at least 1, got 0\nindex.depth must be at least 1"),
        ({"fields": ["words"]}, "index.fields may have title"),
    ],
)
def test_invalid_arguments_are_explained(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_hybrid(**changes)
