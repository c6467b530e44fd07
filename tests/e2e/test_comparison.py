"""The comparison of runs in a real browser: what a reader clicks, types and sees."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page
from compared_runs import draw_candidates, mark_unsure, write_compared
from report_pages import read_data

from newsimg.reporting.comparing.writing import Choices, compare_runs

pytestmark = [pytest.mark.slow, needs_chromium]

SCRIPT = "<script>document.title = 'run'</script> & <b>bold</b>"
Headline = dict[str, Any]


@pytest.fixture(scope="module")
def comparison(newsroom: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = newsroom.load()
    first = replace(tiny.queries[0], title=SCRIPT)
    collection = replace(tiny, queries=(first, *tiny.queries[1:]))
    folder = tmp_path_factory.mktemp("runs")
    folders = [
        write_compared(
            folder / name, collection, draw_candidates(collection, i), {"reranker": name}
        )
        for i, name in enumerate(("identity", "nnn", "<i>aesthetics</i>"))
    ]
    mark_unsure(folders[1], [query.query_id for query in collection.queries[2:8]])
    path = folder / "compare.html"
    compare_runs(folders, Choices(3, 0, ("hits_at_1", "mrr_at_10"), False), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


def open_comparison(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    page, said, asked = open_page(browser, path, **options)
    page.locator(".strip").first.wait_for()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    return page, said


@pytest.fixture
def page(browser: Any, comparison: Path) -> Iterator[Any]:
    page, said = open_comparison(browser, comparison)
    yield page
    page.close()
    assert said == []


def list_ids(page: Any) -> list[str]:
    return page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.id)")


def rank_of(headline: Headline, run: int) -> float:
    return headline["relevant"][0][2][run] or 13  # the first rank that no candidate has


def classify(headline: Headline, first: int, second: int) -> str:
    found = rank_of(headline, first) == 1, rank_of(headline, second) == 1
    return {(False, True): "won", (True, False): "lost", (True, True): "both"}.get(found, "neither")


def read_counts(page: Any) -> dict[str, int]:
    buttons = page.locator("#filters button").evaluate_all(
        "all => all.map(one => [one.dataset.filter, Number(one.querySelector('b').textContent)])"
    )
    return dict(buttons)


def test_filters_of_any_two_runs_add_up_and_show_their_headlines(
    page: Any, comparison: Path
) -> None:
    headlines = read_data(comparison)["headlines"]
    for option, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
        page.locator("#pair").select_option(str(option))
        counts = read_counts(page)
        for name in ("won", "lost", "both", "neither"):
            own = [h["id"] for h in headlines if classify(h, first, second) == name]
            assert counts[name] == len(own)
            page.locator(f"#filters [data-filter={name}]").click()
            assert list_ids(page) == own
        same = sum(h["runs"][first][0][0] == h["runs"][second][0][0] for h in headlines)
        assert (counts["same"], counts["differs"]) == (same, 60 - same)
        unsure = [h["id"] for h in headlines[2:8] if 1 in (first, second)]
        assert (counts["unsure"], counts["sure"]) == (len(unsure), 60 - len(unsure))
        page.locator("#filters [data-filter=unsure]").click()
        assert list_ids(page) == unsure
        assert sum(counts[name] for name in ("won", "lost", "both", "neither")) == 60
        page.locator("#filters [data-filter=all]").click()


def test_a_card_tells_which_run_finds_the_editors_picture(page: Any, comparison: Path) -> None:
    headlines = read_data(comparison)["headlines"]
    for position in (0, 1, 2):
        card, headline = page.locator(".card").nth(position), headlines[position]
        labels = card.locator(".strip").count()
        assert labels == 3
        for run in range(3):
            text = card.locator(".stage .label").nth(run).inner_text()
            rank = headline["relevant"][0][2][run]
            words = {1: "finds the editor’s picture", None: "editor’s picture not a candidate"}
            unsure = " · unsure: left without a picture" * (position == 2 and run == 1)
            assert text.endswith(words.get(rank, f"editor’s picture #{rank}") + unsure)
    assert page.locator("h2").first.inner_text() == SCRIPT
    assert page.locator("#pair option").nth(1).inner_text().startswith("3 against 1: <i>aesthetics")


def test_headlines_are_sorted_by_the_change_of_rank(page: Any, comparison: Path) -> None:
    headlines = read_data(comparison)["headlines"]
    rises = {h["id"]: rank_of(h, 0) - rank_of(h, 1) for h in headlines}
    page.locator("#sort").select_option("rises")
    assert list_ids(page) == sorted(rises, key=lambda name: -rises[name])
    page.locator("#sort").select_option("falls")
    assert list_ids(page) == sorted(rises, key=lambda name: rises[name])


def test_the_head_has_the_tests_and_what_differs(page: Any, comparison: Path) -> None:
    data = read_data(comparison)
    tables = page.locator("#tables table")
    assert [table.splitlines()[0].lower() for table in tables.all_inner_texts()] == [
        "runs",
        "differences",
        "what differs between the configs",
    ]
    rows = tables.nth(1).locator("tbody tr").all_inner_texts()
    assert len(rows) == 4
    for row, test in zip(rows, data["tests"], strict=True):
        assert f"{abs(test['value']):.4f}" in row
        assert row.endswith(f"{test['p']:.4f}")
    assert "against identity on 60 headlines" in page.locator("#testing").inner_text()
    assert "Holm-corrected for 2 pairs" in page.locator("#testing").inner_text()


def test_state_is_in_the_hash_and_survives_a_reload(page: Any) -> None:
    page.keyboard.press("p")
    page.locator("#sort").select_option("unlike")
    page.locator("#search").fill("ferry")
    shown = list_ids(page)
    assert page.url.endswith("#pair=1&q=ferry&sort=unlike")
    assert 0 < len(shown) < 60
    page.reload()
    page.locator(".strip").first.wait_for()
    assert list_ids(page) == shown
    assert page.locator("#pair").input_value() == "1"
    page.evaluate("location.hash = 'pair=99&filter=odd&sort=odd'")
    page.wait_for_function("document.querySelectorAll('.card').length == 60")
    assert page.locator("#pair").input_value() == "0"


def test_pictures_open_whole_and_the_focus_returns(page: Any, comparison: Path) -> None:
    headline = read_data(comparison)["headlines"][0]
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.viewer")
    dialog.wait_for()
    assert "identity, rank 1" in dialog.inner_text().lower()
    value = headline["runs"][0][0][3]
    assert f"{value:.4f}" in dialog.locator(".why").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.matches('.strip button')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_and_nothing_overflows(
    scheme: str, width: int, browser: Any, comparison: Path
) -> None:
    view = {"width": width, "height": 844}
    page, said = open_comparison(browser, comparison, color_scheme=scheme, viewport=view)
    assert list_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("#help").click()
    assert list_violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#search").fill("no such headline")
    assert list_violations(page) == []
    page.keyboard.press("Escape")
    page.locator(".strip button").nth(6).click()
    assert list_violations(page) == []
    assert said == []
    page.close()


def test_print_has_all_headlines(browser: Any, comparison: Path, tmp_path: Path) -> None:
    page, _ = open_comparison(browser, comparison, color_scheme="dark")
    page.pdf(path=tmp_path / "comparison.pdf")
    assert page.locator(".strip").count() == 180
    page.emulate_media(media="print")
    assert page.locator("#printed").inner_text() == "60 headlines"
    assert not page.locator("#pair").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.close()
