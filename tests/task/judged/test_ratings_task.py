"""Importing ratings and evaluating by them, from the command line."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


@pytest.fixture
def run_sample(newsimg_here: Callable[..., Any], sample_cache: Path) -> Callable[..., Any]:
    """Run the command line on the sample newsroom, untracked."""

    def run(*arguments: str) -> Any:
        quick = [f"cache.dir={sample_cache / 'model_outputs'}", "tracking=none"]
        if not any(argument.startswith("task=") for argument in arguments):
            quick += ["task.n_sheet_queries=0", "task.report=false"]
        return newsimg_here(*arguments, *quick)

    return run


def read_metrics(folder: Path) -> dict[str, float]:
    table = pd.read_csv(folder / "ratings.csv", index_col="measure")
    return dict(table["value"])


def test_simulated_ratings_are_written_and_evaluated_by(run_sample: Callable[..., Any]) -> None:
    first = run_sample("hydra.run.dir=first", "top_k=10")
    assert first.code == 0, first.output
    simulated = ["task.survey.splits=[val]", "task.survey.runs=[first]"]
    made = run_sample("task=ratings", "task.path=r.csv", "hydra.run.dir=made", *simulated)
    assert made.code == 0, made.output
    assert "ratings by 12 people" in made.output
    assert "agreement of people" in made.output
    assert Path("made/pictures.csv").is_file()
    with Path("r.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["article_id", "image_id", "rating", "rater", "run"]

    rated = run_sample("data.ratings=r.csv", "hydra.run.dir=rated", "top_k=10")
    assert rated.code == 0, rated.output
    metrics = read_metrics(Path("rated"))
    assert metrics["reranked/rated_share"] == 1  # the survey rated the first pictures of this run
    assert f"{metrics['reranked/mean_rating']:.4f}" in rated.output
    # By hand: the mean, over headlines, of the mean rating of the first picture.
    means = pd.DataFrame(rows, columns=header).astype({"rating": float})
    means = means.groupby(["article_id", "image_id"])["rating"].mean()
    queries = pd.read_csv("rated/queries.csv", dtype=str)
    firsts = zip(queries["query_id"], queries["reranked_first"], strict=True)
    expected = sum(means[key] for key in firsts) / len(queries)
    assert metrics["reranked/mean_rating"] == pytest.approx(expected)

    again = run_sample("task=ratings", "task.path=r.csv", *simulated)
    assert again.code != 0
    assert "task.path must be a new file" in again.output
    assert "Traceback" not in again.output


def test_a_ratings_file_with_a_wrong_value_is_one_sentence(run_sample: Callable[..., Any]) -> None:
    Path("bad.csv").write_text("article_id,image_id,rating\n1,2,great\n")
    result = run_sample("data.ratings=bad.csv")
    assert result.code != 0
    assert "bad.csv, line 2, column rating: a rating must be a number, got 'great'" in result.output
    assert "Traceback" not in result.output
    missing = run_sample("data.ratings=none.csv")
    assert missing.code != 0
    assert "no ratings at none.csv" in missing.output
