"""Names that tell runs apart, and params in an order to compare by."""

import pytest
import yaml
from omegaconf import OmegaConf

from newsimg.launch.resolvers import list_swept
from newsimg.storage.files import CONF_DIR
from newsimg.tracking.params import DEFAULTS, list_params, name_run
from newsimg.tracking.record import find_records, read_record

CHOICES = {"task": "evaluate", "reranker": "nnn", "weight": "rank", "backbone": "sample"}
CHOICES |= {"data": "newsimages", "index": "flat", "llm": "sample"}
CONFIG = {"weight": {"value": 0.5, "_target_": "R"}, "data": {"split": "val"}, "top_k": 25}
CONFIG |= {"backbone": {"model": "m"}, "index": {"ef_search": 64}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.00"),
        (0.5, "0.50"),
        (0.0249, "0.0249"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("x", "x"),
    ],
)
def test_runs_of_different_normalisations_or_weights_have_different_names(value, shown):
    config = CONFIG | {"weight": {"value": value}}
    assert name_run(config, CHOICES, {}) == f"nnn rank w={shown}"


def test_what_is_not_the_default_is_in_a_name_and_so_is_all_that_a_sweep_varies():
    other = CONFIG | {"data": {"split": "test"}, "top_k": 50}
    choices = CHOICES | {"backbone": "clip_vit_b32"}
    assert name_run(other, choices, {}) == "nnn rank w=0.50 clip_vit_b32 test top_k=50"
    swept = {"top_k": "25", "data.split": "val", "reranker": "nnn", "index.ef_search": "64"}
    assert name_run(CONFIG, CHOICES, swept) == "nnn rank w=0.50 val top_k=25 index.ef_search=64"
    assert name_run(CONFIG, CHOICES | {"task": "index"}, {"weight.value": "0.5"}) == (
        "index weight.value=0.5"
    )
    assert name_run(CONFIG, CHOICES | {"task": "tune"}, {}) == "tune nnn rank"


def test_the_defaults_that_names_leave_out_are_those_of_the_configs():
    config = yaml.safe_load((CONF_DIR / "config.yaml").read_text())
    (backbone,) = (entry["backbone"] for entry in config["defaults"] if "backbone" in entry)
    splits = {
        yaml.safe_load((CONF_DIR / "data" / f"{name}.yaml").read_text())["split"]
        for name in ("sample", "newsimages")
    }
    defaults = {"backbone": backbone, "data.split": splits.pop(), "top_k": str(config["top_k"])}
    assert not splits
    assert defaults == DEFAULTS


def test_params_that_runs_are_compared_by_sort_before_all_others():
    params = list_params(CONFIG, CHOICES, {"index.ef_search": "64", "reranker@task.x": "nnn"})
    compared = "backbone data index index.ef_search normalization reranker reranker:task.x split"
    assert sorted(params)[:11] == [*compared.split(), "task", "top_k", "weight"]
    assert (params["normalization"], params["weight"], params["split"]) == ("rank", 0.5, "val")
    rest = {name: value for name, value in params.items() if name.startswith("yaml.")}
    assert rest == {"yaml.llm": "sample", "yaml.backbone.model": "m", "yaml.weight._target_": "R"}
    assert len(params) == 14


def test_what_a_sweep_varies_is_known_from_the_command_line_and_the_experiments_file():
    typed = ["top_k=5,10", "seed=3", "+tags.x=range(2)", "data.pool=all", "reranker@task.a=nnn,b"]
    by_file = {"data.pool": "split,all", "weight.value": "0.1,0.2", "data.seed": "3"}
    config = OmegaConf.create({"overrides": {"task": typed}, "sweeper": {"params": by_file}})
    swept = ["weight.value", "top_k", "tags.x", "reranker@task.a"]
    assert list_swept(config) == swept
    config.sweeper.params = None
    assert list_swept(config) == swept[1:]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib_cpus"]])
def test_the_jobs_of_a_sweep_have_names_of_their_own_whatever_it_varies(
    newsimg_here, tiny_options, tmp_path, launcher
):
    sweep = ["data.split=train,all", "data.pool=split,all", "top_k=5,10", "weight.value=0.5"]
    options = ["-m", *tiny_options, *sweep, f"folder={tmp_path}/runs", *launcher]
    if not launcher:
        options[options.index("top_k=5,10")] = "top_k=0,10"  # 0 is refused in its job
    result = newsimg_here(*options)
    records = [read_record(path) for path in find_records(tmp_path / "runs")]
    jobs = [record for record in records if record.parent]
    assert len({job.name for job in jobs}) == len(jobs) == 8, result.output
    assert {job.status for job in jobs} == ({"FINISHED"} if launcher else {"FINISHED", "FAILED"})
    for job in jobs:
        params = job.params
        assert job.name == (
            f"identity l1 w=0.50 {params['split']} top_k={params['top_k']} "
            f"data.pool={params['data.pool']}"
        )
    (parent,) = (record for record in records if not record.parent)
    assert set(parent.tags["swept"].split(" ")) == {"data.split", "data.pool", "top_k"}
    assert parent.tags["objective"] == "reranked/hits_at_1"
