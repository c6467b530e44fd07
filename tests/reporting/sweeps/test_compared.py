"""The comparison that a sweep writes of its best jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared_runs import draw_candidates
from report_pages import read_data
from run_folders import move_first, write_run

from newsimg.reporting.comparing.candidates import write_candidates
from newsimg.reporting.sweeps.compared import compare_best
from newsimg.reporting.sweeps.runs import find_runs

SWEEP = ("task.report=false", "tracking=none", "hydra.sweep.dir=made")


def read_names() -> list[str]:
    return read_data(Path("made/summary/compare.html"))["names"]


def test_a_sweep_compares_its_best_jobs_with_the_one_that_does_not_rerank(newsroom: Any) -> None:
    collection = newsroom.load()
    curve = "w_lo,w_hi,hits_at_1\n0,1,0.5\n"
    jobs = [("nnn", 0.2, 3), ("nnn", 0.6, 9), ("aesthetics", 0.4, 6), ("identity", 0.5, 0)]
    for job, (reranker, weight, n_helped) in enumerate(jobs):
        folder = Path("made") / str(job)
        own = curve if reranker == "identity" else f"{curve}1,1,0.5\n"
        choices = {"reranker": reranker}
        write_run(folder, move_first(60, n_helped, 0), weight, choices, curve=own)
        write_candidates(folder, collection, draw_candidates(collection, job))
    parts = Path("made"), Path("made/summary")
    assert compare_best(find_runs(Path("made")), "hits_at_1", *parts, 3)
    names = read_names()
    assert names == ["identity, weight 0.5", "nnn, weight 0.6", "aesthetics, weight 0.4"]
    tests = pd.read_csv("made/summary/compare.csv")
    assert set(zip(tests["run"], tests["compared_with"], strict=True)) == {
        (name, names[0]) for name in names[1:]
    }
    assert compare_best(find_runs(Path("made")), "hits_at_1", *parts, 2)
    assert read_names() == names[:2]
    Path("made/summary/compare.html").unlink()
    assert not compare_best(find_runs(Path("made")), "hits_at_1", *parts, 0)
    assert not Path("made/summary/compare.html").exists()


@pytest.mark.slow
def test_a_sweep_of_infer_compares_its_first_jobs_and_none_is_written_if_unwanted(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    own = [text for text in tiny_aesthetics if not text.startswith("task.")]
    swept = ["task=infer", "weight.value=0,0.5,1", *SWEEP]
    done = newsimg_here("-m", *own, *swept, "hydra.callbacks.sweep.n_compared=2")
    assert done.code == 0, done.output
    assert [name.rpartition(" ")[2] for name in read_names()] == ["0", "0.5"]
    Path("made").rename("first")
    done = newsimg_here("-m", *own, *swept, "hydra.callbacks.sweep.n_compared=0")
    assert done.code == 0, done.output
    assert not list(Path("made").rglob("compare.html"))


def test_jobs_on_other_headlines_are_not_compared(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    own = [text for text in tiny_options if not text.startswith("data.split")]
    done = newsimg_here("-m", *own, "data.split=val,test", *SWEEP)
    assert done.code == 0, done.output
    assert not list(Path("made").rglob("compare.html"))
    assert "not written" not in done.output


def test_an_impossible_number_of_jobs_is_refused_before_the_first(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    wrong = "hydra.callbacks.sweep.n_compared=9"
    done = newsimg_here("-m", *tiny_options, "top_k=5,6", *SWEEP, wrong)
    assert done.code != 0
    assert "n_compared must be 0 or in [2, 8], got 9" in done.output
    assert not list(Path("made").glob("*/config.yaml"))
