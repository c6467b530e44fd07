"""The search page in a real browser: what a user types, drags, opens and copies."""

import csv
import io
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page
from letter_models import CountingReranker, LetterBackbone, LetterDataset
from PIL import Image as PILImage
from search_servers import ROOT, await_models, serve_search

from newsimg.app.command import Typed
from newsimg.app.loading import Loading
from newsimg.app.pictures import Pictures
from newsimg.app.search_page import SearchPage, Start, make_router
from newsimg.app.server import create_app, serve
from newsimg.app.session import HeadlineSearch
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Components
from newsimg.storage.progress import announce
from newsimg.weight.l1 import L1Weight
from newsimg.weight.l1_signed import SignedL1Weight
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.rank import RankWeight
from newsimg.weight.raw import RawWeight
from newsimg.weight.rrf import RRFWeight
from newsimg.weight.zscore import ZScoreWeight

pytestmark = [pytest.mark.slow, needs_chromium]

N_PICTURES, TOP_K = 30, 8
SCRIPT = "<script>document.title = 'run'</script> \"ferry\", it's & <b>bold</b>"
AUTHORS = ["<b>Ada</b> & Co", "Émile"]
MOVES = "all => all.map(one => one.querySelector('.move').textContent)"


@dataclass(frozen=True)
class Server:
    """A running search page.

    Attributes:
        address: Its URL.
        folder: Its working folder, with the pictures.
        overrides: Of its command line.
    """

    address: str
    folder: Path
    overrides: list[str]


