"""Every yaml under conf/: fits its class, does what its comment says, and runs where it can."""

import inspect
import re
import shlex
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from submissions import write_results

from newsimg.datatypes import Image
from newsimg.interfaces import (
    Backbone,
    Dataset,
    Engine,
    Index,
    LanguageModel,
    Reranker,
    Task,
    Tracker,
    VisionLanguageModel,
    Weight,
    WeightRule,
)
from newsimg.launch import compose as launch
from newsimg.launch.job import GROUPS
from newsimg.run import CONF_DIR
from newsimg.submission.rendering import render_picture

INTERFACES = {
    "data": Dataset,
    "backbone": Backbone,
    "index": Index,
    "llm": LanguageModel,
    "vlm": VisionLanguageModel,
    "reranker": Reranker,
    "weight": Weight,
    "rule": WeightRule,
    "engine": Engine,
    "task": Task,
    "tracking": Tracker,
}
VALUES = {"prompt", "criteria"}  # groups of plain values, which components take as arguments
# What uses a group that no run reaches otherwise.
USED_BY = dict.fromkeys(("llm", "prompt"), "llm_rewriting")
USED_BY |= dict.fromkeys(("vlm", "criteria"), "vlm_judge")
OPTIONS = [
    (group, path.stem) for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))
]
EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
# What a user has to give, where an option asks for it.
NEEDED = {
    "data=newsimages": ["data.csv_path=articles.csv", "data.image_dir=pictures"],
    "prompt=file": ["prompt.path=prompt.yaml"],
    "criteria=file": ["criteria.path=criteria.yaml"],
    "data=collection": ["data.folder=pictures"],
    "data=collection_tar": ["data.folder=shards"],
    "data=collection_zip": ["data.folder=shards"],
    "data=collection_list": ["data.path=pictures.txt"],
    "data=collection_table": ["data.path=pictures.csv"],
    "data=queries": ["data.csv_path=queries.csv"],
    "index=saved": ["index.folders=[index]"],
    "index=own_backbone_saved": ["index.index.folders=[index]"],
}
options = pytest.mark.parametrize(
    ("group", "option"), OPTIONS, ids=[f"{group}={option}" for group, option in OPTIONS]
)


@pytest.fixture(autouse=True)
def _resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@cache
def compose_config(*overrides: str, hydra: bool = False) -> dict[str, Any]:
    """Compose as the command line does, with every value resolved; with `hydra`, what is swept."""
    needed = [value for override in overrides for value in NEEDED.get(override, [])]
    if not hydra:
        return launch.compose_config([*needed, *overrides])
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [*needed, *overrides], return_hydra_config=True)
    return dict(config.hydra.sweeper.params or {})


def find_targets(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping that becomes an object, inner ones too."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from find_targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from find_targets(value)


def list_values(key: str, text: Any) -> list[str]:
    """Return the values of a sweep in Hydra's grammar; the ends of an interval."""
    override = OverridesParser.create().parse_override(f"{key}={text}")
    if override.is_interval_sweep():
        return [str(override.value().start), str(override.value().end)]
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(text)]


def needs_network(config: dict[str, Any]) -> bool:
    """Tell whether a part of the config is elsewhere: a model, a head's URL, a server."""
    parts = list(find_targets({k: v for k, v in config.items() if k not in USED_BY}))
    models = [part["model"] for part in parts if "batch_size" in part]
    heads = [part["head"] for part in parts if "head" in part]
    served = any("server" in part or "bucket" in part for part in parts)
    served |= any(part["_target_"].endswith("PyiqaMetric") for part in parts)
    downloaded = any(not Path(model).is_dir() for model in models)
    return served or downloaded or any("://" in head for head in heads)


def read_command(path: Path) -> list[str]:
    """Return the arguments of the command in a yaml's first comment."""
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    match = re.match(r"# newsimg ((?:(?:-m|[\w.+~@]+=\S+|'[^']+':?)\s*)+)", lines[0])
    assert match, f"{path} does not begin with the command that uses it"
    return [word.rstrip(":") for word in shlex.split(match[1])]


def test_every_group_is_a_folder_of_configs_and_no_other() -> None:
    folders = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    assert folders - {"experiment", "hydra"} == set(GROUPS) == set(INTERFACES) | VALUES


