"""What a sweep says of its jobs: corrected p values, words, and the jobs' curves."""

import pandas as pd
import pytest

from newsimg.reporting.console import console
from newsimg.reporting.sweep import read_curves, summarize_sweep


def make_jobs(p_values):
    n_jobs = len(p_values)
    return pd.DataFrame(
        {
            "name": [f"aesthetics w={i / 10:.2f}" for i in range(n_jobs)],
            "status": "FINISHED",
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
    assert set(metrics) == {"n_jobs", "n_finished", "best/reranked/hits_at_1"}
    assert "Holm" not in said.get()
    assert not (output_dir / "curves.png").exists()


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