@pytest.fixture(scope="module")
def server(sample_newsroom: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Index some pictures and serve the page."""
    folder = tmp_path_factory.mktemp("search")
    environment = {"NEWSIMG_CACHE": str(sample_newsroom.parent)}
    pictures = sorted((sample_newsroom / "newsimages").iterdir())[:N_PICTURES]
    for path in pictures:
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(path.name, AUTHORS[i % 2], "CC BY 4.0") for i, path in enumerate(pictures)]
        csv.writer(file).writerows([("path", "author", "licence"), *rows])
    common = [
        f"cache.dir={sample_newsroom.parent / 'model_outputs'}",
        f"folder={folder / 'multirun'}",
    ]
    table = ["data=collection_table", f"data.path={folder / 'pictures.csv'}"]
    subprocess.run(
        [
            *(sys.executable, "-m", "newsimg.run", "task=index", "tracking=none"),
            *(f"task.index_dir={folder / 'index'}", *table, *common),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    overrides = [*common, "index=saved", f"index.folders=[{folder / 'index'}]", f"top_k={TOP_K}"]
    overrides += ["+reranker@task.rerankers.near=nnn"]
    with serve_search(overrides, environment, folder) as address:
        await_models(address)
        yield Server(address, folder, overrides)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(server: Server, browser: Any) -> Iterator[Any]:
    page = open_search(browser, server.address, viewport={"width": 1440, "height": 900})
    yield page
    page.close()
    hosts = {urlparse(url).hostname for url in page.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert [text for text in page.said if "Failed to load resource" not in text] == []


def open_search(browser: Any, address: str, **options: Any) -> Any:
    page, said, asked = open_page(browser, address, **options)
    page.said, page.asked = said, asked
    page.wait_for_function("() => document.getElementById('reranker').options.length > 0")
    return page


def search(page: Any, headline: str) -> None:
    page.fill("#headline", headline)
    with page.expect_response("**/search/results"):
        page.press("#headline", "Enter")
    page.wait_for_selector("main[aria-busy=false]")


def list_ids(page: Any, stage: str) -> list[str]:
    return page.locator(f".{stage} .name").all_text_contents()


def read_command(page: Any) -> str:
    return page.locator("#command").text_content()


def set_weight(page: Any, value: str) -> None:
    page.fill("#value", value)


def wait_for(page: Any, condition: str) -> None:
    page.wait_for_function(f"() => {condition}", timeout=10_000)  # a text would need eval


def test_the_slider_sorts_in_the_browser_and_the_shown_command_gives_the_same_order(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path
) -> None:
    search(page, SCRIPT)
    page.wait_for_load_state("networkidle")
    n_asked = len(page.asked)
    set_weight(page, "0")
    before = list_ids(page, "before")
    assert list_ids(page, "after") == before
    assert len(before) == TOP_K
    set_weight(page, "0.85")
    after = list_ids(page, "after")
    assert list_ids(page, "before") == before
    assert sorted(after) == sorted(before)
    assert after != before
    moves = [before.index(one) - after.index(one) for one in after]
    shown = page.locator(".after li").evaluate_all(MOVES)
    assert shown == [f"{'▲' if m > 0 else '▼'}{abs(m)}" if m else "=" for m in moves]
    assert page.locator(".after .rank").all_text_contents() == [str(i + 1) for i in range(TOP_K)]
    page.press("#weight", "ArrowRight")
    assert page.input_value("#value") == "0.86"
    page.select_option("#normalisation", "rank")
    page.select_option("#normalisation", "l1")
    set_weight(page, "0.85")
    assert len(page.asked) == n_asked, "the slider asks the server"

    command = shlex.split(read_command(page))
    assert command[:2] == ["newsimg", "task=infer"]
    result = newsimg_here(*command[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    found = pd.read_parquet("same/results.parquet")
    assert list(found["image_id"]) == after
    assert set(found["title"]) == {SCRIPT}
    page.locator(".after .picture").first.click()
    why = page.locator(".viewer .why").inner_text()
    for score in (found["fused"][0], found["retrieval"][0], found["rerank"][0]):
        assert f"{score:.4f}" in why


def test_exports_are_what_the_command_writes(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path, tmp_path: Path
) -> None:
    search(page, "Minister opens bridge in the rain")
    page.select_option("#normalisation", "zscore")
    set_weight(page, "0.4")
    shown = list_ids(page, "after")
    for kind in ("csv", "run"):
        with page.expect_download() as saved:
            page.click(f"[data-kind={kind}]")
        assert saved.value.suggested_filename == f"minister-opens-bridge-in-the-rain.{kind}"
        saved.value.save_as(tmp_path / f"saved.{kind}")
    result = newsimg_here(*shlex.split(read_command(page))[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    assert (tmp_path / "saved.run").read_text() == Path("same/results.run").read_text()
    saved_rows = pd.read_csv(tmp_path / "saved.csv", dtype={"image_id": str})
    found = pd.read_parquet("same/results.parquet")
    assert list(saved_rows["image_id"]) == list(found["image_id"]) == shown
    np.testing.assert_allclose(saved_rows["fused"], found["fused"], rtol=1e-15)


def test_another_reranker_brings_its_weight_and_is_that_of_the_shown_command(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path
) -> None:
    search(page, "Minister opens bridge in the rain")
    own = re.search(r"weight=\S+ weight.value=\S+", read_command(page))
    with page.expect_response("**/search/results"):
        page.select_option("#reranker", "near")
    wait_for(page, "document.getElementById('command').textContent.includes('reranker=nnn')")
    assert "weight=none weight.value=1 " in read_command(page)
    with page.expect_response("**/search/results"):
        page.select_option("#reranker", "aesthetics")
    wait_for(page, "document.getElementById('command').textContent.includes('aesthetics')")
    assert own[0] in read_command(page)
    with page.expect_response("**/search/results"):
        page.select_option("#reranker", "near")
    wait_for(page, "document.getElementById('command').textContent.includes('reranker=nnn')")
    page.select_option("#normalisation", "rank")
    set_weight(page, "0.6")
    result = newsimg_here(*shlex.split(read_command(page))[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    found = pd.read_parquet("same/results.parquet")
    assert list(found["image_id"]) == list_ids(page, "after")


def test_a_filter_restricts_the_pictures_and_is_part_of_the_command(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path
) -> None:
    search(page, "Minister opens bridge in the rain")
    page.click("#showFilters")
    assert page.locator("#authors option").evaluate_all("all => all.map(o => o.value)") == AUTHORS
    page.fill("#author", AUTHORS[0])
    page.fill("#name", "50")
    with page.expect_response("**/search/results"):
        page.press("#author", "Enter")
    wait_for(page, "document.getElementById('command').textContent.includes('author')")
    result = newsimg_here(*shlex.split(read_command(page))[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    found = pd.read_parquet("same/results.parquet")
    assert set(found["author"]) == {AUTHORS[0]}
    assert list(found["image_id"]) == list_ids(page, "after")
    page.fill("#author", "Nobody")
    page.press("#author", "Enter")
    page.get_by_text("0 of 30 pictures match data.filter").wait_for()
    assert list_ids(page, "after") == list(found["image_id"]), "what was found has gone"


def test_the_order_in_the_browser_is_that_of_every_weight(page: Any) -> None:
    random = np.random.default_rng(7)
    for weight in (
        *(L1Weight, RawWeight, MinMaxWeight, ZScoreWeight, RankWeight, RRFWeight, SignedL1Weight),
    ):
        retrieval = random.choice(random.normal(size=9), 40).astype(np.float32)[None]  # ties
        rerank = random.normal(size=40).round(1).astype(np.float32)[None]
        for value in (0.0, 0.07, 0.15, 0.5, 0.93, 1.0):
            one = weight(value=value)
            pair = [one.normalize(scores)[0].tolist() for scores in (retrieval, rerank)]
            fused, order = page.evaluate(
                """async ([pair, weight]) => {
                    const { interpolate, rankScores } = await import("/static/fusion.js");
                    const fused = interpolate(...pair, weight);
                    return [fused, rankScores(fused)];
                }""",
                [pair, value],
            )
            expected = one.combine(retrieval, rerank)[0]
            assert fused == expected.tolist(), weight
            assert order == np.argsort(-expected, kind="stable").tolist(), weight


def test_reload_keeps_everything_and_back_leads_to_the_search_before(page: Any) -> None:
    search(page, "Minister opens bridge in the rain")
    first = list_ids(page, "before")
    search(page, "Ferry ＆ 洪水 🌊 مرحبا")
    page.select_option("#normalisation", "zscore")
    set_weight(page, "0.7")
    page.fill("#top_k", "5")
    wait_for(page, "document.querySelectorAll('.after li').length === 5")
    page.wait_for_function("() => location.hash.includes('w=0.7')")
    shown = list_ids(page, "after")
    page.reload()
    wait_for(page, "document.querySelectorAll('.after li').length === 5")
    assert list_ids(page, "after") == shown
    assert page.input_value("#headline") == "Ferry ＆ 洪水 🌊 مرحبا"
    assert [page.input_value(f"#{name}") for name in ("normalisation", "value", "top_k")] == [
        *("zscore", "0.7", "5"),
    ]
    page.go_back()
    page.go_back()
    wait_for(page, "document.getElementById('headline').value.startsWith('Minister')")
    wait_for(page, f"document.querySelectorAll('.after li').length === {TOP_K}")
    assert list_ids(page, "before") == first


def test_a_picture_is_opened_whole_with_its_facts_and_others_like_it_are_found(
    page: Any, server: Server
) -> None:
    search(page, "Minister opens bridge in the rain")
    page.locator(".before .picture").nth(1).focus()
    page.keyboard.press("Enter")
    shown = list_ids(page, "before")[1]
    image = page.locator(".viewer figure img")
    image.wait_for()
    (path,) = server.folder.glob(f"{shown.removesuffix('.jpg')}*")
    size = PILImage.open(path).size
    wait_for(page, "document.querySelector('.viewer figure img').naturalWidth > 0")
    assert image.evaluate("one => [one.naturalWidth, one.naturalHeight]") == list(size)
    facts = page.locator(".viewer dl").inner_text()
    assert f"{size[0]:,} × {size[1]:,} pixels" in facts
    assert "CC BY 4.0" in facts
    assert any(author in facts for author in AUTHORS), "metadata are text"
    download = page.locator(".viewer [data-download]").get_attribute("href")
    assert page.request.get(download).body() == path.read_bytes()
    with page.expect_response("**/search/results"):
        page.get_by_role("button", name="Similar to this").click()
    wait_for(page, "document.querySelectorAll('main .stage').length === 1")
    assert page.locator(".stage .name").first.inner_text() == shown
    assert "No command" in read_command(page)
    page.reload()
    page.locator(".stage .name").first.wait_for()
    assert page.locator(".stage .name").first.inner_text() == shown
    search(page, "Minister opens bridge in the rain")
    assert list_ids(page, "before")[1] == shown


def test_an_uploaded_picture_finds_itself_by_button_and_by_paste(page: Any, server: Server) -> None:
    path = server.folder / sorted(p.name for p in server.folder.glob("*.jpg"))[3]
    with page.expect_response("**/search/results"):
        page.set_input_files("#file", path)
    page.locator(".stage .name").first.wait_for()
    assert page.locator(".stage .name").first.inner_text() in (path.name, path.stem)
    search(page, "Minister")
    page.evaluate(
        """async path => {
            const content = await (await fetch(document.querySelector("main img").src)).blob();
            const data = new DataTransfer();
            data.items.add(new File([content], "pasted.webp"));
            dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }"""
    )
    wait_for(page, "document.querySelectorAll('main .stage').length === 1")
    assert "your picture" in page.locator("#sought").inner_text()


def test_files_that_are_no_pictures_are_refused_and_nothing_is_lost(
    page: Any, tmp_path: Path
) -> None:
    search(page, "Minister opens bridge in the rain")
    shown = list_ids(page, "after")
    (tmp_path / "text.jpg").write_text("<html>no picture</html>")
    whole = io.BytesIO()
    PILImage.new("1", (20_000, 20_000)).save(whole, "PNG")
    (tmp_path / "bomb.png").write_bytes(whole.getvalue())
    (tmp_path / "large.jpg").write_bytes(b"\xff\xd8" * 10_500_000)
    for name, said in (
        ("text.jpg", "the uploaded file cannot be searched for: not a picture"),
        ("bomb.png", "the uploaded file cannot be searched for"),
        ("large.jpg", "A picture may have 20 MB, this one has 21.0"),
    ):
        page.set_input_files("#file", tmp_path / name)
        page.locator("#message").get_by_text(said).wait_for()
        assert list_ids(page, "after") == shown
    search(page, "Ferry")
    assert page.locator("#message").is_hidden()


@pytest.mark.parametrize(
    ("hash", "said"),
    [
        ("#like=nothing", "no picture has the id 'nothing'"),
        ("#upload=abc", "the uploaded picture is not on the server any more"),
        ("#q=Ferry&k=999", "Candidates must be 1 to 100, got 999"),
        ("#q=Ferry&k=none", "top_k"),
    ],
)
def test_what_a_url_asks_for_and_is_not_there_is_said(
    hash: str, said: str, server: Server, browser: Any
) -> None:
    page = open_search(browser, f"{server.address}/{hash}")
    page.locator("#message").get_by_text(said).wait_for()
    page.fill("#top_k", "4")
    search(page, "Ferry")
    assert len(list_ids(page, "after")) == 4
    page.close()


def test_without_a_headline_the_page_asks_for_one(server: Server, browser: Any) -> None:
    page = open_search(browser, server.address)
    page.locator("#status").get_by_text("Type a headline, or choose a picture.").wait_for()
    page.click("[data-kind=csv]")
    page.locator("#message").get_by_text("There is nothing to save yet").wait_for()
    page.press("#headline", "Enter")
    page.locator("#message").get_by_text("Type a headline, or choose a picture.").wait_for()
    page.close()


def test_headlines_stay_text_and_long_ones_are_read_in_part(page: Any) -> None:
    search(page, SCRIPT)
    assert page.title().startswith("<script>")
    search(page, "word " * 5000)
    assert "tokens of this headline only" in page.locator("main .note").inner_text()
    assert len(list_ids(page, "after")) == TOP_K
    page.reload()
    page.locator(".after .name").first.wait_for()
    assert page.input_value("#headline") == "word " * 5000


def test_pictures_are_sent_once(page: Any) -> None:
    search(page, "Minister opens bridge in the rain")
    page.wait_for_load_state("networkidle")
    page.reload()
    page.locator(".after .name").first.wait_for()
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter(one => one.name.endsWith('thumb.webp'))"
        ".map(one => one.transferSize)"
    )
    assert len(sizes) >= TOP_K
    assert set(sizes) == {0}


def test_a_vanished_picture_is_a_placeholder(page: Any, server: Server) -> None:
    search(page, "Nothing seen before by this page")
    name = list_ids(page, "after")[0]
    (path,) = server.folder.glob(f"{name.removesuffix('.jpg')}*")
    content = path.read_bytes()
    path.unlink()
    try:
        page.locator(".after .picture").first.click()
        page.get_by_text("The picture’s file cannot be loaded; this is its thumbnail.").wait_for()
        page.keyboard.press("Escape")
        search(page, "Ferry")
        assert page.locator("#message").is_hidden()
    finally:
        path.write_bytes(content)


def test_two_pages_do_not_disturb_each_other(page: Any, server: Server, browser: Any) -> None:
    other = open_search(browser, server.address)
    search(page, "Minister opens bridge in the rain")
    search(other, "Ferry")
    set_weight(other, "1")
    mine, theirs = list_ids(page, "after"), list_ids(other, "after")
    set_weight(page, "0.5")
    assert list_ids(other, "after") == theirs
    other.close()
    assert sorted(list_ids(page, "after")) == sorted(mine)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_either_theme(scheme: str, server: Server, browser: Any) -> None:
    page = open_search(browser, server.address, color_scheme=scheme)
    search(page, "Minister opens bridge in the rain")
    page.click("#showFilters")
    page.click("#showCommand")
    assert list_violations(page) == []
    page.locator(".after .picture").first.click()
    page.locator(".viewer .why").wait_for()
    assert list_violations(page) == []
    page.keyboard.press("Escape")
    page.fill("#headline", " ")
    page.press("#headline", "Enter")
    page.locator("#message").get_by_text("Type a headline").wait_for()
    assert list_violations(page) == []
    page.close()


@pytest.mark.parametrize(("size", "highest"), [((1440, 900), 350), ((390, 844), 700)])
def test_pictures_come_first_and_nothing_overflows(
    size: tuple[int, int], highest: int, server: Server, browser: Any
) -> None:
    view = {"width": size[0], "height": size[1]}
    page = open_search(browser, server.address, viewport=view)
    search(page, "Minister opens bridge in the rain")
    box = page.locator("main .picture").first.bounding_box()
    assert box["y"] + box["height"] < highest
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    tops = [
        [one["top"] for one in page.locator(f".{stage} li").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().toJSON())")]
        for stage in ("before", "after")
    ]  # fmt: skip
    if size[0] > 760:
        assert tops[0] == tops[1], "rows are not aligned"
    page.close()


def test_everything_is_done_by_keyboard_with_a_visible_focus(page: Any) -> None:
    search(page, "Minister opens bridge in the rain")
    stops = {}
    page.focus("#headline")
    for _ in range(16):
        page.keyboard.press("Tab")
        stops |= page.evaluate(
            "() => { const at = document.activeElement;"
            " return { [at.id || at.className]: getComputedStyle(at).outlineStyle } }"
        )
    controls = {"go", "choose", "theme", "reranker", "normalisation", "weight", "value", "top_k"}
    assert controls | {"showFilters", "showCommand", "picture"} <= set(stops)
    assert set(stops.values()) == {"solid"}
    page.focus("#weight")
    page.keyboard.press("Home")
    assert list_ids(page, "after") == list_ids(page, "before")
    page.keyboard.press("End")
    wait_for(page, "location.hash.includes('w=1')")
    page.focus("#top_k")
    with page.expect_response("**/search/results"):
        page.keyboard.press("ArrowDown")
    wait_for(page, f"document.querySelectorAll('.after li').length === {TOP_K - 1}")
    last = page.locator(".after .picture").last
    last.focus()
    tip = page.locator(".tip").inner_text()
    assert f"→ #{TOP_K - 1}" in tip
    assert "fused" in tip
    page.keyboard.press("Enter")
    assert page.locator(".tip").is_hidden()
    page.locator(".viewer").get_by_text(f"{TOP_K - 1} of {TOP_K - 1}").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator(".viewer").get_by_text(f"{TOP_K - 2} of {TOP_K - 1}").wait_for()
    page.keyboard.press("Escape")
    assert last.evaluate("one => one === document.activeElement")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "headline"


def test_a_headline_that_is_typed_is_not_lost_by_another_setting(page: Any) -> None:
    search(page, "Minister opens bridge in the rain")
    page.fill("#headline", "Ferry")
    with page.expect_response("**/search/results"):
        page.select_option("#reranker", "near")
    assert page.input_value("#headline") == "Ferry"
    wait_for(page, "document.title.startsWith('Ferry')")


def test_the_page_shows_what_is_loaded_and_why_it_failed(browser: Any) -> None:
    may_fail = threading.Event()

    def load() -> Any:
        announce("reading the data")
        assert may_fail.wait(30)
        raise ValueError("no complete index in my_index")

    loading = Loading(load, dict)
    weights = {"l1": L1Weight(value=0.3)}
    index, reranker = FaissIndex(factory="Flat"), CountingReranker()
    parts = Components(LetterDataset(), LetterBackbone(), index, reranker, weights["l1"], TOP_K)
    known = HeadlineSearch(parts, {"counting": reranker}, weights)
    start = Start("", "counting", {"counting": ("l1", 0.3)}, TOP_K, "These are toys.")
    served = SearchPage(known, Pictures(), loading, Typed([], [], "counting", "l1"), start)
    with serve(create_app([make_router(served)]), None) as address:
        loading.start()
        page = open_search(browser, address)
        step = "Data and models are being loaded … reading the data"
        page.locator("#status").get_by_text(step).wait_for()
        assert page.locator("#warning").inner_text() == "These are toys."
        may_fail.set()
        page.locator("#message").get_by_text("no complete index in my_index").wait_for()
        page.close()


def test_a_second_server_on_the_port_says_so(server: Server, newsimg_here: Any) -> None:
    port = urlparse(server.address).port
    result = newsimg_here("task=search", "tracking=none", f"task.port={port}")
    assert result.code == 2
    assert f"task.port must be free, got {port}" in result.output
    assert "Traceback" not in result.output
