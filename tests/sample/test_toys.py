"""Models of the sample newsroom that meet other pictures: wherever that shows, it is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from report_pages import read_data

import newsimg.run
from newsimg.interfaces import Task
from newsimg.launch.compose import compose_config
from newsimg.sample.toys import REAL, are_sample, describe_toys, is_sample_data

CONF = Path(newsimg.run.__file__).parents[1] / "conf"
ENSEMBLE = [
    "reranker=ensemble",
    "reranker.members.llm_rewriting.weight=0.1",
    "reranker.members.hubness.weight=0",
]


def warn(overrides: list[str], is_indexed: bool = False) -> str:
    return describe_toys(compose_config(overrides), Task.parts[::2], is_indexed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        ([], "backbone=clip_vit_b32 reranker=aesthetics_vit_b32"),
        (["reranker=identity"], "backbone=clip_vit_b32"),
        (["reranker=nnn"], "backbone=clip_vit_b32"),
        (["reranker=vlm_judge"], "backbone=clip_vit_b32 vlm=smolvlm2_500m"),
        (["backbone=clip_vit_l14"], "reranker=aesthetics_vit_b32"),
        (["backbone=clip_vit_l14", "reranker=llm_rewriting"], "llm=smollm2_360m"),
        (["backbone=clip_vit_l14", "reranker=hubness"], ""),
        (["backbone=clip_vit_b32", "reranker=aesthetics_vit_b32"], ""),
        (
            ENSEMBLE,
            "backbone=clip_vit_b32 "
            "reranker@reranker.members.aesthetics.reranker=aesthetics_vit_b32 llm=smollm2_360m",
        ),
    ],
)
def test_what_is_to_be_typed_leaves_no_toy(overrides: list[str], advice: str) -> None:
    said = warn(overrides)
    assert said.partition("For photographs add ")[2] == advice
    assert said.startswith("TOY MODEL (") == bool(advice)
    assert warn([*overrides, *advice.split()]) == ""


def test_an_index_has_to_be_made_with_the_other_backbone_too() -> None:
    assert warn([], is_indexed=True).endswith(", and index the pictures anew with that backbone")
    assert "anew" not in warn(["backbone=clip_vit_b32"], is_indexed=True)


def test_each_model_of_the_sample_has_a_real_one_to_be_replaced_by() -> None:
    sample = Path(newsimg.run.__file__).parent / "sample"
    folders = {path.parent.name for path in sample.rglob("*.safetensors")}
    assert folders == set(REAL)
    assert all((CONF / group / f"{option}.yaml").is_file() for group, option in REAL.values())


def test_pictures_are_known_by_their_folder(sample_newsroom: Path, newsroom: Any) -> None:
    assert is_sample_data({"folder": str(sample_newsroom / "newsimages"), "path": None})
    assert not is_sample_data({"folder": str(newsroom.image_dir)})
    assert not is_sample_data({"name": "of another kind"})
    images = newsroom.load().images
    assert not are_sample(images)


@pytest.mark.slow
def test_a_run_on_other_pictures_says_so_wherever_it_shows(
    newsimg_here: Callable[..., Any], newsroom: Any, sample_cache: Path, tmp_path: Path
) -> None:
    cache = f"cache.dir={tmp_path / 'store'}"
    data = [f"data.csv_path={newsroom.csv_path}", f"data.image_dir={newsroom.image_dir}"]
    found = newsimg_here("data=newsimages", *data, "data.split=all", "hydra.run.dir=found", cache)
    said = warn([])
    assert found.stderr.count(f"WARNING: {said}\n") == 1
    assert read_data(Path("found/report.html"))["warning"] == said
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'multirun' / 'mlflow.db'}")
    (tagged,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert tagged.data.tags["toy_model"] == "true"

    folder = ["data=collection", f"data.folder={newsroom.image_dir}", "tracking=none", cache]
    made = newsimg_here("task=index", *folder, "task.index_dir=index", "reranker=identity")
    assert f"WARNING: {warn(['reranker=identity'])}\n" in made.stderr
    saved = ["index=saved", "index.folders=[index]", "tracking=none", cache]
    for name in ("a", "b"):
        run = newsimg_here("task=infer", "query=Storm", *saved, f"hydra.run.dir={name}")
        assert f"WARNING: {warn([], is_indexed=True)}\n" in run.stderr
        assert json.loads(Path(name, "summary.json").read_text())["warning"] == warn([], True)
        assert read_data(Path(name, "report.html"))["warning"] == warn([], True)
        assert "invented" not in run.stderr
    invented = newsimg_here("task=infer", *saved, "task.report=false")
    assert "WARNING: the headlines are those of the sample newsroom, invented" in invented.stderr
    submitted = newsimg_here("task=submit", "task.group=g", "task.runs={a:a,b:b}", "tracking=none")
    assert submitted.code == 0, submitted.output
    assert re.findall(r"^WARNING: run (\w): TOY", submitted.stderr, re.M) == ["a", "b"]


@pytest.mark.slow
def test_pictures_of_the_sample_and_models_of_ones_own_are_not_warned_of(
    newsimg_here: Callable[..., Any], tiny_options: list[str], sample_cache: Path, tmp_path: Path
) -> None:
    own = newsimg_here(*tiny_options, "tracking=none", f"cache.dir={tmp_path / 'store'}")
    sample = newsimg_here("tracking=none", "task.report=false", "task.n_sheet_queries=0")
    drawn = next(sample_cache.glob("sample-newsroom-*/newsimages"))
    pictures = tmp_path / drawn.parent.name / "newsimages"  # known by the folder's name
    pictures.mkdir(parents=True)
    for path in sorted(drawn.iterdir())[:20]:
        (pictures / path.name).symlink_to(path)
    folder = ["data=collection", f"data.folder={pictures}", "task=index", "task.index_dir=index"]
    made = newsimg_here(*folder, "tracking=none")
    found = newsimg_here(
        "task=infer", "query=Storm", "index=saved", "index.folders=[index]", "tracking=none"
    )
    for result in (own, sample, made, found):
        assert result.code == 0, result.output
        assert "TOY MODEL" not in result.output
