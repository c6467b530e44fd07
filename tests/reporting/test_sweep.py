"""What a sweep says: the best weight of each combination, its jobs, corrected p values, words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from run_folders import move_first, write_run

from newsimg.reporting.console import console
from newsimg.reporting.sweep import describe_jobs, find_finished, summarize_sweep

NO_JOBS = pd.DataFrame()
FLAT = "w_lo,w_hi,hits_at_1,mrr_at_10\n0,1,0.5,0.6\n"


def make_sweep(folder: Path, helped: dict[float, tuple[int, int]], reranker: str = "nnn") -> Path:
    """Write a job for each weight, of 200 queries of which so many are helped and hurt."""
    for weight, (n_helped, n_hurt) in helped.items():
        ranks = move_first(200, n_helped, n_hurt)
        write_run(folder / f"{reranker} {weight}", ranks, weight, {"reranker": reranker})
    (folder / "summary").mkdir(exist_ok=True)
    return folder


def summarize(folder: Path, objective: str = "reranked/hits_at_1") -> str:
    runs = find_finished(NO_JOBS, folder)
    with console.capture() as said:
        summarize_sweep(NO_JOBS, runs, objective, folder / "summary")
    assert max(map(len, said.get().splitlines())) <= 80
    return " ".join(said.get().split())


@pytest.mark.parametrize(
    ("n_helped", "words"),
    [
        (6, "as the best of several, not significantly different from zero"),
        (7, "significantly different from zero"),
    ],
)
def test_the_best_gain_is_judged_by_its_corrected_p(
    n_helped: int, words: str, tmp_path: Path
) -> None:
    # McNemar's exact p of n helped and none hurt is 2 / 2^n; Holm multiplies the smallest by the
    # number of weights that change anything, which are three of the four.
    make_sweep(tmp_path, {0.0: (0, 0), 0.1: (2, 2), 0.2: (3, 0), 0.3: (n_helped, 0)})
    said = summarize(tmp_path)
    p = 3 * 2 / 2**n_helped
    gain = f"Over retrieval Hits@1 rises by {n_helped / 200:.4f}"
    assert f"best by Hits@1: nnn, weight 0.3. {gain}" in said
    assert f"of this one alone; p = {p:.2g}, Holm-corrected for 3 configs): {words}" in said
    assert "Holm-corrected for the 3 of 4 runs that change Hits@1 of any headline" in said
    assert "picked on the headlines that they are measured on (val)" in said
    (row,) = pd.read_csv(tmp_path / "summary" / "best.csv").to_dict("records")
    assert row["p_holm"] == pytest.approx(p)
    assert (row["weight"], row["n_weights"]) == (0.3, 4)


def write_ratings(folder: Path, means: dict[float, float]) -> None:
    """Write measures by ratings as task=evaluate does, with a retrieval of 3.0."""
    for weight, mean in means.items():
        rows = {
            "retrieval/mean_rating": (3.0, 2.8, 3.2, np.nan),
            "reranked/mean_rating": (mean, mean - 0.2, mean + 0.3, np.nan),
            "delta/mean_rating": (mean - 3.1, mean - 3.2, mean - 2.9, 0.01),  # of others than means
        }
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "p"])
        table.to_csv(folder / f"nnn {weight}" / "ratings.csv", index_label="measure")


def test_a_sweep_by_ratings_describes_them_and_not_hits(tmp_path: Path) -> None:
    make_sweep(tmp_path, {0.1: (7, 0), 0.2: (0, 3)})
    write_ratings(tmp_path, {0.1: 3.25, 0.2: 4.5})
    said = summarize(tmp_path, "reranked/mean_rating")
    gain = "mean rating rises by 1.4000 (95 % interval +1.3000 to +1.6000"
    assert f"best by mean rating: nnn, weight 0.2. Over retrieval {gain}" in said
    assert "4.5000 4.300 4.800 +1.4000 0.02" in said  # Holm: twice 0.01
    assert "over headlines with both first pictures rated; p: of the gain, by bootstrap" in said
    assert "Hits@1" not in said
    (row,) = pd.read_csv(tmp_path / "summary" / "best.csv").to_dict("records")
    assert (row["mean_rating"], row["low"], row["high"], row["weight"]) == (4.5, 4.3, 4.8, 0.2)
    table = (tmp_path / "summary" / "table.md").read_text()
    assert "mean rating and MRR@10 on 200 headlines (mean rating: of those with ratings)" in table


def test_an_objective_that_is_no_measure_has_its_own_sentence_on_the_console_and_in_the_note(
    tmp_path: Path,
) -> None:
    make_sweep(tmp_path, {0.1: (7, 0), 0.2: (0, 3)})
    jobs = pd.DataFrame({"name": ["a", "b"], "status": "FINISHED", "error": "", "link": ["x", "y"]})
    jobs = jobs.assign(**{"params.weight": ["0.1", "0.2"], "confidence/ece": [0.1, 0.25]})
    jobs = jobs.assign(**{"confidence/ece_low": [0.0, 0.2], "confidence/ece_high": [0.2, 0.3]})
    runs = find_finished(NO_JOBS, tmp_path)
    words = "largest confidence ece: 0.2500 (95 % interval 0.2000 to 0.3000), job 1 (weight 0.2)"
    with console.capture() as said:
        summarize_sweep(jobs, runs, "confidence/ece", tmp_path / "summary")
    assert words in " ".join(said.get().split())
    assert f"{words}." in describe_jobs(jobs, runs, "confidence/ece", tmp_path)
    assert "best by Hits@1: nnn, weight 0.1" in " ".join(said.get().split())


def test_each_reranker_has_a_row_with_its_best_weight_and_all_that_gain_are_named(
    tmp_path: Path,
) -> None:
    make_sweep(tmp_path, {0.1: (12, 0), 0.2: (14, 0), 0.3: (14, 0)}, "nnn")
    make_sweep(tmp_path, {0.1: (16, 1), 0.2: (5, 5)}, "hubness")
    make_sweep(tmp_path, {0.1: (0, 9), 0.2: (0, 20)}, "aesthetics")
    said = summarize(tmp_path)
    table = pd.read_csv(tmp_path / "summary" / "best.csv")
    assert table["reranker"].tolist() == ["hubness", "nnn", "aesthetics"]
    assert table["weight"].tolist() == [0.1, 0.2, 0.1]
    np.testing.assert_allclose(table["hits_at_1"], [0.5 + 15 / 200, 0.5 + 14 / 200, 0.5 - 9 / 200])
    np.testing.assert_allclose(table["difference"], [15 / 200, 14 / 200, -9 / 200])
    assert ((table["low"] < table["hits_at_1"]) & (table["hits_at_1"] < table["high"])).all()
    assert "best by Hits@1: hubness, weight 0.1." in said
    assert "also significantly different from zero: nnn, weight 0.2 (+0.0700, p =" in said
    assert "* hubness 0.1 0.5750" in said
    assert "aesthetics, weight 0.1 (" not in said


def test_a_reranker_that_no_weight_changes_is_one_row_of_any_weight_and_normalisation(
    tmp_path: Path,
) -> None:
    for weight in ("l1", "rank"):
        for value in (0.1, 0.2):
            folder = tmp_path / f"{weight} {value}"
            choices = {"reranker": "identity", "weight": weight}
            write_run(folder, move_first(50, 0, 0), value, choices, curve=FLAT)
            choices = {"reranker": "nnn", "weight": weight}
            write_run(tmp_path / f"nnn {weight} {value}", move_first(50, 3, 0), value, choices)
    (tmp_path / "summary").mkdir()
    said = summarize(tmp_path)
    table = pd.read_csv(tmp_path / "summary" / "best.csv")
    assert table["reranker"].tolist() == ["nnn", "nnn", "identity"]
    assert table["normalization"].tolist() == ["l1", "rank", "any"]
    assert table["weight"].isna().tolist() == [False, False, True]
    assert table["p_holm"].isna().tolist() == [False, False, True]
    assert "identity any any 0.5000" in said
    assert "Holm-corrected for the 4 of 8 runs" in said


def test_values_that_differ_in_their_last_digits_stay_two_rows(tmp_path: Path) -> None:
    for i, top_p in enumerate((0.123451, 0.123452)):
        config = {"llm": {"top_p": top_p}}
        ranks, value = move_first(100, i, 0), f"llm.top_p={top_p}"
        write_run(tmp_path / str(i), ranks, 0.1, {"reranker": "nnn"}, [value], config=config)
    (tmp_path / "summary").mkdir()
    said = summarize(tmp_path)
    assert "* 0.123452 0.1 0.5100" in said
    rows = (tmp_path / "summary" / "table.md").read_text(encoding="utf-8").splitlines()[3:5]
    assert [row.split("|")[1].strip() for row in rows] == ["0.123451", "0.123452"]


def test_of_many_combinations_the_console_has_the_best_twelve_and_the_file_all(
    tmp_path: Path,
) -> None:
    for k in range(30):
        shares = [f"reranker.members.{m}.weight={0.1 + k / 7:.10g}" for m in ("nnn", "vlm_judge")]
        members = {m: {"weight": 0.1 + k / 7} for m in ("nnn", "vlm_judge")}
        config = {"reranker": {"members": members}}
        ranks = move_first(100, k, 0)
        write_run(tmp_path / str(k), ranks, k / 61, {"reranker": "ensemble"}, shares, config=config)
    (tmp_path / "summary").mkdir()
    said = summarize(tmp_path)
    assert "the first 12 of 30 rows; best.csv has all" in said
    assert "runs nnn weight vlm_judge weight weight Hits@1" in said
    assert "* 4.243 4.243 0.4754 0.7900" in said
    assert "0.6700" not in said
    assert len(pd.read_csv(tmp_path / "summary" / "best.csv")) == 30


@pytest.mark.slow
def test_jobs_that_fail_are_rows_with_their_reason_and_the_sweep_has_its_summary(
    newsimg_here, tiny_options
):
    weights = "weight.value=0.1,1.5,x,0.2"
    result = newsimg_here("-m", *tiny_options, weights, "hydra.sweep.dir=made")
    assert result.code == 2
    assert "2 of 4 jobs failed" in result.stdout
    table = pd.read_csv("made/summary/sweep.csv", keep_default_na=False)
    assert table["status"].tolist() == ["FINISHED", "FAILED", "FAILED", "FINISHED"]
    assert table["params.weight"].tolist() == ["0.1", "1.5", "x", "0.2"]
    assert table["error"].tolist() == [
        "",
        "ValueError: weight.value must be in [0, 1], got 1.5",
        "ValueError: weight.value must be in [0, 1], got 'x'",  # its run was never opened
        "",
    ]
    assert "got 1.5" in result.stdout
    # Only what was swept sets the jobs apart, although two of them were never composed in full.
    assert [name for name in table if name.startswith("params.")] == ["params.weight"]
    assert {path.name for path in Path("made/summary").iterdir()} == {
        *("best.csv", "sweep.csv", "table.md", "table.tex", "table.csv"),
        *("sweep.png", "curves.png"),
    }
    client = MlflowClient(f"sqlite:///{Path('multirun/mlflow.db').absolute()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "FAILED"
    assert [parent.data.metrics[name] for name in ("n_jobs", "n_finished", "n_failed")] == [4, 2, 2]
    assert "got 1.5" in parent.data.tags["mlflow.note.content"]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs if run is not parent} == {
        parent.info.run_id
    }
    assert len(runs) == 5


@pytest.mark.slow
def test_a_sweep_that_nothing_tracks_has_its_best_and_the_note_of_one_tells_its_jobs_apart(
    newsimg_here, tiny_aesthetics
):
    swept = ("weight.value=0.2,0.6", 'backbone.query_template="{title}","{title} {tags}"')
    result = newsimg_here("-m", *tiny_aesthetics, *swept, "tracking=none", "hydra.sweep.dir=made")
    assert result.code == 0, result.output
    quiet = Path("made/summary")
    assert {path.name for path in quiet.iterdir()} == {
        *("best.csv", "table.md", "table.tex", "table.csv", "sweep.png", "curves.png"),
        *("compare.html", "compare.csv"),
    }
    result = newsimg_here("-m", *tiny_aesthetics, *swept, "hydra.sweep.dir=tracked")
    assert result.code == 0, result.output
    tracked = Path("tracked/summary")
    for name in ("best.csv", "table.md", "table.tex", "table.csv", "sweep.png", "curves.png"):
        assert (tracked / name).read_bytes() == (quiet / name).read_bytes()
    best = pd.read_csv(tracked / "best.csv")
    assert sorted(best["backbone.query_template"]) == ["{title}", "{title} {tags}"]
    client = MlflowClient(f"sqlite:///{Path('multirun/mlflow.db').absolute()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    first, second = parent.data.tags["mlflow.note.content"].split("\n\n")[::2]
    heads = ["", "query_template", "weight", "Hits@1"]
    assert [text.strip() for text in first.splitlines()[0].split("|")][1:5] == heads
    assert first.count("#/experiments/") == 2
    rows = [[text.strip() for text in line.split("|")[2:4]] for line in second.splitlines()]
    assert rows[0] == ["weight", "query_template"]
    assert len({tuple(row) for row in rows[2:]}) == 4  # no two of the jobs look the same
