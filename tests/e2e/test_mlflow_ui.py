"""MLflow's own UI, in a real browser, on a store made by a real sweep."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import reserve_port

from newsimg.tracking.record import read_records
from newsimg.tracking.ui import link_record

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

WEIGHTS = ("0.00", "0.50", "1.00")
ROOT = Path(__file__).parents[2]
ENV = os.environ | {"PYTHONPATH": str(ROOT)}
COLUMNS = ["reranker", "normalization", "weight", "reranked/hits_at_1", "reranked/mrr_at_10"]
COLUMNS += ["delta/mrr_at_10", "delta/mrr_at_10_p"]


def name_job(weight: str) -> str:
    return f"aesthetics l1 w={weight} all top_k=10"


@pytest.fixture(scope="module")
def store(tiny_aesthetics, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    options = [option for option in tiny_aesthetics if "n_sheet_queries" not in option]
    options += ["task.report=true", "weight.value=0,0.5,1"]
    options.append("objective=reranked/mrr_at_10")  # in which these differ
    command = [sys.executable, "-m", "newsimg.run", "-m", *options]
    done = subprocess.run(command, cwd=folder, check=True, env=ENV, stdout=subprocess.PIPE)
    (folder / "said").write_bytes(done.stdout)
    return folder / "multirun" / "mlflow.db"


@pytest.fixture(scope="module")
def link(store, tmp_path_factory) -> Iterator[str]:
    """Start `newsimg-ui` as a user does, from another folder; return the link that it prints."""
    port = reserve_port()
    folder = tmp_path_factory.mktemp("elsewhere")
    code = "from newsimg.run import ui; ui()"
    options = [f"folder={store.parent}", f"task.port={port}", "--no-browser"]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *options], cwd=folder, env=ENV, stdout=said, stderr=said
        )
    try:
        for _ in range(400):
            if "Ctrl-C ends it" in (folder / "said").read_text() or process.poll() is not None:
                break
            time.sleep(0.5)
        (line,) = (
            line for line in (folder / "said").read_text().splitlines() if line.startswith("page ")
        )
        yield line.split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (folder / "said").read_text()
    assert "\nclosed\n" in (folder / "said").read_text()
    with socket.socket() as taken:
        assert taken.connect_ex(("127.0.0.1", port))  # nobody answers there


@pytest.fixture(scope="module")
def server(link) -> str:
    return link.partition("/#")[0]


@pytest.fixture(scope="module")
def browser():
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*quiet, "--disable-component-update", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(server, browser):
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(60_000)
    return page


def test_the_link_of_a_sweep_opens_in_a_fresh_browser_on_its_jobs_the_best_first(
    link, browser, store
):
    key = link.partition("viewStateShareKey=")[2]
    said = (store.parent.parent / "said").read_text()
    assert f"in MLflow      http://127.0.0.1:5000/#{link.partition('/#')[2]}\n" in said
    assert key
    context = browser.new_context(viewport={"width": 1920, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(link)  # and nothing else is done
    page.get_by_text("3 matching runs").wait_for()
    for name in COLUMNS:
        header = page.get_by_role("columnheader").get_by_text(name, exact=True)
        sync_api.expect(header).to_be_in_viewport(ratio=1, timeout=60_000)
    with sqlite3.connect(store) as database:
        values = database.execute(
            "select runs.name, latest_metrics.value from runs join latest_metrics"
            " on runs.run_uuid = latest_metrics.run_uuid where key = 'reranked/mrr_at_10'"
        ).fetchall()
    assert len({value for _, value in values}) == 3
    best = max(value for _, value in values)
    shown = page.locator(".ag-center-cols-container .ag-row[row-index='0']")
    first = shown.locator("[col-id='metrics.`reranked/mrr_at_10`']").inner_text()
    assert float(first) == pytest.approx(best, abs=1e-6)
    name = page.locator(".ag-pinned-left-cols-container .ag-row[row-index='0']").inner_text()
    assert any(job in name for job, value in values if value == best)
    context.close()


def open_runs(page, server: str) -> None:
    page.goto(f"{server}/#/experiments/1/runs")
    page.get_by_text("weight.value=0,0.5,1").first.wait_for()
    if not page.get_by_text("aesthetics l1 w=0.00").count():
        page.locator(".ag-row button").first.click()
    page.get_by_text("aesthetics l1 w=1.00").first.wait_for()


def test_the_experiment_shows_the_sweep_as_a_parent_with_its_jobs(page, server):
    open_runs(page, server)
    for weight in WEIGHTS:
        assert page.get_by_text(f"aesthetics l1 w={weight}").count() >= 1
    page.get_by_text("4 matching runs").wait_for()


def test_three_weights_can_be_compared_by_a_measure(page, server, store):
    open_runs(page, server)
    for weight in WEIGHTS:
        row = page.locator(".ag-row", has_text=f"aesthetics l1 w={weight}").first
        row.locator("input[type=checkbox]").first.check(force=True)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing 3 Runs from 1 Experiment").wait_for()
    for weight in WEIGHTS:
        page.get_by_text(f"aesthetics l1 w={weight}").first.wait_for()
    names = page.locator("tr th[scope=row]").all_inner_texts()
    compared = "backbone data index normalization reranker split task top_k weight"
    at = names.index("backbone")
    assert names[at : at + 9] == compared.split()
    page.get_by_text("Scatter Plot").click()
    for axis, name in enumerate(("weight", "reranked/hits_at_1")):
        page.get_by_role("combobox").nth(axis).click()
        page.get_by_role("option", name=name, exact=True).first.click()
    page.locator(".js-plotly-plot .ytitle", has_text="reranked/hits_at_1").wait_for()
    points = page.locator(".js-plotly-plot").first.evaluate(
        "plot => plot.data.flatMap(line => line.x.map((x, i) => [Number(x), Number(line.y[i])]))"
    )
    with sqlite3.connect(store) as database:
        logged = database.execute(
            "select params.value, latest_metrics.value from params join latest_metrics"
            " on params.run_uuid = latest_metrics.run_uuid where params.key = 'weight'"
            " and latest_metrics.key = 'reranked/hits_at_1'"
        ).fetchall()
    assert sorted(map(tuple, points)) == sorted((float(weight), hits) for weight, hits in logged)


def test_runs_are_filtered_by_reranker_weight_and_measure(page, server):
    open_runs(page, server)
    condition = "params.reranker = 'aesthetics' and params.weight = '0.5'"
    search = page.locator("input[type=text], input[type=search], input:not([type])").first
    search.fill(f"{condition} and metrics.`reranked/hits_at_1` >= 0")
    search.press("Enter")
    page.get_by_text("aesthetics l1 w=0.00").first.wait_for(state="hidden")
    page.get_by_text("aesthetics l1 w=0.50").first.wait_for()


def test_the_link_of_a_single_run_opens_in_a_fresh_browser_on_its_page(server, browser, store):
    folder = store.parent
    (path,) = (p for p, r in read_records(folder) if r.name == name_job("0.50"))
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(link_record(path, f"sqlite:///{store}", server))
    page.get_by_role("heading", name=name_job("0.50")).wait_for()
    page.get_by_text("reranked/hits_at_1", exact=True).first.wait_for()
    page.get_by_role("link", name="Runs", exact=True).first.wait_for()  # as models are trained
    context.close()


def find_run(store: Path, name: str) -> str:
    with sqlite3.connect(store) as database:
        ((run_id,),) = database.execute(
            "select run_uuid from runs where name = ?", (name,)
        ).fetchall()
    return run_id


def test_the_sweeps_own_page_links_to_its_jobs(page, server, store):
    page.goto(f"{server}/#/experiments/1/runs/{find_run(store, 'weight.value=0,0.5,1')}")
    link = page.get_by_role("link", name="aesthetics l1 w=0.50").first
    link.wait_for()
    job_id = find_run(store, name_job("0.50"))
    assert (link.get_attribute("href") or "").endswith(f"/runs/{job_id}")


def test_the_contact_sheet_opens_as_a_picture(page, server, store):
    run_id = find_run(store, name_job("0.50"))
    page.goto(f"{server}/#/experiments/1/runs/{run_id}/artifacts/contact_sheet.jpg")
    picture = page.locator("img[src^='blob:'], img[src*='contact_sheet']").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 500


def test_the_report_opens_and_can_be_filtered(page, server, store):
    run_id = find_run(store, name_job("0.50"))
    page.goto("about:blank")  # the UI does not look at the address of another file of the run
    page.goto(f"{server}/#/experiments/1/runs/{run_id}/artifacts/report.html")
    report = page.frame_locator("iframe").first
    report.locator(".card").nth(59).wait_for()
    report.get_by_role("button", name="unchanged").click()
    n_unchanged = report.locator(".card").count()
    assert report.locator("#count").inner_text() == f"{n_unchanged} of 60"
