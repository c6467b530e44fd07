"""The page of a run, in a real browser: what a reader clicks, types and sees."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_pages import PLAIN, rank, read_data

from newsimg.datatypes import Collection, Query
from newsimg.reporting.page import Details, write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

SCRIPT = "<script>document.title = 'run'</script> & <b>bold</b>"


@pytest.fixture(scope="module")
def collection(newsroom: Any) -> Collection:
    tiny = newsroom.load()
    return replace(tiny, queries=(Query(tiny.queries[0].query_id, SCRIPT), *tiny.queries[1:]))


@pytest.fixture(scope="module")
def report(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    retrieved, reranked = rank(collection)
    details = Details(
        facts=["tiny", "60 headlines"],
        measures={"Hits@1": (0.25, 0.5)},
        parts={"fit": np.full(retrieved.rows.shape, 3.25, np.float32)},
        captions=[
            ["<i>a ferry</i> in port", f"caption of {q.query_id}"] for q in collection.queries
        ],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, collection, retrieved, reranked, details)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def open_page(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """Open a file; return the page, what the console says, and what is asked of the network."""
    page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.locator(".card").first.wait_for()
    return page, said, asked


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    page, said, asked = open_page(browser, report)
    yield page
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def list_ids(page: Any) -> list[str]:
    return page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.id)")


def ids_of(report: Path, **wanted: str) -> list[str]:
    queries = read_data(report)["queries"]
    return [q["id"] for q in queries if all(q[key] == value for key, value in wanted.items())]


def test_headlines_are_filtered_by_what_became_of_them(page: Any, report: Path) -> None:
    assert list_ids(page) == ids_of(report)
    for outcome in ("helped", "hurt", "unchanged"):
        button = page.get_by_role("button", name=outcome)
        button.click()
        expected = ids_of(report, outcome=outcome)
        assert list_ids(page) == expected
        assert expected
        assert button.inner_text().split() == [outcome, str(len(expected))]
        assert page.locator("#count").inner_text() == f"{len(expected)} of 60"


def test_headlines_are_searched_without_regard_to_case_and_accents(
    page: Any, collection: Collection
) -> None:
    page.locator("#search").fill("uberSCHWEMMUNG")
    found = [q.query_id for q in collection.queries if "Überschwemmung" in q.title]
    assert list_ids(page) == found
    page.locator("#search").fill("洪水")
    assert len(list_ids(page)) == len([q for q in collection.queries if "洪水" in q.title])
    assert page.locator("mark").first.inner_text() == "洪水"
    page.locator("#search").fill("no such headline")
    assert list_ids(page) == []
    page.get_by_role("button", name="Show all").click()
    assert len(list_ids(page)) == 60


def test_headlines_are_sorted_by_the_lead_of_the_first_picture(page: Any, report: Path) -> None:
    queries = read_data(report)["queries"]
    page.locator("#sort").select_option("close")
    assert list_ids(page) == [q["id"] for q in sorted(queries, key=lambda q: q["gap"])]
    page.locator("#sort").select_option("clear")
    assert list_ids(page) == [q["id"] for q in sorted(queries, key=lambda q: -q["gap"])]


def test_a_headline_with_a_script_in_it_stays_text(page: Any) -> None:
    assert page.locator(".card h2").first.inner_text() == SCRIPT
    assert page.locator(".card h2 b").count() == 0
    assert page.title() == "newsimg report"


def test_a_picture_tells_its_scores_criteria_and_captions_on_hover(page: Any, report: Path) -> None:
    query = read_data(report)["queries"][1]
    page.locator(".card").nth(1).locator(".after li").first.hover()
    text = page.locator("#tip").inner_text()
    image_id, before, after, retrieval, rerank, fused, fit = query["candidates"][
        str(query["after"][0])
    ]
    assert f"{image_id}: #{before} → #{after}" in text
    for value in (retrieval, rerank, fused, fit):
        assert f"{value:.4f}" in text
    assert "<i>a ferry</i> in port" in text
    assert f"caption of {query['id']}" in text


def test_arrows_tell_how_far_a_picture_moved(page: Any, report: Path) -> None:
    query = read_data(report)["queries"][2]
    shown = page.locator(".card").nth(2).locator(".after .move").all_inner_texts()
    moves = [query["candidates"][str(row)][1] - query["candidates"][str(row)][2]
             for row in query["after"]]  # fmt: skip
    assert shown == [f"{'▲' if move > 0 else '▼'}{abs(move)}" if move else "=" for move in moves]


def test_all_is_within_reach_of_the_keyboard(page: Any, report: Path) -> None:
    page.keyboard.press("2")
    assert list_ids(page) == ids_of(report, outcome="helped")
    page.keyboard.press("1")
    page.keyboard.press("s")
    assert page.locator("#sort").input_value() == "close"
    page.keyboard.press("j")
    page.keyboard.press("j")
    focused = page.evaluate("document.activeElement.dataset.id")
    assert focused == list_ids(page)[1]
    page.wait_for_timeout(200)  # the page scrolls there, and scrolling hides what is shown on hover
    page.keyboard.press("ArrowRight")
    page.locator("#tip").wait_for(state="visible")
    page.keyboard.press("/")
    page.keyboard.type("ferry")
    assert 0 < len(list_ids(page)) < 60
    page.keyboard.press("Escape")
    assert len(list_ids(page)) == 60
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()


def test_the_page_is_dark_where_the_reader_is(browser: Any, report: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page, said, _ = open_page(browser, report, color_scheme=scheme)
        colour = "getComputedStyle(document.body).backgroundColor"
        shades[scheme] = sum(map(int, page.evaluate(colour)[4:-1].split(",")))
        page.keyboard.press("d")
        toggled = sum(map(int, page.evaluate(colour)[4:-1].split(",")))
        assert (toggled < 150) == (scheme == "light")
        assert said == []
        page.close()
    assert shades["dark"] < 150 < 600 < shades["light"]


def test_print_shows_no_controls_and_dark_letters(browser: Any, report: Path) -> None:
    page, _, _ = open_page(browser, report, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("#search").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()


def test_beyond_200_headlines_more_come_as_one_scrolls(
    browser: Any, collection: Collection, tmp_path: Path
) -> None:
    queries = tuple(
        Query(f"q{i}", f"Headline {i}, about {collection.queries[i % 60].query_id}")
        for i in range(450)
    )
    many = replace(collection, queries=queries, qrels=None)
    retrieved, reranked = rank(many)
    write_report(tmp_path / "many.html", many, retrieved, reranked, PLAIN)
    page, said, _ = open_page(browser, tmp_path / "many.html")
    assert len(list_ids(page)) == 200
    assert page.locator("#more").inner_text() == "Show 200 more of 250"
    page.locator("#more").scroll_into_view_if_needed()
    page.locator(".card").nth(399).wait_for()
    page.locator("#search").fill("Headline 449")
    assert list_ids(page) == ["q449"]
    page.locator("#search").fill("")
    page.get_by_role("button", name="changed").first.click()
    expected = int((retrieved.rows[:, 0] != reranked.rows[:, 0]).sum())
    assert page.locator("#count").inner_text() == f"{expected} of 450"
    assert said == []
    page.close()
