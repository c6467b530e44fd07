"""The search page's routes: results equal those of the pipeline, and nobody waits without need."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from json_requests import ask, post
from letter_models import CountingReranker, LetterBackbone, LetterDataset

from newsimg.app import pictures, search_page
from newsimg.app.command import Typed
from newsimg.app.loading import Loading
from newsimg.app.pictures import Pictures
from newsimg.app.search_page import SearchPage, Start
from newsimg.app.server import create_app, serve
from newsimg.app.session import Asked, HeadlineSearch
from newsimg.datatypes import (
    Candidates,
    Collection,
    FloatArray,
    FusedArray,
    PictureFilter,
    Query,
    RerankScores,
)
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Components, Weight
from newsimg.pipeline import rerank, retrieve
from newsimg.weight.l1 import L1Weight

TOP_K = 5


class ProductWeight(Weight):
    """A weight that is not linear in its value."""

    def __init__(self, *, value: float) -> None:
        self.value = value

    def combine(self, retrieval: FloatArray, rerank: FloatArray) -> FusedArray:
        exact = retrieval.astype(np.float64), rerank.astype(np.float64)
        return exact[0] ** (1 - self.value) * exact[1] ** self.value


class SlowReranker(CountingReranker):
    """Waits at the headline 'slow'."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.begun, self.may_end = threading.Event(), threading.Event()

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        self.titles.append(queries[0].title)
        if queries[0].title == "slow":
            self.begun.set()
            assert self.may_end.wait(30)
        if queries[0].title == "defect":
            raise RuntimeError("out of memory")
        return super().score(queries, candidates)


class JudgedDataset(LetterDataset):
    """Letters with two headlines, of which the first has an editor's picture."""

    def load(self) -> Collection:
        bare = super().load()
        queries = Query("q1", "abba feed"), Query("q2", "hag")
        return replace(bare, queries=queries, qrels={"q1": {bare.images[4].image_id: 1}})


@pytest.fixture
def slow() -> SlowReranker:
    return SlowReranker()


@pytest.fixture
def components(slow: SlowReranker) -> Components:
    index = FaissIndex(factory="Flat")
    return Components(JudgedDataset(), LetterBackbone(), index, slow, L1Weight(value=0.3), TOP_K)


@pytest.fixture
def search(components: Components, slow: SlowReranker) -> HeadlineSearch:
    weights = {"l1": L1Weight(value=0.3), "product": ProductWeight(value=0.3)}
    return HeadlineSearch(components, {"slow": slow}, weights, n_examples=5)


@pytest.fixture
def address(search: HeadlineSearch) -> Iterator[str]:
    shown = Pictures()
    loading = Loading(search.load, dict)
    start = Start("", "slow", {"slow": ("l1", 0.3)}, TOP_K)
    page = SearchPage(search, shown, loading, Typed([], [], "slow", "l1"), start)
    app = create_app([search_page.make_router(page), pictures.make_router(shown)])
    with serve(app, None) as url:
        yield url


def results(address: str, headline: str, **values: Any) -> tuple[int, Any]:
    asked = {"headline": headline, "reranker": "slow", "top_k": TOP_K} | values
    return post(f"{address}/search/results", asked)


def list_ids(found: dict[str, Any]) -> list[str]:
    return [found["pictures"][ref]["id"] for ref in found["headline"]["before"]]


def run_pipeline(components: Components, headline: str, weight: Weight) -> Candidates:
    collection = replace(components.dataset.load(), queries=(Query("q", headline),), qrels=None)
    found = retrieve(collection, LetterBackbone(), FaissIndex(factory="Flat"), TOP_K)
    return rerank(collection, found, CountingReranker(), weight)


def test_a_result_is_that_of_the_pipeline_for_linear_and_other_weights(
    address: str, components: Components
) -> None:
    status, found = results(address, " abba feed hag ")
    assert status == 200
    for name, weight in (("l1", L1Weight(value=0.6)), ("product", ProductWeight(value=0.6))):
        expected = run_pipeline(components, "abba feed hag", weight)
        if name == "l1":
            retrieval, second = found["normalised"]["l1"]
            fused = [0.4 * a + 0.6 * b for a, b in zip(retrieval, second, strict=True)]
        else:
            assert found["normalised"][name] is None
            asked = {"headline": "abba feed hag", "reranker": "slow", "top_k": TOP_K}
            _, answer = post(f"{address}/search/fused", asked | {"weight": name, "value": 0.6})
            fused = answer["fused"]
        order = np.argsort(-np.array(fused), kind="stable")
        ids = [list_ids(found)[i] for i in order]
        assert ids == [expected.images[row].image_id for row in expected.rows[0]]
        np.testing.assert_allclose(np.array(fused)[order], expected.scores[0])


