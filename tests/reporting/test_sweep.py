"""What a sweep says of its jobs: corrected p values, words, and the jobs' curves."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from newsimg.reporting.console import console
from newsimg.reporting.sweep import read_curves, summarize_sweep


def make_jobs(p_values):
    n_jobs = len(p_values)
    return pd.DataFrame(
        {
            "name": [f"aesthetics w={i / 10:.2f}" for i in range(n_jobs)],
            "status": "FINISHED",
            "error": "",
            "params.weight": [str(i / 10) for i in range(n_jobs)],
            "params.reranker": "aesthetics",
            "params.normalization": "l1",
            "retrieval/hits_at_1": 0.4,
            "reranked/hits_at_1": [0.4 + i / 100 for i in range(n_jobs)],
            "delta/hits_at_1": [i / 100 for i in range(n_jobs)],
            "delta/hits_at_1_low": -0.01,
            "delta/hits_at_1_high": 0.05,
            "delta/hits_at_1_p": p_values,
            "curve/best_hits_at_1": 0.45,
            "curve/plateau_low": 0.21,
            "curve/plateau_high": 0.25,
            "curve/best_weight": 0.23,
        }
    )


@pytest.mark.parametrize(
    ("p_values", "corrected", "words"),
    [
        ([1.0, 0.3, 0.02], 0.06, "this cannot be told from zero"),
        ([1.0, 0.3, 0.01], 0.03, "more than chance explains"),
    ],
)
def test_the_best_jobs_gain_is_judged_by_its_corrected_p(p_values, corrected, words, tmp_path):
    output_dir = tmp_path / "summary"
    output_dir.mkdir()
    with console.capture() as said:
        metrics = summarize_sweep(make_jobs(p_values), "reranked/hits_at_1", output_dir)
    assert metrics["best/p_holm"] == pytest.approx(corrected)
    assert metrics["curve/best_weight"] == 0.23
    assert "Hits@1 rises by 0.0200" in said.get()
    assert f"Holm-corrected for 3 configs): {words}" in said.get()
    table = pd.read_csv(output_dir / "sweep.csv")
    assert table["p_holm"].tolist() == pytest.approx([1, 0.6, corrected])


def test_jobs_without_tests_are_summarised_without_words(tmp_path):
    output_dir = tmp_path / "summary"
    output_dir.mkdir()
    jobs = make_jobs([1.0, 0.3]).drop(columns=["delta/hits_at_1_p", "curve/best_hits_at_1"])
    with console.capture() as said:
        metrics = summarize_sweep(jobs, "reranked/hits_at_1", output_dir)
    assert set(metrics) == {
        "n_jobs",
        "n_finished",
        "n_failed",
        "best/reranked/hits_at_1",
    }
    assert "Holm" not in said.get()
    assert not (output_dir / "curves.png").exists()


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
        "sweep.csv",
        "sweep.png",
        "curves.png",
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


def test_curves_are_labelled_by_what_sets_the_jobs_apart_but_the_weight(tmp_path):
    for job, (reranker, value) in enumerate([("a", 0.1), ("a", 0.2), ("b", 0.1)]):
        folder = tmp_path / str(job) / ".hydra"
        folder.mkdir(parents=True)
        (folder / "overrides.yaml").write_text(
            f"- top_k=10\n- reranker={reranker}\n- weight.value={value}\n"
        )
        (tmp_path / str(job) / "curve.csv").write_text(
            f"w_lo,w_hi,hits_at_1,mrr_at_5\n0,1,0.{job + 1},0.5\n"
        )
    curves = read_curves(tmp_path, "hits_at_1")
    assert {label: curve["hits_at_1"][0] for label, curve in curves.items()} == {
        "reranker=a": 0.1,
        "reranker=b": 0.3,
    }
    assert read_curves(tmp_path, "hits_at_50") == {}
