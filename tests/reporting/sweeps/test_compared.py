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


def test_a_sweep_by_ratings_compares_its_jobs_by_them_with_intervals_over_people_too(
    newsroom: Any, newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    collection = newsroom.load()
    rows = [
        (query.query_id, image.image_id, 1 + (i * 7 + n * 3) % 5, f"p{(i + n) % 4}")
        for i, query in enumerate(collection.queries)
        for n, image in enumerate(collection.images)
    ]
    names = ["article_id", "image_id", "rating", "rater"]
    pd.DataFrame(rows, columns=names).to_csv("r.csv", index=False)
    objective = ["data.ratings=r.csv", "objective=reranked/least_mean_rating"]
    swept = ["weight=minmax,none", "weight.value=0.9", *objective, *SWEEP]
    done = newsimg_here("-m", *tiny_aesthetics, *swept)
    assert done.code == 0, done.output
    page = read_data(Path("made/summary/compare.html"))
    measures = {one["name"]: one["values"] for one in page["measures"]}
    assert list(measures)[:2] == ["Hits@1", "MRR@10"]
    own = [pd.read_csv(f"made/{job}/ratings.csv", index_col="measure") for job in (0, 1)]
    for name, label in (("least_mean_rating", "least mean rating"), ("ndcg_at_10", "nDCG@10")):
        expected = [
            table.loc[f"reranked/{name}", ["value", "low", "high"]].tolist() for table in own
        ]
        for given, row in zip(sorted(measures[label]), sorted(expected), strict=True):
            assert given == pytest.approx(row)
    tests = pd.read_csv("made/summary/compare.csv", index_col="measure")
    first, second = (one[0] for one in measures["least mean rating"])
    row = tests.loc["least_mean_rating"]
    assert row["value"] == pytest.approx(second - first)
    assert row["low"] <= row["value"] <= row["high"]
    assert "a bootstrap of articles and people" in page["note"]


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
