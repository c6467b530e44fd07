"""Importing ratings and evaluating by them, from the command line."""

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image as PILImage

ROOT = Path(__file__).parents[3]


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_documented_commands_find_the_weight_that_people_want(
    run_sample: Callable[..., Any],
) -> None:
    page = (ROOT / "newsimg/evaluation/ratings/README.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Which weight do people want\?$(.*?)^## ", page, re.M | re.S)
    (block,) = re.findall(r"^```console\n(.*?)^```", section, re.M | re.S)
    outcomes = []
    for number, command in enumerate(block.splitlines()):
        _, *words = shlex.split(command)
        folder = [] if "hydra.run.dir" in command else [f"hydra.run.dir=run{number}"]
        outcomes.append(run_sample(*words, *folder, "top_k=10"))
        assert outcomes[-1].code == 0, outcomes[-1].output
    tuned = pd.read_csv("run4/tune.csv").iloc[0]
    # Simulated people dislike clickbait and defects, which the editors' pictures have too.
    assert tuned["95 % low"] > 0
    statistics = pd.read_csv("run4/statistics.csv", index_col="measure")
    gain = statistics.loc["delta/least_mean_rating"]
    assert gain["low"] == pytest.approx(tuned["95 % low"], abs=1e-4)
    assert gain["over"] == "articles and people"
    assert "least mean rating rises by" in " ".join(outcomes[4].stdout.split())
    curve = pd.read_csv("run4/curve.csv")
    own = curve[curve["w_hi"] >= tuned["chosen weight"]].iloc[0]
    chosen_on = pd.read_csv("run4/choices.csv").iloc[0]
    assert own["least_mean_rating"] == pytest.approx(chosen_on["chosen_on"])

    table = pd.read_csv("run5/correlations.csv", index_col="score")
    assert list(table.index) == ["retrieval", "aesthetics", "nnn"]
    assert table.loc["aesthetics", "kendall_low"] > 0
    best = pd.read_csv("run5/best_weights.csv").set_index(["reranker", "best by"])
    by_editors, by_people = (
        best.loc[("aesthetics", measure)] for measure in ("hits_at_1", "least_mean_rating")
    )
    assert by_editors["hits_at_1"] >= by_people["hits_at_1"]
    assert by_people["mean_rating"] > by_editors["mean_rating"]
    with PILImage.open("run5/hits_and_ratings.png") as plot:
        assert plot.size[0] == 700


@pytest.mark.slow
def test_cross_validation_and_the_share_of_a_member_are_chosen_by_ratings(
    run_sample: Callable[..., Any],
) -> None:
    simulated = ["task.survey.splits=[val]", "task.survey.n_pictures=8", "task.path=r.csv"]
    assert run_sample("task=ratings", *simulated).code == 0
    own = ["reranker=ensemble", "weight.value=1", "top_k=10", "data.ratings=r.csv"]
    wanted = ["task.report_split=null", "task.measure=least_mean_rating", "rule=bagged"]
    wanted += ["task.n_repeats=2", "task.share=hubness", "hydra.run.dir=tuned"]
    tuned = run_sample("task=tune", *own, *wanted)
    assert tuned.code == 0, tuned.output
    assert "do not tell apart the shares from" in " ".join(tuned.stdout.split())
    chosen = pd.read_csv("tuned/tune.csv").iloc[0]
    bounds = pd.read_csv("tuned/statistics.csv", index_col="measure")
    assert set(bounds["over"]) == {"articles and people"}
    gain = bounds.loc["delta/least_mean_rating"]
    columns = ["difference", "95 % low", "95 % high", "p"]
    assert gain[["value", "low", "high", "p"]].tolist() == pytest.approx(chosen[columns].tolist())
    # The same share in the config has the value of the curve.
    share = float(chosen["chosen share of hubness"])
    members = {"aesthetics": 1 - share, "hubness": share}
    given = [f"reranker.members.{name}.weight={value!r}" for name, value in members.items()]
    found = run_sample(*own, *given, "hydra.run.dir=found")
    assert found.code == 0, found.output
    curve = pd.read_csv("tuned/curve.csv")
    at_share = curve[curve["w_hi"] >= share].iloc[0]["least_mean_rating"]
    assert read_metrics(Path("found"))["reranked/least_mean_rating"] == pytest.approx(at_share)
    for wrong, message in (
        (["task.share=hubnes"], "task.share must be one of aesthetics, hubness"),
        (["task.share=hubness", "weight.value=0.5"], "weight=none, or weight.value=1, got MinMax"),
        (["task.share=hubness", "reranker=aesthetics"], "a member of reranker=ensemble, and this"),
    ):
        refused = run_sample("task=tune", *own, *wanted[:3], *wrong)
        assert refused.code == 2
        assert message in " ".join(refused.output.split())


def test_a_measure_by_ratings_needs_ratings_and_a_rule_that_chooses_by_it(
    run_sample: Callable[..., Any],
) -> None:
    wrong_rule = run_sample("task=tune", "task.measure=mean_rating")
    assert wrong_rule.code != 0
    assert "the rule chooses by mrr_at_10: rule=bagged chooses by task.measure" in wrong_rule.output
    without = run_sample("task=tune", "task.measure=mean_rating", "rule=bagged")
    assert without.code != 0
    assert "sample has no ratings: data.ratings=FILE names them" in without.output


def test_a_ratings_file_with_a_wrong_value_is_one_sentence(run_sample: Callable[..., Any]) -> None:
    Path("bad.csv").write_text("article_id,image_id,rating\n1,2,great\n")
    result = run_sample("data.ratings=bad.csv")
    assert result.code != 0
    assert "bad.csv, line 2, column rating: a rating must be a number, got 'great'" in result.output
    assert "Traceback" not in result.output
    missing = run_sample("data.ratings=none.csv")
    assert missing.code != 0
    assert "no ratings at none.csv" in missing.output


def test_data_without_editors_pictures_is_tuned_and_correlated_by_ratings(
    newsroom: Any, tiny_aesthetics: list[str], newsimg_here: Callable[..., Any]
) -> None:
    """The benchmark's test data: headlines, pictures, and ratings of a survey."""
    with Path("headlines.csv").open("w", newline="") as file:
        titles = [(f"a{i}", f"Headline {i}") for i in range(30)]
        csv.writer(file).writerows([("article_id", "article_title"), *titles])
    ids = sorted(path.stem for path in newsroom.image_dir.iterdir())
    with Path("r.csv").open("w", newline="") as file:
        rows = [
            (f"a{i}", image_id, 1 + (i * 7 + n * 3) % 5, f"p{n % 4}")
            for i in range(30)
            for n, image_id in enumerate(ids)
        ]
        csv.writer(file).writerows([("article_id", "image_id", "rating", "rater"), *rows])
    data = [*tiny_aesthetics, "data.csv_path=headlines.csv", "data.ratings=r.csv", "tracking=none"]
    data.remove("task.n_sheet_queries=0")
    tuned = newsimg_here(
        "task=tune",
        *data,
        *("task.report_split=null", "task.measure=ndcg_at_10", "rule=bagged", "task.n_repeats=1"),
    )
    assert tuned.code == 0, tuned.output
    assert "nDCG@10" in tuned.output
    correlated = newsimg_here("task=correlate", *data, "hydra.run.dir=corr")
    assert correlated.code == 0, correlated.output
    table = pd.read_csv("corr/correlations.csv", index_col="score")
    assert table["n_articles"].to_dict() == {"retrieval": 30, "aesthetics": 30}
    assert not Path("corr/hits_and_ratings.csv").exists()
