"""The preview page of a submission, in a browser and as a file."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page
from PIL import Image as PILImage
from submissions import draw, write_results
from test_submit import open_zipped, submit

from newsimg.datatypes import Image
from newsimg.reporting.results import Choice
from newsimg.submission.build import Entry
from newsimg.submission.preview import SCALES, Details, Preview, draw_thumb

pytestmark = pytest.mark.slow
SIZES = {"tall": (900, 1350), "wide": (1500, 500), "other": (920, 900), "strip": (300, 1200)}
PAGE = Path("out/submission.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Return two runs over four articles; run b uses a next best picture once."""
    random = np.random.default_rng(5)
    pictures = {}
    for name, size in SIZES.items():
        coarse = random.integers(0, 256, (size[1] // 60, size[0] // 60, 3), dtype=np.uint8)
        smooth = PILImage.fromarray(coarse).resize(size, PILImage.Resampling.BICUBIC)
        smooth.save(tmp_path / f"{name}.jpg", quality=92)
        pictures[name] = tmp_path / f"{name}.jpg"
    names = list(SIZES)
    first = {str(n): [name, names[n - 1]] for n, name in enumerate(names)}
    second = {str(n): [names[n - 1] if n else name, names[n - 2]] for n, name in enumerate(names)}
    return {
        "a": write_results(Path("a.parquet"), first, pictures),
        "b": write_results(Path("b.parquet"), second, pictures),
    }


def read_data(path: Path = PAGE) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def find_frame(page: Any, run: str, title: str) -> Any:
    section = page.locator(".run").filter(has=page.locator("h2", has_text=re.compile(f"^{run}")))
    return section.locator(".shot").filter(has_text=title).locator(".frame")


def save_crops(page: Any) -> list[dict[str, Any]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save crops").click()
    assert download.value.suggested_filename == "crops.json"
    download.value.save_as("crops.json")
    content = json.loads(Path("crops.json").read_text())
    assert content["version"] == 1
    return content["crops"]


def take_pixels(frame: Any) -> PILImage.Image:
    frame.scroll_into_view_if_needed()
    return PILImage.open(io.BytesIO(frame.screenshot())).convert("RGB")


def differ(shown: PILImage.Image, name: str, shift: int = 0) -> float:
    """Return the mean difference, in grey levels, of the page's picture to the zip's PNG.

    The PNG is moved by `shift` pixels, to the right and down; corners and the focus ring do not
    count.
    """
    own = open_zipped(name)
    moved = np.roll(np.asarray(own), (shift, shift), (0, 1))
    small = PILImage.fromarray(moved).resize(shown.size, PILImage.Resampling.BICUBIC)
    gap = np.abs(np.asarray(small, np.float64) - np.asarray(shown, np.float64))
    return float(gap[12:-12, 12:-12].mean())


def assert_shown(shown: PILImage.Image, name: str) -> None:
    gap = differ(shown, name)
    assert gap < 7  # WebP's; screenshots are of whole pixels
    assert min(differ(shown, name, shift) for shift in (-6, 6)) > 2 * gap


@needs_chromium
def test_crops_dragged_on_the_page_are_those_of_the_next_zip(
    browser: Any, runs: dict[str, Path]
) -> None:
    submit(runs)
    page, said, asked = open_page(browser, PAGE.absolute(), accept_downloads=True)
    assert page.locator(".shot .frame").count() == 8
    for run in "ab":
        for n in range(4):
            frame = find_frame(page, run, f"Headline of {n}")
            assert_shown(take_pixels(frame), f"team_{run}/{n}_team_{run}.png")

    by_mouse = find_frame(page, "a", "Headline of 0")
    by_mouse.scroll_into_view_if_needed()
    area = by_mouse.bounding_box()
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 40, steps=4)
    page.mouse.up()
    by_keys = find_frame(page, "a", "Headline of 1")
    by_keys.focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "ArrowLeft", "+", "+"):
        page.keyboard.press(key)
    by_select = find_frame(page, "a", "Headline of 2")
    by_select.locator("..").locator("select").select_option("letterbox")
    assert page.locator("#changed").inner_text() == "3 crops changed on this page"
    page.evaluate("document.activeElement.blur()")
    shown = [take_pixels(frame) for frame in (by_mouse, by_keys, by_select)]
    crops = {crop["article_id"]: crop for crop in save_crops(page)}
    assert not said
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []

    # The picture follows the mouse, so the box moves up by the same share of its height.
    left, top, right, bottom = crops["0"]["crop"]
    inner = 900 / 1350 * 260 / 460
    assert (left, right) == (0, 1)
    assert bottom - top == pytest.approx(inner, abs=1e-5)
    expected = (1 - inner) / 2 - 40 / area["height"] * inner
    assert top == pytest.approx(expected, abs=0.002)
    left, top, right, bottom = crops["1"]["crop"]
    width = 500 / 1500 * 460 / 260
    assert right - left == pytest.approx(width / 1.21, abs=1e-5)
    assert (left + right) / 2 == pytest.approx(0.5 + 0.18 * width, abs=1e-5)
    assert crops["2"] == {"run": "a", "article_id": "2", "image_id": "other", "crop": "letterbox"}

    metrics = submit(runs, crops="crops.json")
    assert metrics["n_crops"] == 3
    for n, pixels in enumerate(shown):
        assert_shown(pixels, f"team_a/{n}_team_a.png")
    again, *_ = open_page(browser, PAGE.absolute(), accept_downloads=True)
    assert again.locator("#changed").inner_text() == "0 crops changed on this page"
    assert {crop["article_id"]: crop for crop in save_crops(again)} == crops
    page.close()
    again.close()


@needs_chromium
def test_a_finger_moves_a_crop(browser: Any, runs: dict[str, Path]) -> None:
    submit(runs)
    size = {"width": 390, "height": 844}
    page, *_ = open_page(browser, PAGE.absolute(), viewport=size, has_touch=True, is_mobile=True)
    frame = find_frame(page, "a", "Headline of 0")
    frame.scroll_into_view_if_needed()
    area = frame.bounding_box()
    x, y = area["x"] + 100, area["y"] + 60
    touch = page.context.new_cdp_session(page)
    for kind, down in (("touchStart", 0), ("touchMove", 10), ("touchMove", 50), ("touchEnd", None)):
        points = [] if down is None else [{"x": x, "y": y + down}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert page.locator("#changed").inner_text() == "1 crop changed on this page"
    assert frame.locator("..").locator("select").input_value() == "hand"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


@needs_chromium
def test_changes_are_kept_in_the_url_and_by_the_browser_until_undone(
    browser: Any, runs: dict[str, Path]
) -> None:
    submit(runs)
    context = browser.new_context()
    page = context.new_page()
    page.goto(PAGE.absolute().as_uri())
    page.locator("#run").select_option("b")
    page.get_by_role("group", name="crop all shown:").get_by_role(
        "button", name="letterbox"
    ).click()
    assert page.locator("#changed").inner_text() == "4 crops changed on this page"
    page.reload()
    assert page.locator("#changed").inner_text() == "4 crops changed on this page"
    address = page.url
    page.goto("about:blank")
    page.goto(PAGE.absolute().as_uri())  # without the hash
    assert page.locator("#changed").inner_text() == "4 crops changed on this page"
    other = browser.new_page()
    other.goto(address)
    assert other.locator("#changed").inner_text() == "4 crops changed on this page"
    other.get_by_role("group", name="crop all shown:").get_by_role("button", name="written").click()
    assert other.locator("#changed").inner_text() == "0 crops changed on this page"
    assert "crops" not in other.url
    other.goto(PAGE.absolute().as_uri() + '#crops=[["x","left"]]&show=constructor&run=none')
    other.reload()
    assert other.locator("#count").inner_text() == "8 pictures"
    other.close()
    context.close()


@needs_chromium
def test_filters_and_the_search_show_what_they_say(browser: Any, runs: dict[str, Path]) -> None:
    metrics = submit(runs)
    assert metrics["n_replaced"] == 1
    page, *_ = open_page(browser, PAGE.absolute())
    page.get_by_role("button", name="next best 1").click()
    (replaced,) = [shot for shot in page.locator(".shot").all() if shot.is_visible()]
    assert "Next best: run a shows tall" in replaced.inner_text()
    page.get_by_role("button", name="all 8").click()
    page.keyboard.press("/")
    page.keyboard.type("héadline OF 3")
    assert page.locator("#count").inner_text() == "2 of 8 pictures"
    page.locator("#search").fill("nothing")
    page.get_by_role("button", name="Show all").click()
    assert page.locator("#count").inner_text() == "8 pictures"
    page.close()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(scheme: str, browser: Any, runs: dict[str, Path]) -> None:
    submit(runs)
    page, *_ = open_page(browser, PAGE.absolute(), color_scheme=scheme)
    page.locator(".shot select").first.select_option("saliency")
    page.locator(".shot select").nth(1).select_option("hand")
    assert list_violations(page) == []
    page.close()


@needs_chromium
def test_the_whole_picture_opens_from_its_crop_and_the_focus_returns(
    browser: Any, runs: dict[str, Path]
) -> None:
    submit(runs)
    page, said, _ = open_page(browser, PAGE.absolute())
    frame, dialog = page.locator(".frame").nth(1), page.locator("dialog.viewer")
    frame.focus()
    page.keyboard.press("Enter")
    dialog.wait_for()
    shot = read_data()["shots"][read_data()["runs"][0]["entries"][1][1]]
    picture = dialog.locator("figure img")
    page.wait_for_function("document.querySelector('.viewer img').naturalWidth > 0")
    sizes = picture.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert sizes == [shot["width"], shot["height"]]  # the file, not the thumbnail
    assert picture.evaluate("image => getComputedStyle(image).objectFit") == "contain"
    assert shot["id"] in dialog.inner_text()
    assert list_violations(page) == []
    page.keyboard.press("ArrowRight")
    assert "3 of 8" in dialog.inner_text().lower()
    page.keyboard.press("Escape")
    assert frame.evaluate("frame => frame === document.activeElement")
    frame.click()
    assert dialog.is_visible()
    page.keyboard.press("Escape")
    page.locator(".shot").nth(2).get_by_role("button").click()
    assert "3 of 8" in dialog.inner_text().lower()
    page.keyboard.press("Escape")
    assert page.locator(".mark").all_inner_texts() == [""] * 8  # nothing was moved
    assert said == []
    page.close()


@needs_chromium
def test_printing_draws_all_pictures(browser: Any, runs: dict[str, Path]) -> None:
    submit(runs)
    page, *_ = open_page(browser, PAGE.absolute(), viewport={"width": 700, "height": 200})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".shot img").count() == 8
    page.emulate_media(media="print")
    assert not page.get_by_role("button", name="Save crops").is_visible()
    page.close()


def test_a_headline_cannot_end_the_data_of_the_page() -> None:
    entry = Entry("a", "ALL", "1", 1, Choice(Image("<b>", Path("wide.jpg")), {}))
    preview = Preview()
    preview.observe(entry, PILImage.new("RGB", (500, 300)))
    title = "</script><script>alert(1)</script> \U0001f600 \u202eabc"
    details = Details("team", "center", "newsimg", [], {"1": title})
    preview.write(Path("page.html"), [entry], details)
    assert title not in Path("page.html").read_text()
    assert read_data(Path("page.html"))["titles"] == {"1": title}


def make_entries(n_articles: int, n_pictures: int) -> tuple[Preview, list[Entry]]:
    """Return a preview and two runs over `n_articles`; the last article has a replaced picture."""
    preview = Preview(max_bytes=400_000)
    entries = []
    for run in range(2):
        for n in range(n_articles):
            image = Image(f"p{(n + run) % n_pictures}", Path(f"p{(n + run) % n_pictures}.png"))
            shown_by = "run0" if run and n == n_articles - 1 else None
            entries.append(Entry(f"run{run}", "ALL", f"id{n}", 1, Choice(image, {}), "x", shown_by))
    return preview, entries


@pytest.mark.parametrize(("n_articles", "all_fit"), [(20, True), (80, True), (400, False)])
def test_a_large_submission_gets_smaller_thumbnails_and_then_fewer_articles(
    n_articles: int, all_fit: bool, caplog: pytest.LogCaptureFixture
) -> None:
    preview, entries = make_entries(n_articles, n_articles)
    for n, entry in enumerate(entries):
        path = draw(Path("picture.png"), n % n_articles, (700, 400))
        preview.observe(entry, PILImage.open(path).convert("RGB"))
    entries[3] = Entry(**(vars(entries[3]) | {"crop": "letterbox"}))
    titles = {f"id{n}": f"Headline {n}" for n in range(n_articles)}
    n_shown = preview.write(Path("page.html"), entries, Details("t", "center", "c", [], titles))
    assert Path("page.html").stat().st_size <= 400_000
    data = read_data(Path("page.html"))
    shown = [{row[0] for row in run["entries"]} for run in data["runs"]]
    assert shown[0] == shown[1]  # whole articles
    assert sum(len(run["entries"]) for run in data["runs"]) == n_shown
    assert (n_shown == len(entries)) == all_fit
    assert ("cut" not in data) == all_fit
    assert {f"id{n_articles - 1}", "id3"} <= shown[0]
    if not all_fit:
        assert n_shown > 50
        assert f"Shows {n_shown:,} of {len(entries):,} pictures" in data["cut"]
        assert f"shows {n_shown} of {len(entries)} pictures" in caplog.text
        assert Path("page.html").stat().st_size > 300_000


def test_saving_keeps_the_crops_of_pictures_that_the_page_leaves_out() -> None:
    preview, entries = make_entries(300, 300)
    entries = [Entry(**(vars(entry) | {"crop": (0.0, 0.0, 1.0, 1.0)})) for entry in entries]
    for n, entry in enumerate(entries):
        preview.observe(entry, PILImage.effect_noise((460, 260), 20 + n).convert("RGB"))
    preview.write(Path("page.html"), entries, Details("t", "center", "c", [], {}))
    data = read_data(Path("page.html"))
    shown = {(run["approach"], row[0]) for run in data["runs"] for row in run["entries"]}
    others = {(row["run"], row["article_id"]) for row in data["others"]}
    assert others
    assert shown.isdisjoint(others)
    assert len(shown | others) == 600


@pytest.mark.parametrize(
    ("size", "expected"),
    [((920, 520), (345, 195)), ((920, 1380), (345, 518)), ((100, 90), (100, 90)),
     ((40_000, 520), (1380, 18))],
)  # fmt: skip
def test_a_thumbnail_fills_the_scale_without_being_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    thumb = draw_thumb(PILImage.new("RGB", size), SCALES[0])
    assert PILImage.open(io.BytesIO(thumb)).size == expected