@options
def test_an_option_gives_its_class_all_that_it_requires_and_nothing_else(
    group: str, option: str
) -> None:
    config = compose_config(f"{group}={option}")
    if group not in VALUES:
        assert issubclass(get_class(config[group]["_target_"]), INTERFACES[group])
    for part in find_targets(config):
        arguments = {key: value for key, value in part.items() if key != "_target_"}
        signature = inspect.signature(get_class(part["_target_"]))
        signature.bind(**arguments)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY}, part["_target_"]


@options
def test_the_command_on_top_of_a_yaml_uses_it_and_composes(group: str, option: str) -> None:
    arguments = read_command(CONF_DIR / group / f"{option}.yaml")
    assert any(re.fullmatch(rf"{group}(@[\w.]+)?={option}", one) for one in arguments)
    compose_config(*(argument for argument in arguments if argument != "-m"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_for_each_of_its_jobs(name: str) -> None:
    arguments = read_command(CONF_DIR / "experiment" / f"{name}.yaml")
    assert f"experiment={name}" in arguments
    overrides = [argument for argument in arguments if argument != "-m"]
    swept = compose_config(*overrides, hydra=True)
    assert bool(swept) == ("-m" in arguments)
    # Of a number, the ends; of a group, each option, which has other keys.
    values = [
        f"{key}={value}"
        for key in swept
        for listed in [list_values(key, swept[key])]
        for value in (dict.fromkeys((listed[0], listed[-1])) if "." in key else listed)
    ]
    for value in values or ["seed=28"]:
        config = compose_config(*overrides, value)
        for part in find_targets(config):
            signature = inspect.signature(get_class(part["_target_"]))
            signature.bind(**{key: value for key, value in part.items() if key != "_target_"})


def test_the_sweep_of_aesthetics_is_ten_weights_of_ten_candidates_on_clip_b32() -> None:
    config = compose_config("experiment=sweep_aesthetics_weight")
    assert config["top_k"] == 10
    assert config["backbone"]["model"] == "openai/clip-vit-base-patch32"
    assert config["reranker"]["backbone"] == config["backbone"]  # so its embeddings are reused
    assert config["weight"]["_target_"].endswith("L1Weight")
    swept = compose_config("experiment=sweep_aesthetics_weight", hydra=True)["weight.value"]
    assert [float(value) for value in swept.split(",")] == [i / 10 for i in range(1, 11)]


@pytest.mark.parametrize("reranker", ["hubness", "nnn"])
def test_a_correction_counts_in_full_as_its_paper_has_it(reranker: str) -> None:
    assert compose_config(f"reranker={reranker}")["weight"] == {
        "_target_": "newsimg.weight.raw.RawWeight",
        "value": 1,
    }
    other = compose_config(f"reranker={reranker}", "weight=rank", "weight.value=0.3")["weight"]
    assert other == {"_target_": "newsimg.weight.rank.RankWeight", "value": 0.3}


@pytest.mark.parametrize("reranker", ["aesthetics", "nnn"])
def test_every_normalisation_of_a_reranker_begins_with_the_same_weight(reranker: str) -> None:
    normalizations = [option for group, option in OPTIONS if group == "weight"]
    values = {
        compose_config(f"reranker={reranker}", f"weight={option}")["weight"]["value"]
        for option in normalizations
    }
    assert len(values) == 1


def test_identity_is_run_over_every_backbone_that_is_made_for_retrieval() -> None:
    swept = compose_config("experiment=sweep_identity_backbones", hydra=True)["backbone"].split(",")
    shipped = {option for group, option in OPTIONS if group == "backbone"}
    # Jina's model brings code of its own, to be trusted first; BLIP's captioning model is partly
    # random; PickScore is made for pictures that were generated for one text; Chinese CLIP reads
    # Chinese headlines; models of other libraries need an extra.
    assert set(swept) == shipped - {
        "chinese_clip_b16",
        "chinese_clip_l14",
        "sample",
        "jina_clip_v2",
        "blip_captioning",
        "pickscore",
        "minilm_l6",
        "open_clip",
        "sentence_transformers",
        "qwen3_vl_embedding_2b",
    }


@pytest.mark.slow
def test_code_that_comes_with_a_model_is_off_in_every_yaml() -> None:
    for group, option in OPTIONS:
        for part in find_targets(compose_config(f"{group}={option}")):
            assert not part.get("trust_remote_code", False)


def test_heads_that_are_downloaded_are_pinned() -> None:
    for group, option in OPTIONS:
        for part in find_targets(compose_config(f"{group}={option}")):
            if "://" in str(part.get("head", "")):
                assert re.fullmatch(r"[0-9a-f]{64}", part["sha256"])
                assert re.match(r"https://github\.com/[\w-]+/[\w-]+/raw/", part["head"])


@pytest.fixture
def run_sample(newsimg_here: Callable[..., Any], sample_cache: Path) -> Callable[..., Any]:
    """Run the command line on the sample newsroom, with the cache of whoever runs the tests."""

    def run(*arguments: str) -> Any:
        quick = [f"cache.dir={sample_cache / 'model_outputs'}"]
        if "task=sync" not in arguments:  # which is there for those that are tracked
            quick.append("tracking=none")
        if not any(argument.startswith(("task=", "experiment=")) for argument in arguments):
            quick += ["task.n_sheet_queries=0", "task.report=false"]
        return newsimg_here(*arguments, *quick)

    return run


def narrow(experiment: str) -> list[str]:
    """Return overrides that leave the first and the last value of whatever an experiment sweeps."""
    swept = compose_config(f"experiment={experiment}", hydra=True)
    values = {key: list_values(key, swept[key]) for key in swept}
    return [f"{key}={listed[0]},{listed[-1]}" for key, listed in values.items()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g, o in OPTIONS if g not in ("index", "tracking")],
    ids=lambda value: value,
)
def test_an_option_that_needs_no_network_runs(
    group: str, option: str, run_sample: Callable[..., Any], sample_newsroom: Path
) -> None:
    arguments = [f"{group}={option}"]
    if group in USED_BY:
        arguments.append(f"reranker={USED_BY[group]}")
    if needs_network(compose_config(*arguments)):
        pytest.skip("a model of the hub, a head from the internet, a server or a bucket")
    if {"llm_rewriting", "vlm_judge", "caption"} & {option, USED_BY.get(group)}:
        articles = (sample_newsroom / "newsarticles.csv").read_text(encoding="utf-8").splitlines()
        Path("subset.csv").write_text("\n".join(articles[:21]), encoding="utf-8")  # not minutes
        arguments += ["data.subset=subset.csv", "top_k=5"]
    if option == "file":
        own = CONF_DIR / group / {"prompt": "plain.yaml", "criteria": "sample.yaml"}[group]
        Path(f"{group}.yaml").write_text(own.read_text(encoding="utf-8"), encoding="utf-8")
        arguments += NEEDED[f"{group}=file"]
    if group == "engine":
        arguments.append("task=index")
        if option == "ray":
            pytest.importorskip("ray", reason="needs the extra newsimg[ray]")
    if option.startswith("listwise"):
        pytest.skip("the sample's model cannot compare pictures: tests/reranker/test_listwise.py")
    if option == "search":
        pytest.skip("serves until Ctrl-C: tests/e2e/test_search_page.py starts and ends it")
    if option == "judge":
        pytest.skip("serves until Ctrl-C: tests/e2e/test_judge.py starts and ends it")
    if option == "ui":
        pytest.skip("serves until Ctrl-C: tests/e2e/test_mlflow_ui.py starts and ends it")
    if option == "newsimages":
        arguments.append(f"data.csv_path={sample_newsroom / 'newsarticles.csv'}")
        arguments.append(f"data.image_dir={sample_newsroom / 'newsimages'}")
    if option in ("submit", "check"):
        arguments += prepare_submission(sample_newsroom)[option]
    if option == "correlate":
        few = ["task.survey.splits=[val]", "task.survey.n_raters=3", "task.n_resamples=20"]
        assert run_sample("task=ratings", "task.path=ratings.csv", *few).code == 0
        arguments.append("data.ratings=ratings.csv")
    if option == "table":
        assert run_sample("hydra.run.dir=made").code == 0
        arguments.append("task.runs=[made]")
    if option == "compare":
        for name in ("first", "second"):
            assert run_sample(f"hydra.run.dir={name}").code == 0
        arguments.append("task.runs=[first,second]")
    if option.startswith("collection"):
        arguments += ["task=index", *make_collection(option, sample_newsroom / "newsimages")]
    if option == "queries":
        Path("queries.csv").write_text("article_id,article_title\n1,Bridge closed\n")
        pictures = make_collection("collection", sample_newsroom / "newsimages")
        made = run_sample("task=index", "data=collection", *pictures, "task.index_dir=index")
        assert made.code == 0, made.output
        arguments += [*NEEDED["data=queries"], "task=infer", "index=saved", "index.folders=[index]"]
    result = run_sample(*arguments)
    assert result.code == 0, result.output
    assert "written to" in result.stdout
    assert "Traceback" not in result.output


def prepare_submission(newsroom: Path) -> dict[str, list[str]]:
    """Write results for task=submit and a zip for task=check; return what the tasks are given."""
    picture = next((newsroom / "newsimages").iterdir())
    results = write_results(Path("results.parquet"), {"1": ["a"]}, {"a": picture})
    with zipfile.ZipFile("made.zip", "w") as archive:
        archive.writestr("team_run/1_team_run.png", render_picture(Image("a", picture), "center"))
    return {
        "submit": ["task.group=team", f"task.runs={{run:{results}}}"],
        "check": ["submission=made.zip"],
    }


def make_collection(option: str, pictures: Path) -> list[str]:
    """Bring some pictures into the form that an option reads, and return what names it."""
    chosen = sorted(pictures.iterdir())[:20]
    Path("shards").mkdir()
    if option == "collection":
        for path in chosen:
            Path("shards", path.name).symlink_to(path)
    elif option == "collection_zip":
        with zipfile.ZipFile("shards/000.zip", "w") as archive:
            for path in chosen:
                archive.write(path, f"data/images/{path.name}")
    elif option == "collection_tar":
        with tarfile.open("shards/000.tar", "w") as archive:
            for path in chosen:
                archive.add(path, path.name)
    else:
        lines = [*(["path"] if option == "collection_table" else []), *map(str, chosen)]
        name = NEEDED[f"data={option}"][0].partition("=")[2]
        Path(name).write_text("\n".join(lines))
        return [f"data.path={name}"]
    return ["data.folder=shards"]


@pytest.mark.slow
def test_every_index_runs_and_finds_nearly_what_the_exact_one_finds(
    run_sample: Callable[..., Any],
) -> None:
    ceilings = {}
    made = run_sample("task=index", "task.index_dir=index")
    assert made.code == 0, made.output
    coarse = "ivf_flat index.nlist=16 index.nprobe=1"
    for option in [*(option for group, option in OPTIONS if group == "index"), coarse]:
        needed = [*NEEDED.get(f"index={option}", []), *f"index={option}".split()]
        result = run_sample(*needed, "reranker=identity", "top_k=10")
        assert result.code == 0, result.output
        found = re.search(r"ceiling Hits@10 ([\d.]+)", result.stdout)
        assert found
        ceilings[option] = float(found[1])
    # The option and its numbers really are in use.
    assert ceilings.pop(coarse) < ceilings["flat"] - 0.1
    assert min(ceilings.values()) > ceilings["flat"] - 0.1
    assert max(ceilings.values()) < ceilings["flat"] + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "sample" in name])