def test_the_editors_picture_is_known_where_the_headline_is_one_of_the_data(
    address: str, components: Components
) -> None:
    editors = components.dataset.load().images[4].image_id
    _, found = results(address, "abba feed")
    ((ref, image_id, _, _),) = found["headline"]["relevant"]
    assert image_id == found["pictures"][ref]["id"] == editors
    assert "relevant" not in results(address, "abba feed!")[1]["headline"]
    assert "relevant" not in results(address, "hag")[1]["headline"]


def test_a_picture_is_searched_for_by_its_embedding_among_those_that_match(
    search: HeadlineSearch, components: Components
) -> None:
    images = components.dataset.load().images
    picture = search.find_picture(images[3].image_id)
    kept = [image for image in images if "a" in image.image_id or "b" in image.image_id]
    assert len(kept) not in (0, len(images))
    asked = Asked(picture=picture, filter=PictureFilter(name=("a", "B")))
    scored = search.score(asked, "slow", 4)
    embeddings = LetterBackbone().embed_images(kept)
    cosines = (LetterBackbone().embed_images([picture]) @ embeddings.T)[0]
    best = np.argsort(-cosines, kind="stable")[:4]
    found = [scored.retrieved.images[row].image_id for row in scored.retrieved.rows[0]]
    assert found == [kept[i].image_id for i in best]
    np.testing.assert_allclose(scored.retrieved.scores[0], cosines[best], rtol=1e-6)
    assert search.n_scored == 0


def test_a_slow_search_does_not_keep_others_from_what_is_known(
    address: str, slow: SlowReranker
) -> None:
    results(address, "abba")
    waiting = threading.Thread(target=results, args=(address, "slow"))
    waiting.start()
    assert slow.begun.wait(30)
    assert results(address, "abba")[0] == 200
    assert ask(f"{address}/search/status")[0] == 200
    asked = {"headline": "abba", "reranker": "slow", "top_k": TOP_K}
    for kind in ("csv", "run"):
        settings = {"weight": "l1", "value": 0.2, "kind": kind}
        body = json.dumps(asked | settings).encode()
        status, text, headers = ask(
            f"{address}/search/export", {"Content-Type": "application/json"}, body
        )
        assert (status, headers["X-File-Name"]) == (200, f"abba.{kind}")
        assert len(text.splitlines()) == TOP_K + (kind == "csv")
    assert not slow.may_end.is_set()
    slow.may_end.set()
    waiting.join(30)


def test_a_search_that_nobody_waits_for_is_left_out(address: str, slow: SlowReranker) -> None:
    waiting = [threading.Thread(target=results, args=(address, "slow"))]
    waiting[0].start()
    assert slow.begun.wait(30)
    body = json.dumps({"headline": "gone", "reranker": "slow", "top_k": TOP_K})
    head = f"POST /search/results HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
        ask(f"{address}/search/status")  # the request is read by now
    waiting.append(threading.Thread(target=results, args=(address, "after")))
    waiting[1].start()
    ask(f"{address}/search/status")
    slow.may_end.set()
    for one in waiting:
        one.join(30)
    assert slow.titles == ["slow", "after"]


@pytest.mark.parametrize(
    ("headline", "values", "status", "said"),
    [
        (" ", {}, 400, "there is no headline to search for"),
        ("a", {"reranker": "other"}, 400, "reranker must be one of slow, got 'other'"),
        ("a", {"top_k": 0}, 400, "Candidates must be 1 to 100, got 0"),
        ("a", {"top_k": 101}, 400, "Candidates must be 1 to 100, got 101"),
        ("a", {"top_k": "many"}, 422, "top_k: Input should be a valid integer"),
        ("a", {"filter": {"name": ["zzz"]}}, 400, "0 of 12 pictures match data.filter"),
        ("a", {"filter": {"colour": ["red"]}}, 400, "data.filter takes licence"),
        ("a", {"like": "zzz"}, 400, "no picture has the id 'zzz'"),
        ("defect", {}, 500, "this failed: RuntimeError: out of memory"),
    ],
)
def test_what_cannot_be_searched_for_is_explained_and_the_next_search_works(
    headline: str, values: dict[str, Any], status: int, said: str, address: str
) -> None:
    code, found = results(address, headline, **values)
    assert code == status
    assert found["message"].startswith(said)
    assert results(address, "abba")[0] == 200


def test_more_candidates_than_pictures_are_all_pictures(address: str) -> None:
    assert results(address, "abba", top_k=100)[1]["n_candidates"] == 12


def test_what_fails_while_loading_is_told(components: Components) -> None:
    def fail() -> Any:
        raise ValueError("no complete index in index")

    loading = Loading(fail, dict)
    assert loading.describe() == {"state": "loading", "step": ""}
    loading.start()
    assert loading.failed.wait(30)
    assert loading.describe() == {"state": "failed", "message": "no complete index in index"}
