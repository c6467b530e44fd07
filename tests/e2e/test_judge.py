"""newsimg-judge as a user runs it: killed, started again, ended by Ctrl-C."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pandas as pd
import pytest
from browser_pages import list_violations, needs_chromium, open_browser, open_page
from submissions import write_results

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
N_ARTICLES = 12


@pytest.fixture
def runs(newsroom: Any) -> str:
    """Two runs of task=infer that differ in the first picture of twelve of fourteen articles."""
    paths = {path.stem: path for path in sorted(newsroom.image_dir.iterdir())}
    ids = sorted(paths)
    ranked = {f"q{i}": [ids[i], ids[i + 20]] for i in range(14)}
    for name in ("one", "two"):
        Path(name).mkdir()
        write_results(Path(name) / "results.parquet", ranked, paths)
        ranked = {
            q: (one[::-1] if i < N_ARTICLES else one) for i, (q, one) in enumerate(ranked.items())
        }
    return "task.runs={plain:one,reranked:two}"


@contextmanager
def start(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """Start the command; yields it and the addresses that it prints, the last of the results."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from newsimg.run import judge; judge()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    links: list[str] = []
    while "results" not in (links or [""])[-1]:
        line = process.stdout.readline()
        assert line, process.stderr.read()  # type: ignore[union-attr]
        links += re.findall(r"http\S+", line)
    try:
        yield process, links
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def send(link: str, path: str, body: Any = None) -> Any:
    url, _, token = link.partition("/#t=") if "/#t=" in link else link.partition("/results#t=")
    request = Request(url + path, headers={"Authorization": f"Bearer {token}"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def answer(link: str, n: int, choice: str = "left") -> int:
    """Answer up to n questions; return how many were confirmed."""
    asked, done = send(link, "/judge/next"), 0
    while asked["question"] is not None and done < n:
        body = {"assignment": asked["question"]["assignment"], "choice": choice, "seconds": 1}
        asked = send(link, "/judge/answer", body)
        done += asked["kept"]
    return done


def test_a_judging_that_is_killed_goes_on_and_its_answers_are_exported(runs: str) -> None:
    options = [runs, "task.n_people=2", "task.repeat_share=0", "task.check_share=0"]
    options += ["tracking=none"]
    with start(*options) as (process, links):
        assert len(links) == 3
        assert answer(links[0], 5) == 5
        process.send_signal(signal.SIGKILL)
        process.wait()
    with start(*options) as (process, again):
        assert [link.partition("#")[2] for link in again] == [
            link.partition("#")[2] for link in links
        ]
        assert send(again[0], "/judge/next")["answered"] == 5
        assert answer(again[0], 99) == N_ARTICLES - 5
        assert answer(again[1], 99, "tie") == N_ARTICLES
        results = send(again[2], "/judge/results")
        assert results["pairs"][0]["n_answers"] == 2 * N_ARTICLES
        assert send(again[2], "/judge/withdraw", {"reason": "late", "people": [2]}) == {
            "withdrawn": N_ARTICLES
        }
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert "12 answers to 12 headlines" in said
    (folder,) = map(Path, re.findall(r"written to +(\S+)", said))
    assert (folder / "judged_01.jpg").is_file()
    table = pd.read_csv(folder / "answers.csv", dtype=str)
    assert len(table) == N_ARTICLES
    assert set(table["rater"]) == {"r1"}
    with (folder / "ratings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * N_ARTICLES
    assert {row["run"] for row in rows} == {"plain", "reranked"}
    assert len((folder / "qrels.txt").read_text().splitlines()) == 2 * N_ARTICLES
    files = [path for path in folder.rglob("*") if path.is_file()]
    written = "".join(path.read_text(errors="replace") for path in files)
    assert links[0].partition("=")[2] not in written  # nobody finds a link in the run's files


@needs_chromium
def test_single_pictures_are_rated_by_keys_and_runs_have_their_means(runs: str) -> None:
    options = [runs, "task.mode=rate", "task.check_share=0", "task.repeat_share=0"]
    with start(*options, "tracking=none") as (process, links):
        with open_browser() as browser:
            page, said, _ = open_page(browser, links[0])
            for number in range(2 * N_ARTICLES):
                page.wait_for_function(
                    "n => document.getElementById('progress').textContent.startsWith(`${n} answ`)"
                    " && document.getElementById('question').ariaBusy === 'false'",
                    arg=number,
                )
                assert page.is_hidden("#right")
                assert page.is_hidden("#sides")
                page.keyboard.press("ArrowLeft")  # is no answer here
                page.keyboard.press(str(1 + number % 5))
            page.wait_for_selector("#done:not([hidden])")
            assert said == []
            results, _, _ = open_page(browser, links[1])
            results.wait_for_selector("#rated")
            # Two runs, the headlines, and one person.
            assert results.locator("tbody tr").count() == 2 + N_ARTICLES + 1
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert "24 ratings: mean of each run" in printed
    (folder,) = map(Path, re.findall(r"written to +(\S+)", printed))
    ratings = pd.read_csv(folder / "ratings.csv")
    table = pd.read_csv(folder / "runs.csv", index_col="run")
    means = ratings.groupby("run")["rating"].mean()
    assert table["mean"].to_dict() == pytest.approx(means.to_dict())
    assert len(ratings) == 2 * N_ARTICLES


@needs_chromium
def test_three_runs_are_judged_by_their_pairs_and_ranked_by_strength(runs: str) -> None:
    """The third run shows the picture of the first for two headlines of three."""
    table = pd.read_parquet("one/results.parquet")
    paths = {row["image_id"]: Path(row["path"]) for row in table.to_dict("records")}
    by_article = table.sort_values("rank").groupby("article_id")["image_id"].agg(list)
    ranked = {f"q{i}": by_article[f"q{i}"] for i in range(14)}
    other = {
        q: own if i % 3 else [by_article["q13"][0], *own]
        for i, (q, own) in enumerate(ranked.items())
    }
    Path("three").mkdir()
    write_results(Path("three") / "results.parquet", other, paths)
    options = [runs.replace("}", ",third:three}"), "task.check_share=0", "task.repeat_share=0"]
    with start(*options, "tracking=none") as (process, links):
        # Twelve headlines in which the second differs; in five the third shows another picture.
        n_answers = answer(links[0], 99)
        results = send(links[1], "/judge/results")
        assert results["answered"] == results["planned"] == n_answers
        pairs = {(one["first_run"], one["second_run"]): one for one in results["pairs"]}
        assert pairs["plain", "reranked"]["n_answers"] == N_ARTICLES
        assert pairs["plain", "third"]["n_answers"] == 5
        assert pairs["reranked", "third"]["n_answers"] == 13
        assert n_answers == 12 + 5 + 4
        with open_browser() as browser:
            page, said, _ = open_page(browser, links[1])
            page.wait_for_selector("#pairs")
            assert page.locator("#strengths tbody tr").count() == 3
            assert page.locator("#pairs tbody tr").count() == 3
            assert list_violations(page) == []
            page.locator("input[name=articles][value=q0]").first.check()
            page.locator("input[name=articles][value=q0]").last.check()
            page.click("text=Withdraw answers to the ticked headlines")
            assert "about 1 headline?" in page.text_content("#what")
            assert said == []
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert "strength of each run" in printed
    (folder,) = map(Path, re.findall(r"written to +(\S+)", printed))
    assert set(pd.read_csv(folder / "runs.csv")["run"]) == {"plain", "reranked", "third"}
    assert len(pd.read_csv(folder / "preferences.csv")) == 3
    ratings = pd.read_csv(folder / "ratings.csv")
    assert len(ratings) == 2 * 21
    assert "plain+third" in set(ratings["run"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task.runs={a: one}"], "task.runs must name 2 to 8 runs of task=infer"),
        (["task.runs={a:one,b:one}"], "both runs have the same first picture for all 14"),
        (["task.runs={a:one,b:none}"], "no results of task=infer at none"),
        (["task.mode=rates"], "task.mode must be one of pair, rate, got 'rates'"),
        (["task.n_people=0"], "task.n_people must be at least 1"),
        (["task.order=activ"], "task.order must be one of random, active.*mean 'active'"),
        (["task.database=postgresql://me:secret@localhost/x"], "must not contain a password"),
    ],
)
def test_a_wrong_value_is_one_sentence(
    options: list[str], message: str, runs: str, newsimg_here: Any
) -> None:
    own = [] if options[0].startswith("task.runs") else [runs]
    result = newsimg_here("task=judge", "tracking=none", *own, *options)
    assert result.code == 2
    assert re.search(message, result.output)
    assert "Traceback" not in result.output