def test_an_experiment_on_the_sample_newsroom_runs(
    name: str, run_sample: Callable[..., Any]
) -> None:
    swept = narrow(name)
    result = run_sample(*(["-m"] if swept else []), f"experiment={name}", *swept)
    assert result.code == 0, result.output
    assert result.stdout.count("reranked/hits_at_1 ") == (2 ** len(swept) if swept else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("tune_")])
def test_a_search_of_the_sample_newsroom_runs(name: str, run_sample: Callable[..., Any]) -> None:
    pytest.importorskip("optuna")
    # Models are asked about each candidate: five of them, not minutes.
    few = [] if name == "tune_cost" else ["top_k=5"]  # that experiment chooses it
    result = run_sample("-m", f"experiment={name}", "hydra.sweeper.n_trials=2", *few)
    assert result.code == 0, result.output
    assert "chosen on val, reported on test" in result.stdout


# The experiments with chat models have a test beside those of their rerankers.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n for n in EXPERIMENTS if not re.search("sample|tune_|original_|llm_rewriting|vlm_judge", n)],
)
def test_an_experiment_without_chat_models_runs_on_tiny_models(
    name: str,
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    tiny_clip: Path,
    tiny_head: Path,
) -> None:
    overrides = [option for option in tiny_options if not option.startswith("reranker=")]
    if "aesthetics" in name:
        overrides.append(f"reranker.backbone.model={tiny_clip}")
        overrides += [f"reranker.head={tiny_head}", "reranker.sha256=null", *narrow(name)]
    else:
        overrides.append("backbone=clip_vit_b32,clip_vit_l14")
    result = newsimg_here("-m", f"experiment={name}", *overrides, "tracking=none")
    assert result.code == 0, result.output
    assert result.stdout.count("reranked/hits_at_1 ") == 2
