"""The search page in a real browser: what a user types, drags and copies."""

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pandas as pd
import pytest

pytest.importorskip("gradio", reason="no gradio: pip install newsimg[app]")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

ROOT = Path(__file__).parents[2]
N_PICTURES, TOP_K = 30, 8
SCRIPT = "<script>document.title = 'run'</script> \"ferry\", it's & <b>bold</b>"
AUTHOR = "<b>Ada</b> & Co"
# As the console script does, whose file the checkout need not have installed.
SEARCH = [sys.executable, "-c", "from newsimg.run import search; search()"]


@pytest.fixture(scope="module")
def arguments(
    sample_newsroom: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], dict[str, str]]:
    """Make an index of some pictures; return what searches it, and the environment."""
    folder = tmp_path_factory.mktemp("search")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "NEWSIMG_CACHE": str(sample_newsroom.parent),
    }
    pictures = sorted((sample_newsroom / "newsimages").iterdir())[:N_PICTURES]
    with (folder / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "author"), *((p, AUTHOR) for p in pictures)])
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
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return [*common, "index=saved", f"index.folders=[{folder / 'index'}]"], environment


@pytest.fixture(scope="module")
def address(arguments: tuple[list[str], dict[str, str]]) -> Iterator[str]:
    """Serve the page; in the end, Ctrl-C closes it without a fault."""
    overrides, environment = arguments
    process = subprocess.Popen(
        [*SEARCH, *overrides, f"top_k={TOP_K}", "+reranker@task.rerankers.near=nnn"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT / "multirun",
        start_new_session=True,
    )
    printed = ""
    for line in process.stdout or ():
        printed += line
        if found := re.match(r"page +(http://127\.0\.0\.1:\d+)", line):
            break
    else:
        pytest.fail(printed)
    try:
        yield found[1]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert "closed" in rest
        assert "Traceback" not in printed + rest
    finally:
        process.kill()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        said: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("#after figure").first.wait_for()
        yield page
        browser.close()
        hosts = {urlparse(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {"127.0.0.1"}
        assert said == []


def list_ids(page: Any, side: str) -> list[str]:
    return page.locator(f"#{side} figure").evaluate_all("all => all.map(f => f.dataset.id)")


def read_command(page: Any) -> str:
    return page.locator("#command textarea").input_value()


def wait_for_command(page: Any, part: str) -> None:
    page.wait_for_function(
        "part => document.querySelector('#command textarea').value.includes(part)", arg=part
    )


def choose(page: Any, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def set_weight(page: Any, value: str) -> None:
    box = page.get_by_label("number input for Weight: the reranker's share")
    box.fill(value)
    box.press("Enter")
    wait_for_command(page, f"weight.value={value} ")


def type_headline(page: Any, headline: str, part: str) -> None:
    box = page.locator("#headline input, #headline textarea").first
    box.fill(headline)
    box.press("Enter")
    wait_for_command(page, part)


def test_the_slider_sorts_anew_and_the_shown_command_gives_the_same_order(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path
) -> None:
    type_headline(page, SCRIPT, "ferry")
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
    shown = page.locator("#after figure i").all_inner_texts()
    assert shown == [f"{'▲' if m > 0 else '▼'}{abs(m)}" if m else "=" for m in moves]

    command = shlex.split(read_command(page))
    assert command[:2] == ["newsimg", "task=infer"]
    result = newsimg_here(*command[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    found = pd.read_parquet("same/results.parquet")
    assert list(found["image_id"]) == after
    assert set(found["title"]) == {SCRIPT}
    for line, row in zip(
        page.locator("#after .scores").all_inner_texts(), found.itertuples(), strict=True
    ):
        scores = f"{row.fused:.4f} of {row.retrieval:.4f} and {row.rerank:.4f}"
        assert line.startswith(scores)


def test_another_reranker_and_normalisation_are_those_of_the_shown_command(
    page: Any, newsimg_here: Callable[..., Any], sample_cache: Path
) -> None:
    type_headline(page, "Minister opens bridge in the rain", "Minister")
    own = re.search(r"weight=\S+ weight.value=\S+", read_command(page))
    choose(page, "Reranker", "near")
    wait_for_command(page, "reranker=nnn")
    wait_for_command(page, "weight=none weight.value=1 ")  # which it brings along
    choose(page, "Reranker", "aesthetics")
    wait_for_command(page, own[0])
    choose(page, "Reranker", "near")
    wait_for_command(page, "weight=none weight.value=1 ")
    choose(page, "Normalisation", "rank")
    wait_for_command(page, "weight=rank")
    set_weight(page, "0.6")
    result = newsimg_here(*shlex.split(read_command(page))[1:], "hydra.run.dir=same")
    assert result.code == 0, result.output
    found = pd.read_parquet("same/results.parquet")
    assert list(found["image_id"]) == list_ids(page, "after")


def test_what_headline_and_collection_say_stays_text(page: Any) -> None:
    type_headline(page, SCRIPT, "ferry")
    assert page.title() == "newsimg search"
    assert page.locator("#after .credit").first.inner_text().startswith(f"{AUTHOR} · ")
    assert page.locator("#after .credit b").count() == 0


def test_an_example_of_the_data_is_searched_for_at_a_click(page: Any) -> None:
    first = read_command(page)
    page.locator(".gallery-item").nth(1).click()
    page.wait_for_function(
        "first => document.querySelector('#command textarea').value !== first", arg=first
    )
    headline = page.locator("#headline input, #headline textarea").first.input_value()
    assert headline in shlex.split(read_command(page))[-1]


def test_without_a_headline_the_page_asks_for_one(page: Any) -> None:
    box = page.locator("#headline input, #headline textarea").first
    box.fill("  ")
    box.press("Enter")
    page.get_by_text("Type a headline.").wait_for()
    assert read_command(page) == ""
