"""The judging page: by HTTP with many people at once, and in a browser by keys."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page

from newsimg.app.judging.access import Access, Caller, make_token, read_key
from newsimg.app.judging.asking import Judging
from newsimg.app.judging.page import JudgingPage, make_router
from newsimg.app.judging.questions import PAIR, Question, Rules
from newsimg.app.judging.results import read_answers
from newsimg.app.judging.tables import Database
from newsimg.app.server import create_app, serve
from newsimg.datatypes import Image

N_ARTICLES = 50
OWNER = "owner-token"
SCRIPT = "<img src=x onerror=alert(1)> & \"quotes\" 'too'"

TUNING = "newsimg task=tune reranker=aesthetics data.ratings=ratings.csv"


@dataclass
class Served:
    """A served judging."""

    url: str
    database: Database
    access: Access
    images: dict[tuple[str, str], Image]

    def ask(self, path: str, token: str, body: Any = None) -> Any:
        """Send a request with a token; return the JSON."""
        request = Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=60) as answer:
            content = answer.read()
            is_json = answer.headers["Content-Type"].startswith("application/json")
        return json.loads(content) if is_json else content


@pytest.fixture
def served(newsroom: Any) -> Iterator[Served]:
    """Fifty headlines with two pictures each; twenty people have tokens."""
    paths = sorted(newsroom.image_dir.iterdir())
    asked = [Question(PAIR, f"q{i}", f"a{i}", f"b{i}", 0.5, 20) for i in range(N_ARTICLES)]
    images = {}
    for i, one in enumerate(asked):
        images[one.article_id, one.first] = Image(one.first, paths[i])
        images[one.article_id, one.second] = Image(one.second, paths[i + 1])
    database = Database("sqlite:///judging.db")
    rules = Rules(0.0, 0.0, 5, "random", 1800.0, 3)
    access = Access([f"token{i}" for i in range(20)], OWNER)
    page = JudgingPage(
        judging=Judging(database, asked, rules),
        access=access,
        titles={one.article_id: f"Headline {one.article_id} {SCRIPT}" for one in asked},
        leads={one.article_id: f"Lead {one.article_id} {SCRIPT}" for one in asked[:-1]},
        images=images,
        names=("baseline", "aesthetics"),
        shown={
            (one.article_id, image_id): (name,)
            for one in asked
            for image_id, name in ((one.first, "baseline"), (one.second, "aesthetics"))
        },
        guidelines="Choose the better one.",
        seed=1,
        tuning={"aesthetics": TUNING},
    )
    with serve(create_app([make_router(page)]), None) as url:
        yield Served(url, database, access, images)


def work(served: Served, token: str, favourite: str) -> int:
    """Answer everything by HTTP, for the picture of one run where it can be told by its bytes."""
    asked, n = served.ask("/judge/next", token), 0
    while asked["question"] is not None:
        body = {"assignment": asked["question"]["assignment"], "choice": favourite, "seconds": 1.5}
        asked = served.ask("/judge/answer", token, body)
        assert asked["kept"]
        n += 1
    return n


@pytest.mark.slow
def test_twenty_people_give_fifty_answers_each_at_once_and_none_is_lost_or_twice(
    served: Served,
) -> None:
    served.access._used.clear()
    with ThreadPoolExecutor(20) as pool:
        numbers = list(
            pool.map(lambda i: work(served, f"token{i}", ("left", "tie")[i % 2]), range(20))
        )
    assert numbers == [N_ARTICLES] * 20
    table = read_answers(served.database)
    assert len(table) == 20 * N_ARTICLES
    assert not table.duplicated(["article_id", "rater"]).any()
    assert table["rater"].nunique() == 20


def refused(served: Served, path: str, token: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(HTTPError) as caught:
        served.ask(path, token, body)
    return caught.value.code, json.loads(caught.value.read())["message"]


def test_there_is_no_answer_and_no_picture_without_a_token_and_results_need_the_owners(
    served: Served,
) -> None:
    body = {"assignment": 1, "choice": "left", "seconds": 1}
    for path, content in (
        ("/judge/next", None),
        ("/judge/pictures/1/left", None),
        ("/judge/answer", body),
        ("/judge/undo", {}),
    ):
        assert refused(served, path, "wrong", content)[0] == 401
    assert refused(served, "/judge/results", "token1")[0] == 401
    withdrawal = {"reason": "no", "people": [1]}
    assert refused(served, "/judge/withdraw", "token1", withdrawal)[0] == 401
    assert refused(served, "/judge/restore", "token1", {"withdrawal": 1})[0] == 401
    assert refused(served, "/judge/export/ratings.csv", "token1")[0] == 401
    assert len(read_answers(served.database)) == 0
    asked = served.ask("/judge/next", "token1")["question"]["assignment"]
    # A picture of another person's question is not sent.
    served.ask("/judge/next", "token2")
    assert refused(served, f"/judge/pictures/{asked}/left", "token2")[0] == 404
    unknown = {"assignment": asked, "choice": "yes", "seconds": 1}
    status, message = refused(served, "/judge/answer", "token1", unknown)
    assert status == 400
    assert "the answer must be one of left, right, tie" in message


def test_too_many_requests_are_refused_for_a_minute() -> None:
    now = [0.0]
    access = Access(["good"], OWNER, lambda: now[0])
    for _ in range(300):
        assert access.check(Caller("Bearer good")) == "good"
    with pytest.raises(Exception, match="too many requests"):
        access.check(Caller("Bearer good"))
    for _ in range(60):
        with pytest.raises(Exception, match="the whole link"):
            access.check(Caller("Bearer bad", "192.0.2.1"))
    with pytest.raises(Exception, match="too many requests"):
        access.check(Caller("Bearer other", "192.0.2.1"))
    with pytest.raises(Exception, match="the whole link"):
        access.check(Caller("Bearer other", "192.0.2.2"))
    now[0] = 61.0
    assert access.check(Caller("Bearer good")) == "good"


def test_wrong_tokens_are_counted_by_the_address_that_the_proxy_tells(served: Served) -> None:
    served.access._used.clear()

    def come_from(told: str) -> int:
        headers = {"Authorization": "Bearer no", "X-Forwarded-For": told}
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(served.url + "/judge/next", headers=headers), timeout=60)
        return int(caught.value.code)

    # nginx appends the address that it sees: what a sender writes before it is not believed.
    assert {come_from(f"198.51.100.{i}, 192.0.2.1") for i in range(60)} == {401}
    assert come_from("203.0.113.9, 192.0.2.1") == 429
    assert come_from("192.0.2.2") == 401


def test_a_picture_is_sent_without_its_name_and_metadata(served: Served) -> None:
    number = served.ask("/judge/next", "token3")["question"]["assignment"]
    content = served.ask(f"/judge/pictures/{number}/left", "token3")
    assert content[:3] == b"\xff\xd8\xff"
    assert b"Exif" not in content


def test_tokens_are_the_same_each_time_and_of_a_key_for_the_owner_alone() -> None:
    key = read_key(Path("judging.key"))
    assert read_key(Path("judging.key")) == key
    assert Path("judging.key").stat().st_mode & 0o077 == 0
    assert make_token(key, "person 1") == make_token(key, "person 1") != make_token(key, "person 2")
    Path("other.key").write_text("short")
    with pytest.raises(ValueError, match="a file that newsimg-judge wrote"):
        read_key(Path("other.key"))


def wait_for(page: Any, n_answered: int) -> None:
    page.wait_for_function(
        "n => document.getElementById('progress').textContent.startsWith(`${n} answered`)"
        " && document.getElementById('question').ariaBusy === 'false'",
        arg=n_answered,
    )


def withdraw_and_undo(results: Any) -> None:
    """Save the ratings, withdraw the answers of a person and about a headline, and undo it."""
    shown = "text => document.getElementById('done').textContent.startsWith(text)"
    with results.expect_download() as saved:
        results.click("#files >> text=Ratings")
    assert saved.value.suggested_filename == "ratings.csv"
    ratings = pd.read_csv(saved.value.path())
    assert set(ratings["rater"]) == {"r1", "r2"}
    assert list_violations(results) == []
    for boxes, n in (("people", 6), ("articles", 1)):
        results.locator(f"input[name={boxes}]").last.check()
        results.locator("button:has-text('Withdraw answers'):enabled").click()
        results.press("#reason", "Enter")  # no reason: the browser asks for it
        assert results.evaluate("document.getElementById('confirm').open")
        assert list_violations(results) == []
        results.fill("#reason", "<b>late</b>")
        results.press("#reason", "Enter")
        results.wait_for_function(shown, arg=f"{n} answer")
        assert "<b>late</b>" in results.text_content("#withdrawals")
    for n in ("1 answer count", "6 answers count"):
        results.click("#undo")
        results.wait_for_function(shown, arg=n)
    assert results.locator("#withdrawals").count() == 0


@pytest.mark.slow
@needs_chromium
@pytest.mark.slow
def test_two_people_judge_by_keys_at_once_and_nothing_on_the_page_tells_the_runs(
    served: Served,
) -> None:
    with open_browser() as browser:
        opened = [open_page(browser, f"{served.url}/#t=token{i}") for i in (0, 1)]
        for page, _, _ in opened:
            wait_for(page, 0)
        headlines = [page.text_content("#headline") for page, _, _ in opened]
        assert all(SCRIPT in text for text in headlines)  # as text
        assert SCRIPT in (opened[0][0].text_content("#lead") or SCRIPT)
        for number, key in enumerate(["ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp", "h", "p"]):
            for page, _, _ in opened:
                page.keyboard.press(key)
            for page, _, _ in opened:
                wait_for(page, number + 1)
        ada, said, asked = opened[0]
        boxes = [ada.locator(side).bounding_box() for side in ("#left", "#right")]
        assert boxes[0]["width"] == boxes[1]["width"]
        assert boxes[0]["height"] == boxes[1]["height"]
        fit = "getComputedStyle(document.getElementById('leftPicture')).objectFit"
        assert ada.evaluate(fit) == "cover"
        ada.keyboard.press("u")
        assert ada.evaluate(fit) == "contain"
        html = re.sub(r'"blob:[^"]*"', "", ada.content())
        for secret in ("baseline", "aesthetics", "token0"):
            assert secret not in html
        assert not re.search(r"\b[ab]\d{1,2}\b", html)  # ids of pictures
        assert not any("token0" in url for url in asked[1:])  # it is in no request's address

        ada.keyboard.press("z")
        wait_for(ada, 5)
        shown = ada.text_content("#headline")
        ada.reload()
        wait_for(ada, 5)
        assert ada.text_content("#headline") == shown  # it goes on where it was
        ada.click("#guidelines summary")
        ada.reload()
        wait_for(ada, 5)
        assert not ada.evaluate("document.getElementById('guidelines').open")
        assert list_violations(ada) == []
        assert said == []

        table = read_answers(served.database)
        assert len(table) == 11
        assert set(table["choice"]) >= {"tie", "neither", "headline_unclear", "picture_unusable"}

        results, said, _ = open_page(browser, f"{served.url}/results#t={OWNER}")
        results.wait_for_selector("#preference")
        assert "95 % interval" in results.text_content("#preference")
        assert results.text_content("#progress") == "11 of 1000 planned answers."
        assert results.text_content("pre.command") == TUNING
        assert results.locator("tbody tr").count() >= 6
        withdraw_and_undo(results)
        assert said == []
        stranger, _, _ = open_page(browser, f"{served.url}/#t=nobody")
        stranger.wait_for_selector("#message:not([hidden])")
        assert "the whole link" in stranger.text_content("#message")


@pytest.mark.slow
@needs_chromium
@pytest.mark.slow
def test_a_picture_that_cannot_be_read_is_said_and_can_be_answered_so(
    served: Served, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for key in list(served.images):
        if key[1].startswith("a"):
            served.images[key] = Image(key[1], broken)
    with open_browser() as browser:
        page, _, _ = open_page(browser, f"{served.url}/#t=token5")
        page.wait_for_selector("#message:not([hidden])")
        wait_for(page, 0)
        assert "broken.jpg" not in page.text_content("#message")
        page.keyboard.press("p")
        wait_for(page, 1)
        sources = [page.get_attribute(f"#{side}Picture", "src") for side in ("left", "right")]
        assert None in sources  # nothing is left of the question before
    assert list(read_answers(served.database)["choice"]) == ["picture_unusable"]
