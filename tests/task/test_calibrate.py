"""From task=calibrate to headlines without a picture, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from newsimg.reporting.results import read_results


@pytest.fixture
def run(newsimg_here: Callable[..., Any], sample_cache: Path) -> Callable[..., Any]:
    """Run the command line on the sample newsroom into the folder `out`."""

    def run(*arguments: str, code: int = 0) -> Any:
        cache = f"cache.dir={sample_cache / 'model_outputs'}"
        result = newsimg_here(*arguments, "tracking=none", cache)
        assert result.code == code, result.output
        return result

    return run


@pytest.mark.slow
def test_a_calibration_marks_the_results_of_the_same_setting_alone(
    run: Callable[..., Any],
) -> None:
    printed = run("task=calibrate", "hydra.run.dir=calibrated").stdout
    assert "fitted to 400 headlines, reported on test" in printed
    measures = pd.read_csv("calibrated/measures.csv", index_col="measure")["value"]
    own = pd.read_csv("calibrated/confidence.csv")
    assert measures["brier"] == pytest.approx(((own["confidence"] - own["is_right"]) ** 2).mean())
    assert measures["brier"] < measures["brier_constant"]
    assert Path("calibrated/reliability.png").read_bytes().startswith(b"\x89PNG")
    bins = pd.read_csv("calibrated/reliability.csv")
    assert (bins["low"] <= bins["right"]).all()
    assert (bins["right"] <= bins["high"]).all()
    given = "task.confidence_path=calibrated/confidence.json"

    # Evaluation of the same split gives the same confidences and measures.
    run(given, "data.split=test", "hydra.run.dir=evaluated", "task.n_sheet_queries=0")
    queries = pd.read_csv("evaluated/queries.csv", dtype={"query_id": str})
    np.testing.assert_allclose(queries["confidence"], own["confidence"], atol=1e-9)
    assert (queries["reranked_rank"].eq(1) == own["is_right"]).all()

    minimum = "task.min_confidence=0.3"
    said = run("task=infer", given, minimum, "data.split=test", "hydra.run.dir=found").stdout
    table = pd.read_json("found/results.jsonl", lines=True, dtype={"article_id": str})
    first = table[table["rank"] == 1].reset_index(drop=True)
    np.testing.assert_allclose(first["confidence"], own["confidence"], atol=1e-9)
    assert table.loc[table["rank"] > 1, "confidence"].isna().all()
    unsure = pd.read_csv("found/unsure.csv", dtype=str)
    expected = set(first.loc[own["confidence"] < 0.3, "article_id"])
    assert set(unsure["article_id"]) == expected
    assert 0 < len(expected) < 400
    assert unsure["confidence"].astype(float).is_monotonic_increasing
    assert f"{len(expected)} of 400 headlines are left without a picture" in said
    summary = json.loads(Path("found/summary.json").read_text())
    assert summary["unsure"] == sorted(expected)
    assert summary["n_unsure"] == len(expected)
    listed = {line.split()[0] for line in Path("found/results.run").read_text().splitlines()}
    assert listed == set(first["article_id"]) - expected
    assert set(read_results(Path("found"))) == listed
    page = Path("found/report.html").read_text()
    assert f'"confidence":{float(f"{first.confidence[0]:.5g}")!r}' in page

    refused = run("task=infer", given, "weight.value=0.3", code=2).output
    assert "calibrated with weight.value 0.15 (now 0.3)" in refused


@pytest.mark.slow
def test_the_confidence_may_be_that_people_rate_the_first_picture_well(
    run: Callable[..., Any],
) -> None:
    means: dict[tuple[str, str], float] = {}
    for split in ("val", "test"):
        found = ["task=infer", f"data.split={split}", f"hydra.run.dir={split}", "task.report=false"]
        run(*found, "reranker=identity")
        table = pd.read_json(f"{split}/results.jsonl", lines=True, dtype=str)
        first = table[table["rank"].astype(int) == 1].head(360)
        for i, row in enumerate(first.itertuples()):
            means[row.article_id, row.image_id] = 2 + i % 3 if i % 10 else 5.0
    rows = [
        {"article_id": article, "image_id": image, "rating": mean + off, "rater": rater}
        for (article, image), mean in means.items()
        for rater, off in (("a", -0.5), ("b", 0.5))
    ]
    pd.DataFrame(rows).to_csv("ratings.csv", index=False)
    given = ["task=calibrate", "reranker=identity", "data.ratings=ratings.csv"]
    result = run(*given, "task.rated_well=4", "hydra.run.dir=calibrated")
    assert "share of first pictures rated below 4 among those kept" in result.stdout
    assert "the first pictures of 40 of 400 headlines are not rated" in result.output
    own = pd.read_csv("calibrated/confidence.csv", dtype={"query_id": str})
    assert len(own) == 360
    by_article = {article: mean for (article, _), mean in means.items()}
    assert own["is_right"].tolist() == [by_article[name] >= 4 for name in own["query_id"]]
    saved = json.loads(Path("calibrated/confidence.json").read_text())
    assert saved["target"] == "the first picture is rated at least 4"
    assert saved["n_queries"] == 360
    refused = run(*given[:2], "task.rated_well=4", code=2).output
    assert "sample has no ratings: data.ratings=FILE names them" in refused


@pytest.mark.slow
def test_a_submission_leaves_out_headlines_without_a_picture_and_says_so(
    run: Callable[..., Any],
) -> None:
    run("task=calibrate", "hydra.run.dir=calibrated")
    given = ["task=infer", "task.confidence_path=calibrated/confidence.json", "task.report=false"]
    run(*given, "task.min_confidence=0.95", "hydra.run.dir=found")
    n_unsure = len(pd.read_csv("found/unsure.csv"))
    assert 300 < n_unsure < 400
    submit = ["task=submit", "task.group=team", "task.runs={clip:found}", "submission=team.zip"]
    said = " ".join(run(*submit).output.split())
    assert f"{n_unsure} of 400 articles are without a picture" in said
    credits = run(*given, "task.min_confidence=1", "hydra.run.dir=none")
    assert "400 of 400 headlines are left without a picture" in credits.stdout
    refused = run(*submit[:2], "task.runs={clip:none}", "submission=none.zip", code=2).output
    assert "400 of 400 articles are without a picture" in " ".join(refused.split())
    assert not Path("none.zip").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=infer", "task.min_confidence=0.3"], "task.min_confidence needs task.confidence_pa"),
        (["task=infer", "task.confidence_path=no.json"], "no calibration at no.json"),
        (["task.confidence_path=no.json"], "no calibration at no.json"),
        (
            ["task=infer", "task.confidence_path=a", "task.min_confidence=3"],
            "task.min_confidence must be in [0, 1], got 3",
        ),
        (["task=calibrate", "task.n_bins=1"], "task.n_bins must be at least 2, got 1"),
        (["task=calibrate", "task.report_split=val"], "must not share queries, got 400"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(
    arguments: list[str], message: str, run: Callable[..., Any]
) -> None:
    output = run(*arguments, code=2).output
    assert message in " ".join(output.split())
    assert "Traceback" not in output
