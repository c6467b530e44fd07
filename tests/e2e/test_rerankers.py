"""Every reranker and its experiments on the command line, with tiny models of the true kinds."""

import json
import re

import pandas as pd
import pytest
from tiny_models import make_llama, make_qwen2_vl

from newsimg.run import CONF_DIR

EXPERIMENTS = sorted(
    path.stem
    for path in (CONF_DIR / "experiment").glob("*.yaml")
    if path.stem.startswith(("vlm_judge", "llm_rewriting"))
)


@pytest.fixture(scope="module")
def tiny_chat_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    return [
        f"llm.model={make_llama(folder / 'llm')}",
        "llm.dtype=float32",
        "llm.max_new_tokens=8",
        f"vlm.model={make_qwen2_vl(folder / 'vlm')}",
        "vlm.dtype=float32",
    ]


@pytest.fixture
def options(tiny_options, tiny_chat_models):
    small = [option for option in tiny_options if not option.startswith(("reranker", "data.split"))]
    return [*small, *tiny_chat_models, "data.split=val", "tracking=none"]


def read_metrics(outcome):
    assert outcome.code == 0, outcome.output
    (folder,) = re.findall(r"written to\s+(\S+)", outcome.stdout)
    return pd.read_csv(f"{folder}/queries.csv", index_col=0)


@pytest.mark.parametrize(
    ("reranker", "weight"),
    [
        (["llm_rewriting"], "RawWeight"),
        (["vlm_judge", "vlm=qwen2_vl_7b"], "L1Weight"),
        (["hubness"], "RawWeight"),
        (["nnn", "reranker.k=3"], "RawWeight"),
        (["metadata"], "MinMaxWeight"),
    ],
)
def test_a_reranker_runs_by_its_name_and_brings_its_weight_along(
    newsimg_here, options, reranker, weight
):
    command = [f"reranker={reranker[0]}", *reranker[1:], *options]
    outcome = newsimg_here(*command)
    assert len(read_metrics(outcome)) == 6
    composed = newsimg_here(*command, "--cfg", "job", "--package", "weight").stdout
    assert f".{weight}\n" in composed
    overridden = newsimg_here(*command, "weight=rank", "--cfg", "job", "--package", "weight")
    assert ".RankWeight\n" in overridden.stdout


def test_an_ensemble_of_one_reranks_as_its_member_on_the_command_line(newsimg_here, options):
    alone = read_metrics(
        newsimg_here(*options, "reranker=hubness", "weight=l1", "weight.value=0.7")
    )
    others = [f"reranker.members.{name}=null" for name in ("aesthetics", "vlm_judge")]
    ensemble = read_metrics(
        newsimg_here(*options, "reranker=ensemble", *others, "weight=l1", "weight.value=0.7")
    )
    pd.testing.assert_frame_equal(ensemble, alone)


def test_captions_are_written_by_a_task_and_then_taken_by_the_reranker(
    newsimg_here, options, tmp_path
):
    own = [option for option in options if not option.startswith("task.")]
    outcome = newsimg_here(*own, "task=caption", "task.captions_path=c.jsonl", "reranker=identity")
    assert outcome.code == 0, outcome.output
    assert re.search(r"captions for 6 articles \(requested: \d each\) in ", outcome.stdout)
    records = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert len(records) == 6
    taken = ["reranker=llm_rewriting", "reranker.llm=null", "reranker.captions_path=c.jsonl"]
    assert len(read_metrics(newsimg_here(*options, *taken))) == 6


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_runs_as_it_is_but_for_its_models(newsimg_here, options, experiment):
    # Random models never write a digit: what they would say is read from the probabilities.
    reading = ["reranker.reading=expected"] if experiment.startswith("vlm") else []
    sweep = (
        ["-m"] if "params:" in (CONF_DIR / "experiment" / f"{experiment}.yaml").read_text() else []
    )
    own = [option for option in options if not option.startswith(("top_k", "tracking"))]
    outcome = newsimg_here(*sweep, f"experiment={experiment}", *own, *reading)
    assert outcome.code == 0, outcome.output
    assert "reranked" in outcome.stdout


# Experiments that one backbone and tiny chat models can run, and what is swept of them here.
ORIGINAL = {
    "original_identity_holdout": ["backbone=clip_vit_b32,siglip2_base"],
    "original_llm_rewriting_weights": ["weight.value=0.1,1.0"],
    "original_vlm_judge_weights": ["weight.value=0.1,1.0", "reranker.reading=expected"],
    "original_candidates": ["reranker=original_llm_rewriting", "top_k=4,6"],
    "original_rerankers": ["backbone=clip_vit_l14", "reranker=identity,original_llm_rewriting"],
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ORIGINAL)
def test_an_experiment_of_the_original_system_runs_on_tiny_models(
    newsimg_here, options, experiment
):
    own = [o for o in options if not o.startswith(("top_k", "data=", "llm.max_new_tokens"))]
    any_model = ["backbone.architectures=null", "backbone.vocab_size=null", "llm.max_new_tokens=8"]
    changed = ["-m", f"experiment={experiment}", *own, *any_model, *ORIGINAL[experiment]]
    outcome = newsimg_here(*changed)
    assert outcome.code == 0, outcome.output
    assert outcome.stdout.count("reranked/hits_at_1 ") == 2


@pytest.mark.slow
def test_the_submission_of_the_original_system_searches_the_index_that_its_page_has_built(
    newsimg_here, options, newsroom, tiny_clip, tmp_path
):
    model = [f"backbone.model={tiny_clip}"]
    index = ["data=collection", f"data.folder={newsroom.image_dir}", "backbone=clip_vit_b32"]
    made = newsimg_here(
        "task=index", *index, *model, "task.index_dir=multirun/indexes/yfcc_250_clip_vit_b32"
    )
    assert made.code == 0, made.output
    outcome = newsimg_here(
        *("-m", "experiment=original_submission", f"data.csv_path={newsroom.csv_path}", *model),
        *(option for option in options if option.startswith(("llm", "tracking"))),
        *("backbone=clip_vit_b32", "reranker=identity,original_llm_rewriting", "top_k=4"),
    )
    assert outcome.code == 0, outcome.output
    found = list(tmp_path.glob("multirun/sweep/**/results.parquet"))
    assert len(found) == 2
