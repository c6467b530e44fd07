"""Normalisation and weight belong to a reranker, and stay with it beside others and in a sweep."""

from pathlib import Path

import pytest

from newsimg.tracking.record import find_records, read_record

L1 = {"yaml.weight._target_": "newsimg.weight.l1.L1Weight", "weight": "0.15"}
MISSING = "data.subset=nowhere.csv"  # ends a run after it was recorded
NEAR = ["+reranker@task.rerankers.near=nnn", "task.rerankers.near.k=3"]


def record_of(newsimg_here, *arguments):
    """Return what a run recorded of its config before it failed by its last argument."""
    result = newsimg_here(*arguments, "folder=runs")
    assert result.code == 2, result.output
    return [read_record(path) for path in find_records(Path("runs"))]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["search", "tune"])
def test_a_reranker_beside_the_runs_own_leaves_the_weight_and_brings_its_own(newsimg_here, task):
    (record,) = record_of(newsimg_here, f"task={task}", *NEAR, "top_k=7", MISSING)
    params = record.params
    assert params | L1 == params
    assert (params["normalization"], params["weight"], params["top_k"]) == ("l1", "0.15", "7")
    assert params["yaml.task.own_weights.near._target_"] == "newsimg.weight.raw.RawWeight"
    assert params["yaml.task.own_weights.near.value"] == "1"
    assert params["yaml.task.rerankers.near.k"] == "3"
    if task == "search":
        assert params["yaml.task.weight"] == "l1"
        assert params["yaml.task.own_weights.identity.value"] == "0.15"


def test_what_is_typed_for_the_runs_own_stays_beside_others(newsimg_here):
    own = ["reranker=hubness", "weight=rank", "weight.value=0.4"]
    (record,) = record_of(newsimg_here, "task=tune", *own, *NEAR, MISSING)
    assert record.params["yaml.weight._target_"] == "newsimg.weight.rank.RankWeight"
    assert record.params["weight"] == "0.4"
    assert record.params["yaml.task.own_weights.near.value"] == "1"


def test_a_sweep_over_normalisations_keeps_the_weight_and_names_them(newsimg_here, tiny_options):
    sweep = ["-m", *tiny_options, "weight=l1,none,rank", "top_k=0"]
    records = record_of(newsimg_here, *sweep)
    jobs = {record.name: record.params["weight"] for record in records if record.parent}
    assert jobs == {
        "identity l1 w=0.15 all top_k=0": "0.15",
        "identity none w=0.15 all top_k=0": "0.15",
        "identity rank w=0.15 all top_k=0": "0.15",
    }
