"""The experiments `original_*` against the original system's runs, typed from its scripts."""

import inspect
import re
from itertools import product
from typing import Any

import pytest
from hydra.utils import get_class
from test_configs import compose_config, find_targets, list_values

from newsimg.run import CONF_DIR

B32, L14 = "openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"
SIGLIP2, SO400M = "google/siglip2-base-patch16-224", "google/siglip2-so400m-patch14-384"
JINA = "jinaai/jina-clip-v2"
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FOUR = (("identity", None), ("aesthetics", 0.1), ("rewriting", 0.2), ("judge", 0.2))
ALL_AT_02 = (("identity", None), ("aesthetics", 0.2), ("rewriting", 0.2), ("judge", 0.2))
# Experiment -> backbones, split, candidates, and the rerankers with their weights.
TABLE: dict[str, tuple[Any, str, Any, Any]] = {
    "original_identity_holdout": ((B32, L14, SIGLIP2), "test", (100,), (("identity", None),)),
    "original_aesthetics_weights": ((B32,), "val", (10,), [("aesthetics", w) for w in TENTHS]),
    "original_llm_rewriting_weights": ((B32,), "val", (10,), [("rewriting", w) for w in TENTHS]),
    "original_vlm_judge_weights": ((B32,), "val", (10,), [("judge", w) for w in TENTHS]),
    "original_candidates": ((B32,), "val", (25, 50), FOUR[1:]),
    "original_rerankers": ((L14, JINA, SIGLIP2, SO400M), "val", (25,), FOUR),
    "original_subset": ((L14,), "subset.csv", (10,), (("identity", None),)),
    "original_submission": ((B32, L14, SO400M), "subset.csv", (25,), ALL_AT_02),
    "original_submission_300": ((L14,), "subset.csv", (25,), ALL_AT_02),
}
CLASSES = {
    "IdentityReranker": "identity",
    "AestheticsReranker": "aesthetics",
    "LLMRewritingReranker": "rewriting",
    "VLMJudgeReranker": "judge",
}
# What the user adds to the command.
GIVEN = {
    "original_rerankers": ["++backbone.trust_remote_code=true"],
}


def read_command(name: str) -> list[str]:
    lines = (CONF_DIR / "experiment" / f"{name}.yaml").read_text().splitlines()
    return re.split(r" \(|:(?: |$)", lines[1].removeprefix("# newsimg "))[0].split()


def list_jobs(name: str) -> list[dict[str, Any]]:
    """Compose every job of an experiment from the command on top of its yaml."""
    overrides = [word for word in read_command(name) if word != "-m"]
    swept = compose_config(*overrides, hydra=True)
    grid = product(*([f"{key}={value}" for value in list_values(key, swept[key])] for key in swept))
    return [compose_config(*overrides, *job) for job in grid]


def describe(job: dict[str, Any]) -> tuple[str, str, int, str, float | None]:
    """Return what the table says of a run."""
    kind = CLASSES[job["reranker"]["_target_"].rpartition(".")[2]]
    split = job["data"].get("subset") or job["data"].get("split") or job["data"]["csv_path"]
    weight = None if kind == "identity" else job["weight"]["value"]
    return job["backbone"]["model"], split, job["top_k"], kind, weight


def test_the_table_has_every_experiment_of_the_original_system() -> None:
    names = {path.stem for path in (CONF_DIR / "experiment").glob("original_*.yaml")}
    assert names == set(TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_an_experiment_has_the_runs_of_the_table_and_no_other(name: str) -> None:
    backbones, split, candidates, rerankers = TABLE[name]
    expected = [
        (backbone, split, top_k, *reranker)
        for backbone in backbones
        for top_k in candidates
        for reranker in rerankers
    ]
    jobs = list_jobs(name)
    assert sorted(map(describe, jobs), key=str) == sorted(expected, key=str)
    assert set(GIVEN.get(name, [])) <= set(read_command(name))
    for job in jobs:
        assert job["seed"] == 28
        if "seed" in job["data"]:
            assert (job["data"]["seed"], job["data"]["pool"]) == (28, "split")
        for part in find_targets(job):
            arguments = {key: value for key, value in part.items() if key != "_target_"}
            inspect.signature(get_class(part["_target_"])).bind(**arguments)


@pytest.mark.parametrize("name", TABLE)
def test_a_reranker_of_the_original_system_has_its_settings(name: str) -> None:
    for job in list_jobs(name):
        reranker, weight = job["reranker"], job["weight"]["_target_"].rpartition(".")[2]
        kind = describe(job)[3]
        if kind == "aesthetics":
            assert reranker["backbone"]["model"] == L14
            assert reranker["head"].endswith("/sa_0_4_vit_l_14_linear.pth")
            assert weight == "SignedL1Weight"
        elif kind == "rewriting":
            assert reranker["num_captions"] == 5
            assert reranker["pool"] == "max"
            assert reranker["backbone"] == job["backbone"]
            llm = reranker["llm"]
            assert llm["model"] == "meta-llama/Meta-Llama-3-8B-Instruct"
            assert (llm["max_new_tokens"], llm["temperature"]) == (256, 0.5)
            assert isinstance(reranker["seed"], int)  # sampled
            assert weight == "RawWeight"
        elif kind == "judge":
            assert reranker["vlm"]["model"] == "Qwen/Qwen2-VL-7B-Instruct"
            assert reranker["vlm"]["max_new_tokens"] == 5
            assert reranker["reading"] == "generate"
            assert weight == "SignedL1Weight"
            questions = [criterion["question"] for criterion in reranker["criteria"].values()]
            assert len(questions) == 4
            assert all("{title}" in question for question in questions)
            assert all(question.endswith("score;;") for question in questions)
            assert {criterion["weight"] for criterion in reranker["criteria"].values()} == {1.0}


def test_a_submission_searches_the_index_of_its_backbone_and_number_of_shards() -> None:
    folders = {
        name: {folder for job in list_jobs(name) for folder in job["index"]["folders"]}
        for name in ("original_submission", "original_submission_300")
    }
    named = ("clip_vit_b32", "clip_vit_l14", "siglip2_so400m")
    assert folders == {
        "original_submission": {f"multirun/indexes/yfcc_250_{backbone}" for backbone in named},
        "original_submission_300": {"multirun/indexes/yfcc_300_clip_vit_l14"},
    }
    assert all(
        job["task"]["_target_"].endswith("InferTask") for job in list_jobs("original_submission")
    )


def test_no_other_experiment_calls_itself_the_original_systems() -> None:
    for path in (CONF_DIR / "experiment").glob("*.yaml"):
        if not path.stem.startswith("original_"):
            assert "original system's run:" not in path.read_text()
