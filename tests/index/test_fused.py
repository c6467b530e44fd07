"""Several searches fused at retrieval, against brute force."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from newsimg.datatypes import FloatArray, Image, Query
from newsimg.index.faiss_index import FaissIndex
from newsimg.index.fused import FusedIndex
from newsimg.index.hybrid import HybridIndex
from newsimg.index.own_backbone import OwnBackboneIndex
from newsimg.interfaces import Index

N_IMAGES = 60
IMAGES = [Image(f"{i:02}", Path(f"{i}.jpg"), digest=f"{i}") for i in range(N_IMAGES)]
QUERIES = [
    Query(str(i), f"title {i}", columns=(("lead", f"lead {i}" if i else ""),)) for i in range(4)
]


def embed(n: int, seed: int, dim: int = 8) -> FloatArray:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TableBackbone:
    """A backbone with a random embedding for each text and picture, of a dimension of its own."""

    fingerprint = "table"
    description = {"model": "table-of-12"}  # noqa: RUF012
    batch_size = 8
    text_length = 1000

    def __init__(self, seed: int, dim: int, query_template: str | list[str] = "{title}") -> None:
        self.seed, self.dim, self.query_template = seed, dim, query_template
        self.n_embedded = 0

    def embed_texts(self, texts: list[str]) -> FloatArray:
        return np.concatenate([embed(1, self.seed + hash(t) % 999_983, self.dim) for t in texts])

    def find_truncated(self, texts: list[str]) -> list[bool]:
        return [len(text) > self.text_length for text in texts]

    def embed_images(self, images: list[Image]) -> FloatArray:
        self.n_embedded += len(images)
        return embed(N_IMAGES, self.seed, self.dim)[[int(one.image_id) for one in images]]


def make(second: Index, **changes: Any) -> FusedIndex:
    arguments: dict[str, Any] = {
        "members": {"first": FaissIndex(factory="Flat"), "second": second},
        "weights": {}, "by": "ranks", "k": 10, "depth": 20,
    }  # fmt: skip
    return FusedIndex(**arguments | changes)


def own(backbone: TableBackbone, index: Index | None = None) -> OwnBackboneIndex:
    return OwnBackboneIndex(backbone=backbone, index=index or FaissIndex(factory="Flat"))  # type: ignore[arg-type]


def rate(cosines: FloatArray, by: str, k: int, depth: int) -> dict[int, float]:
    """Rate the best rows of a member, by definition."""
    best = sorted(range(N_IMAGES), key=lambda row: -float(cosines[row]))[:depth]
    if by == "ranks":
        return {row: 1 / (k + rank) for rank, row in enumerate(best, start=1)}
    high, low = float(cosines[best[0]]), float(cosines[best[-1]])
    return {row: (float(cosines[row]) - low) / (high - low) for row in best}


@pytest.mark.parametrize("by", ["ranks", "scores"])
@pytest.mark.parametrize(
    ("top_k", "depth", "weights"),
    [(5, 20, {}), (25, 20, {"second": 3.0}), (60, 1000, {"first": 2})],
)
def test_results_are_those_of_brute_force(
    by: str, top_k: int, depth: int, weights: dict[str, float]
) -> None:
    images, texts = embed(N_IMAGES, 1), embed(4, 2)
    other = TableBackbone(5, 12, ["{title}", "{title}. {lead}"])
    index = make(own(other), by=by, depth=depth, weights=weights)
    index.build(images)
    index.describe(IMAGES)
    scores, rows = index.search_queries(QUERIES, texts, top_k)
    shares = np.array([weights.get("first", 1), weights.get("second", 1)], float)
    shares /= shares.sum()
    n_ranks = min(max(top_k, depth), N_IMAGES)
    for i, query in enumerate(QUERIES):
        asked = [query.title, f"{query.title}. lead {i}" if i else query.title]
        mean = other.embed_texts(asked).mean(axis=0)
        rated = [
            rate(images @ texts[i], by, 10, n_ranks),
            rate(embed(N_IMAGES, 5, 12) @ (mean / np.linalg.norm(mean)), by, 10, n_ranks),
        ]
        fused = {
            row: sum(share * part.get(row, 0.0) for share, part in zip(shares, rated, strict=True))
            for row in range(N_IMAGES)
        }
        best = sorted(fused, key=lambda row: -fused[row])[:top_k]
        np.testing.assert_allclose(scores[i], [fused[row] for row in best], atol=2e-6)
        if by == "ranks":
            np.testing.assert_allclose([fused[row] for row in rows[i]], scores[i], atol=1e-6)
            assert len(set(rows[i].tolist())) == top_k


def test_headlines_that_a_members_backbone_truncates_are_counted_with_its_name(caplog: Any) -> None:
    other = TableBackbone(5, 12, "{title}. {lead}")
    index = make(own(other))
    index.build(embed(N_IMAGES, 1))
    index.describe(IMAGES)
    index.search_queries(QUERIES, embed(4, 2), 5)
    assert not caplog.text
    other.text_length = 10  # "title 0" is shorter, as it has no lead
    index.search_queries(QUERIES, embed(4, 2), 5)
    assert (
        "3 of 4 headlines are longer than the text_length of table-of-12, the backbone of a member "
        "of index=fused, and are truncated, the first: 'title 1. lead 1'"
    ) in caplog.text


def test_pictures_are_embedded_once_for_one_collection_and_again_for_another() -> None:
    other = TableBackbone(5, 12)
    index = make(own(other))
    index.build(embed(N_IMAGES, 1))
    for images, n in ((IMAGES, 60), (IMAGES, 60), (IMAGES[:30], 90)):
        index.describe(images)
        assert other.n_embedded == n
    _, rows = index.members["second"].search_queries(QUERIES, embed(4, 2), 30)
    assert sorted(rows[0].tolist()) == list(range(30))


def test_a_member_may_search_by_words() -> None:
    named = [
        Image(f"{i:02}", Path("x"), metadata={"caption": "ferry" if i == 44 else "goat"})
        for i in range(N_IMAGES)
    ]
    words = HybridIndex(
        pixels=FaissIndex(factory="Flat"), fields=["caption"], share=1.0, k=5, depth=25, k1=1.2,
        b=0.75,
    )  # fmt: skip
    index = make(words, weights={"second": 9.0})
    index.build(embed(N_IMAGES, 1))
    index.describe(named)
    assert index.search_queries([Query("0", "a ferry")], embed(1, 2), 5)[1][0, 0] == 44


class SavedStub(FaissIndex):
    """An index that has its own pictures, as a saved one."""

    own_images: list[Image] = IMAGES

    @property
    def images(self) -> list[Image]:
        return self.own_images


def test_pictures_with_equal_scores_share_their_rank() -> None:
    twins = embed(N_IMAGES, 1)
    twins[7] = twins[3]
    index = make(own(TableBackbone(5, 12)), weights={"second": 1e-9})
    index.build(twins)
    index.describe(IMAGES)
    scores, rows = index.search_queries(QUERIES[:1], twins[3:4], 5)
    assert set(rows[0, :2].tolist()) == {3, 7}
    np.testing.assert_allclose(scores[0, :2], 1 / (10 + 1.5), rtol=1e-5)


def test_a_saved_member_must_have_the_same_pictures() -> None:
    saved = SavedStub(factory="Flat")
    saved.build(embed(N_IMAGES, 5, 12))
    index = make(own(TableBackbone(5, 12), saved))
    memory = make(own(TableBackbone(5, 12)))
    for one in (index, memory):
        one.build(embed(N_IMAGES, 1))
        one.describe(list(IMAGES))
    assert index.images is IMAGES
    found, expected = (one.search_queries(QUERIES, embed(4, 2), 10) for one in (index, memory))
    np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(ValueError, match=r"members.second: it has 60 pictures, the search has 59"):
        index.describe(IMAGES[1:])
    with pytest.raises(ValueError, match="second: it has '59' where the search has '61'"):
        index.describe([*IMAGES[:59], Image("61", Path("x"))])
    with pytest.raises(ValueError, match=r"other bytes of '59' than 59.jpg has"):
        index.describe([*IMAGES[:59], Image("59", Path("59.jpg"), digest="new")])


def test_queries_without_a_members_column_are_refused_before_anything_is_embedded() -> None:
    other = TableBackbone(5, 12, "{title} {summary}")
    with pytest.raises(
        ValueError,
        match=r"^index.members.second: query_template uses {summary}, but .* organisations, lead",
    ):
        make(own(other)).check_queries(QUERIES)
    assert other.n_embedded == 0


def test_a_search_before_the_pictures_are_known_is_refused() -> None:
    for index in (make(own(TableBackbone(5, 12))), own(TableBackbone(5, 12))):
        with pytest.raises(ValueError, match="call describe first"):
            index.search_queries(QUERIES, embed(4, 2), 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"by": "rank"}, "index.by must be one of ranks, scores, got 'rank'; did you mean 'ranks'"),
        ({"k": 0, "depth": 0}, "index.k must be at least 1, got 0\nindex.depth must be at least 1"),
        ({"weights": {"secnd": 1}}, "a name in index.weights must be one of first, second, got"),
        ({"weights": {"second": -1.0}}, "index.weights.second must be a number of at least 0"),
        ({"weights": {"second": 0}}, "at least 2 with a weight above 0, got first"),
        ({"members": {"first": None}}, "at least 2 with a weight above 0, got none"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(own(TableBackbone(5, 12)), **changes)
