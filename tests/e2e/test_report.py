"""The report in a real browser: what a reader clicks, types and sees."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page
from PIL import Image as PILImage
from report_pages import PLAIN, rank_stages, read_data

from newsimg.datatypes import Collection, Query
from newsimg.reporting.pages.cards import Stages
from newsimg.reporting.pages.report import Details, write_report
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.zscore import ZScoreWeight

pytestmark = [pytest.mark.slow, needs_chromium]

SCRIPT = "<script>document.title = 'run'</script> & <b>bold</b>"
LONG = "Überlange Meldung \U0001f409 " + "x" * 25_000
HEBREW = "גשר נסגר בגלל שיטפון"
TEST = {"low": -0.125, "high": 0.375, "p": 0.0123}


@pytest.fixture(scope="module")
def collection(newsroom: Any, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    tiny = newsroom.load()
    titles = {0: SCRIPT, 3: LONG, 4: HEBREW}
    queries = [
        replace(query, title=titles.get(i, query.title)) for i, query in enumerate(tiny.queries)
    ]
    tall = tmp_path_factory.mktemp("pictures") / "tall é.png"
    PILImage.new("RGB", (30, 90), (200, 30, 30)).save(tall)
    metadata = {"licence": "CC BY 4.0", "author": "<b>Ada</b>", "page_url": "https://x.example/1"}
    images = [replace(image, metadata=metadata) for image in tiny.images]
    images[7] = replace(images[7], path=tall)
    return replace(tiny, queries=tuple(queries), images=tuple(images))


@pytest.fixture(scope="module")
def report(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(collection, weight)
    scores = replace(
        scores,
        components={"fit": np.full(retrieved.rows.shape, 3.25, np.float32)},
        captions=[
            ["<i>a ferry</i> in port", f"caption of {q.query_id}"] for q in collection.queries
        ],
        best_captions=np.ones(retrieved.rows.shape, np.int64),
    )
    cut = replace(retrieved, truncated=[position == 3 for position in range(60)])
    details = Details(
        facts=["tiny", "60 headlines"],
        measures=[{"name": "Hits@1", "before": 0.25, "after": 0.5, **TEST}],
        settings={"reranker": "hubness", "normalisation": "minmax", "weight": 0.5},
        curve={
            "name": "Hits@1",
            "points": [[0, 0.25], [0.4, 0.25], [0.4, 0.5], [1, 0.5]],
            "weight": 0.5,
            "value": 0.5,
            "best": [0.4, 1.0, 0.5],
        },
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, Stages(collection, cut, reranked, scores, weight, 77), details)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


def open_report(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    page, said, asked = open_page(browser, path, **options)
    page.locator(".strip").first.wait_for()
    return page, said, asked


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    page, said, asked = open_report(browser, report)
    yield page
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def list_ids(page: Any) -> list[str]:
    return page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.id)")


def classify(headline: dict[str, Any]) -> str:
    ((_, _, before, after),) = headline["relevant"]
    if before is None:
        return "not a candidate"
    if before == after:
        return "stays first" if before == 1 else "same rank"
    if after == 1:
        return "helped"
    if before == 1:
        return "hurt"
    return "up" if after < before else "down"


def press_filter(page: Any, name: str) -> Any:
    button = page.locator("#filters button").filter(has_text=re.compile(rf"^{name} "))
    button.click()
    return button


def test_filters_by_the_editors_picture_add_up_and_show_their_headlines(
    page: Any, report: Path
) -> None:
    headlines = read_data(report)["headlines"]
    kinds = Counter(map(classify, headlines))
    shown = page.locator("[aria-label='editor’s picture'] button b").all_inner_texts()
    assert sum(map(int, shown)) == 60 == sum(kinds.values())
    assert len(kinds) >= 6
    for kind, n in kinds.items():
        button = press_filter(page, kind)
        assert list_ids(page) == [h["id"] for h in headlines if classify(h) == kind]
        assert button.inner_text().split()[-1] == str(n)
        assert page.locator("#count").inner_text() == f"{n} of 60"


def test_filters_by_the_first_picture_add_up_too(page: Any, report: Path) -> None:
    headlines = read_data(report)["headlines"]
    changed = [h["id"] for h in headlines if h["before"][0] != h["after"][0]]
    press_filter(page, "changed")
    assert list_ids(page) == changed
    press_filter(page, "unchanged")
    assert list_ids(page) == [h["id"] for h in headlines if h["id"] not in changed]
    page.locator("#help").click()
    assert "another picture comes first after reranking" in page.locator("#keys").inner_text()


def test_headlines_are_searched_without_regard_to_case_and_accents(
    page: Any, collection: Collection
) -> None:
    page.locator("#search").fill("uberSCHWEMMUNG")
    found = [q.query_id for q in collection.queries if "Überschwemmung" in q.title]
    assert list_ids(page) == found
    assert page.locator("mark").first.inner_text() == "Überschwemmung"
    page.locator("#search").fill("洪水")
    assert len(list_ids(page)) == len([q for q in collection.queries if "洪水" in q.title])
    assert page.locator("mark").first.inner_text() == "洪水"
    page.locator("#search").fill("no such headline")
    assert list_ids(page) == []
    page.get_by_role("button", name="Show all").click()
    assert len(list_ids(page)) == 60


def test_searching_brings_the_first_hit_into_view(page: Any, collection: Collection) -> None:
    page.evaluate("scrollTo(0, 9000)")
    page.locator("#search").fill("洪水")
    first = page.locator(".card").first
    top = first.bounding_box()["y"]
    below = page.locator(".bar").bounding_box()
    assert below["y"] + below["height"] <= top + 1
    assert top < 500
    assert "洪水" in first.locator("h2").inner_text()


def test_headlines_are_sorted_by_the_lead_of_the_first_picture(page: Any, report: Path) -> None:
    headlines = read_data(report)["headlines"]
    page.locator("#sort").select_option("close")
    assert list_ids(page) == [h["id"] for h in sorted(headlines, key=lambda h: h["gap"])]
    page.locator("#sort").select_option("clear")
    assert list_ids(page) == [h["id"] for h in sorted(headlines, key=lambda h: -h["gap"])]


def test_filter_search_and_sorting_are_in_the_address(browser: Any, report: Path) -> None:
    page, _, _ = open_report(browser, report)
    press_filter(page, "changed")
    page.locator("#search").fill("& 洪水")
    page.locator("#search").fill("洪水")
    page.locator("#sort").select_option("clear")
    ids, address = list_ids(page), page.url
    assert 0 < len(ids) < 60
    page.reload()
    assert list_ids(page) == ids
    assert page.locator("#search").input_value() == "洪水"
    other, said, _ = open_page(browser, address)
    assert list_ids(other) == ids
    other.goto(report.as_uri() + "#filter=nonsense&sort=nonsense&q=")
    other.reload()
    assert len(list_ids(other)) == 60
    assert said == []
    page.close()
    other.close()


def test_the_head_has_intervals_p_values_and_the_curve(page: Any) -> None:
    row = page.locator("#measures tr").inner_text()
    assert "0.2500 → 0.5000" in row
    assert "95 % [−0.1250, +0.3750], p = 0.0123" in row
    label = page.locator("#curve svg").get_attribute("aria-label")
    assert "0.5000 at this run’s weight 0.5; the best, 0.5000, is at 0.4 to 1." in label
    width = page.locator("#curve .axis").get_attribute("x2")
    assert float(page.locator("#curve .own").get_attribute("x1")) == 0.5 * float(width)


def test_a_headline_with_a_script_in_it_stays_text(page: Any) -> None:
    assert page.locator(".card h2").first.inner_text() == SCRIPT
    assert page.locator(".card h2 b").count() == 0
    assert page.title() == "newsimg report"


def test_a_headline_of_25_000_letters_is_shown_in_part_until_one_wants_all(page: Any) -> None:
    card = page.locator(".card").nth(3)
    heading = card.locator("h2")
    assert heading.bounding_box()["height"] < 160
    assert "The backbone read the first 77 tokens" in card.inner_text()
    card.get_by_role("button", name="Show the whole headline").click()
    assert heading.bounding_box()["height"] > 1000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1300


def test_a_headline_from_right_to_left_is_set_so(page: Any) -> None:
    heading = page.locator(".card").nth(4).locator("h2")
    assert heading.inner_text() == HEBREW
    assert heading.evaluate("one => getComputedStyle(one).direction") == "rtl"


def test_a_picture_has_the_shares_of_its_score_on_hover(page: Any, report: Path) -> None:
    headline = read_data(report)["headlines"][1]
    page.locator(".card").nth(1).locator(".after li").first.hover()
    page.locator("#tip").wait_for(state="visible")
    text = page.locator("#tip").inner_text()
    candidate = headline["candidates"][headline["after"][0]]
    assert f"#{candidate['before']} → #{candidate['after']}" in text
    for value in (*candidate["shares"], candidate["rerank"], candidate["fused"], 3.25):
        assert f"{value:.4f}" in text
    assert "retrieval × 0.5" in text
    assert "<i>a ferry</i> in port" in text
    assert f"caption of {headline['id']} (matches best)" in text


def measure_bar(page: Any, selector: str) -> list[tuple[float, float]]:
    """Return the left and right end of each segment, in shares of the bar."""
    return page.locator(selector).evaluate(
        """bar => { const box = bar.getBoundingClientRect();
            const at = x => (x - box.left) / box.width;
            return [...bar.children].map(one => one.getBoundingClientRect())
                .map(one => [at(one.left), at(one.right)]); }"""
    )


def test_segments_of_a_bar_add_up_to_the_fused_score_around_zero(
    browser: Any, collection: Collection, tmp_path: Path
) -> None:
    weight = ZScoreWeight(value=0.4)
    retrieved, reranked, scores = rank_stages(collection, weight)
    stages = Stages(collection, retrieved, reranked, scores, weight)
    write_report(tmp_path / "r.html", stages, PLAIN)
    headline = read_data(tmp_path / "r.html")["headlines"][0]
    page, _, _ = open_report(browser, tmp_path / "r.html")
    candidates = headline["candidates"].values()
    low = min(sum(share for share in one["shares"] if share < 0) for one in candidates)
    high = max(sum(share for share in one["shares"] if share > 0) for one in candidates)
    assert low < 0 < high
    for i, ref in enumerate(headline["after"]):
        shares = headline["candidates"][ref]["shares"]
        bars = measure_bar(page, f".card:first-child .after li:nth-child({i + 1}) .track")
        zero = bars[2][0]
        assert zero == pytest.approx(-low / (high - low), abs=0.02)
        lengths = [(end - start) * (high - low) for start, end in bars[:2]]
        assert lengths == pytest.approx([abs(share) for share in shares], abs=0.05)
        for (start, end), share in zip(bars[:2], shares, strict=True):
            assert (start >= zero - 0.02) if share > 0 else (end <= zero + 0.02)
    page.close()


def test_arrows_show_how_far_a_picture_moved(page: Any, report: Path) -> None:
    headline = read_data(report)["headlines"][2]
    shown = page.locator(".card").nth(2).locator(".after .move").all_inner_texts()
    own = [headline["candidates"][ref] for ref in headline["after"]]
    moves = [one["before"] - one["after"] for one in own]
    assert shown == [f"{'▲' if move > 0 else '▼'}{abs(move)}" if move else "=" for move in moves]


def test_a_picture_opens_whole_and_esc_returns_to_it(
    page: Any, report: Path, collection: Collection
) -> None:
    data = read_data(report)
    opened = page.locator(".card").nth(1).locator(".after button.picture").nth(1)
    opened.focus()
    page.keyboard.press("Enter")
    view = page.locator(".viewer")
    row = int(data["headlines"][1]["after"][1])
    image = collection.images[row]
    view.locator("img").evaluate("image => image.decode()")
    size = view.locator("img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    with PILImage.open(image.path) as original:
        assert tuple(size) == original.size
    text = view.inner_text()
    assert f"{size[0]} × {size[1]} pixels, {image.path.stat().st_size / 1000:.0f} kB" in text
    assert "CC BY 4.0" in text
    assert "<b>Ada</b>" in text
    assert view.get_by_role("link", name="https://x.example/1").count() == 1
    assert view.get_by_role("link", name="Open").get_attribute("href") == image.path.as_uri()
    page.keyboard.press("ArrowRight")
    assert "3 OF 5" in view.inner_text().upper()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "1 OF 5" in view.inner_text().upper()
    page.keyboard.press("Escape")
    assert not view.is_visible()
    assert opened.evaluate("one => one === document.activeElement")


def test_a_tall_picture_is_not_cropped(page: Any, report: Path) -> None:
    place = page.locator("li[data-ref='7'] img").first
    size = place.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [30, 90]
    assert place.evaluate("image => getComputedStyle(image).objectFit") == "contain"
    place.click()
    view = page.locator(".viewer img")
    view.evaluate("image => image.decode()")
    assert view.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [30, 90]


def test_a_picture_whose_file_has_gone_is_shown_as_its_thumbnail(
    browser: Any, collection: Collection, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = []
    for image in collection.images:
        (folder / image.path.name).write_bytes(image.path.read_bytes())
        images.append(replace(image, path=folder / image.path.name))
    moved = replace(collection, images=tuple(images))
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(moved, weight)
    write_report(tmp_path / "r.html", Stages(moved, retrieved, reranked, scores, weight), PLAIN)
    for path in folder.iterdir():
        path.unlink()
    page, _, _ = open_report(browser, tmp_path / "r.html")
    page.locator(".after button.picture").first.click()
    page.get_by_text("cannot be loaded; this is its thumbnail").wait_for()
    assert page.locator(".viewer img").get_attribute("src").startswith("data:image/webp")
    assert not page.get_by_role("link", name="Open").is_visible()
    page.close()


def test_a_report_that_was_moved_still_finds_the_pictures(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "report.html"
    moved.write_bytes(report.read_bytes())
    page, _, _ = open_report(browser, moved)
    page.locator(".after button.picture").first.click()
    page.locator(".viewer img").evaluate("image => image.decode()")
    page.wait_for_function("document.querySelector('.viewer img').naturalWidth >= 30")
    assert page.locator(".viewer img").get_attribute("src").startswith("file:")
    page.close()


def test_all_is_within_reach_of_the_keyboard(page: Any, report: Path) -> None:
    page.keyboard.press("2")
    headlines = read_data(report)["headlines"]
    assert list_ids(page) == [h["id"] for h in headlines if classify(h) == "helped"]
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
    assert page.locator("#keys").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_and_in_its_dialogs(
    scheme: str, browser: Any, report: Path
) -> None:
    page, said, _ = open_report(browser, report, color_scheme=scheme)
    assert list_violations(page) == []
    page.locator(".card").nth(1).locator(".after button.picture").first.click()
    assert list_violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#help").click()
    assert list_violations(page) == []
    page.keyboard.press("Escape")
    press_filter(page, "helped")
    page.locator("#search").fill("no such headline")
    assert list_violations(page) == []
    assert said == []
    page.close()


def test_axe_finds_nothing_on_a_phone_and_nothing_overflows(browser: Any, report: Path) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page, _, _ = open_report(browser, report, **options)
    assert list_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_the_page_is_dark_where_the_reader_is(browser: Any, report: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page, said, _ = open_report(browser, report, color_scheme=scheme)
        colour = "getComputedStyle(document.body).backgroundColor"
        shades[scheme] = sum(map(int, page.evaluate(colour)[4:-1].split(",")))
        page.keyboard.press("d")
        toggled = sum(map(int, page.evaluate(colour)[4:-1].split(",")))
        assert (toggled < 150) == (scheme == "light")
        page.reload()
        assert sum(map(int, page.evaluate(colour)[4:-1].split(","))) == toggled
        assert said == []
        page.close()
    assert shades["dark"] < 150 < 600 < shades["light"]


def test_print_has_all_headlines_in_dark_letters_and_their_number(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    page, _, _ = open_report(browser, report, color_scheme="dark")
    assert page.locator(".strip").count() < 120
    page.pdf(path=tmp_path / "report.pdf")
    assert page.locator(".strip").count() == 120
    content = (tmp_path / "report.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 60 // 4
    page.emulate_media(media="print")
    assert page.locator("#printed").inner_text() == "60 headlines"
    assert not page.locator("#search").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    colours = page.locator(".badge").evaluate_all(
        "all => all.map(one => getComputedStyle(one).color)"
    )
    assert all(max(map(int, colour[4:-1].split(","))) <= 150 for colour in colours)
    press = "document.querySelector(\"#filters [data-filter='helped']\").click()"
    page.evaluate(press)
    assert (
        page.locator("#printed").inner_text().endswith("of 60 headlines (editor’s picture: helped)")
    )
    page.close()


def test_of_many_headlines_those_near_the_window_are_drawn(
    browser: Any, collection: Collection, tmp_path: Path
) -> None:
    queries = tuple(
        Query(f"q{i}", f"Headline {i}, about {collection.queries[i % 60].query_id}")
        for i in range(450)
    )
    many = replace(collection, queries=queries, qrels=None)
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(many, weight)
    path = tmp_path / "many.html"
    write_report(path, Stages(many, retrieved, reranked, scores, weight), PLAIN)
    page, said, _ = open_report(browser, path)
    assert len(list_ids(page)) == 450
    assert page.locator(".strip").count() < 100
    page.locator(".card").nth(399).scroll_into_view_if_needed()
    page.locator(".card").nth(399).locator(".strip").first.wait_for()
    assert page.locator(".strip").count() < 200
    page.locator("#search").fill("Headline 449")
    assert list_ids(page) == ["q449"]
    page.locator("#search").fill("")
    press_filter(page, "changed")
    expected = int((retrieved.rows[:, 0] != reranked.rows[:, 0]).sum())
    assert page.locator("#count").inner_text() == f"{expected} of 450"
    assert page.locator(".editors").count() == 0
    assert said == []
    page.close()
