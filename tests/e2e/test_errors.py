"""Mistakes of the user's are a sentence and status 2; defects keep their traceback and status 1."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def assert_is_told(result: Any, message: str) -> None:
    """Hold the output of a run that a mistake has ended against what it must say."""
    assert result.code == 2, result.output
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.startswith("newsimg: error: ")
    assert len(result.stderr.splitlines()) <= 3
    assert "Traceback" not in result.output
    assert "written to" not in result.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("wieght=l1", "there is no wieght; did you mean weight?"),
        ("weight=l2", r"weight must be one of l1, l1_signed, minmax, .*, got 'l2'"),
        ("weight=zscor", r"got 'zscor'; did you mean 'zscore'\?"),
        (
            "experiment=tune_wieght",
            "cannot be 'tune_wieght'; did you mean 'tune_weight'",
        ),
        ("weight.valeu=0.2", r"there is no weight.valeu; did you mean weight.value\?"),
        ("topk=5", r"there is no topk; did you mean top_k\?"),
        ("value=0.2", r"there is no value; did you mean weight.value\?"),
        ("index.m=3", "there is no index.m here; index=hnsw would have it"),
        ("tags={desk: sport}", r"tags is empty: \+tags.desk=VALUE adds desk to it"),
        ("top_k", "an override must be name=value, got 'top_k'"),
        ("weight.value=[1,", r"'weight.value=\[1,' cannot be read"),
        ("weight.value=${nowhere}", "weight.value: Interpolation key 'nowhere' not found"),
        ("folder=${oc.env:NOWHERE}", "Environment variable 'NOWHERE' not found"),
        ("weight.value=2", r"error: weight.value must be in \[0, 1\], got 2"),
        ("weight.value=lots", r"weight.value must be in \[0, 1\], got 'lots'"),
        ("+weight.k=2", "L1Weight takes no k; it takes value"),
        ("top_k=0", "top_k must be a whole number of at least 1, got 0"),
        ("top_k=2.5", "top_k must be a whole number of at least 1, got 2.5"),
        ("top_k=many", "top_k must be .*got 'many'"),
        ("~weight", "weight must be one of its options, which newsimg --help lists, got None"),
        ("data.name=null", "data.name must be a text, got None"),
        ("tags=3", r"tags must be a mapping, e.g. \+tags.note=trial, got 3"),
        ("trusted_packages=3", "trusted_packages must be a list .*, got 3"),
        ("data.split=dev", "data.split must be one of train, val, test, all, got 'dev'"),
        ("data.split=vall", r"got 'vall'; did you mean 'val'\?"),
        ("backbone.dtype=int8", "backbone.dtype must be one of .*got 'int8'"),
        ("backbone.batch_size=x", "batch_size of .*Backbone must be int or auto, got 'x'"),
        (
            "backbone.query_template=[a,[b]]",
            r"query_template of .* must be .*, got \['a', \['b'\]\]",
        ),
        ("backbone.batch_size=0", "backbone.batch_size must be auto or at least 1, got 0"),
        ("backbone.device=gpu", "backbone.device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("task.n_sheet_queries=-1", "task.n_sheet_queries must be at least 0, got -1"),
        ("query=Storm", "task=evaluate takes no query, got 'Storm'"),
        ("data.csv_path=nowhere.csv", "error: no CSV of articles at nowhere.csv"),
        ("data.image_dir=nowhere", "error: no folder of pictures at nowhere"),
        ("folder=/dev/null/runs", "error: /dev/null/runs.*: Not a directory"),
        ("backbone.model=no/such/folder", "model must be a folder or a hub id, got no/such/folder"),
        ("backbone.model=no/such", "no/such is no folder here, and HF_HUB_OFFLINE=1 forbids"),
        ("weight=[l1,rrf]", r"weight must be one of its options, .* got 'weight=\[l1,rrf\]'"),
        ("weight={l1:1}", "weight must be one of its options"),
        ("index.factory='Flat{'", "index.factory must have placeholders such as {m}, got 'Flat{'"),
        ("~index._target_", "index needs a _target_, a class derived from Index, got None"),
        ("weight._target_=newsimg..x", "_target_ must be package.module.Class, got 'newsimg..x'"),
        (
            "index._target_=newsimg.weight.l1.L1Weight",
            "index must be of a class derived from Index, got _target_ newsimg.weight.l1.L1Weight",
        ),
        (
            "tracking._target_=newsimg.weight.l1.L1Weight",
            "tracking must be of a class derived from Tracker",
        ),
        (
            "reranker._target_=newsimg.nowhere.Nothing",
            "newsimg.nowhere.Nothing cannot be found: No module named 'newsimg.nowhere'",
        ),
        (
            "reranker._target_=newsimg.reranker.nnn.NNNRerank",
            r"newsimg.reranker.nnn.NNNRerank is no class; did you mean 'NNNReranker'\?",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence_that_says_what_to_type(
    argument: str, message: str, newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    key = argument.partition("=")[0]
    overrides = [option for option in tiny_options if option.partition("=")[0] != key]
    assert_is_told(newsimg_here(*overrides, "tracking=none", argument), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data=newsimages", "reranker=hubness"],
            "data.csv_path, data.image_dir must be given, "
            "e.g. data.csv_path=articles.csv data.image_dir=pictures",
        ),
        (["index=saved"], r"index.folders must be given, e.g. index.folders=\[\S+\]"),
        (
            ["reranker=ensemble", "reranker.members.hubnes.weight=0.3"],
            r"did you mean reranker.members.hubness\?",
        ),
        (
            ["reranker=ensemble", "+reranker.members.hubnes.weight=0.3"],
            r"reranker.members.hubnes must have .*; did you mean 'hubness'\?",
        ),
        (["-m", "weight.vlue=0,1"], r"there is no weight.vlue; did you mean weight.value\?"),
        (["-m", "reranker=nnn,typo"], "reranker must be one of .*, got 'typo'"),
        (["--config-dir", "nowhere"], "Additional config directory '.*/nowhere' not found"),
        (["-m", "tracking.uri=foo://x", "seed=1,2"], "foo://x"),
        (["-m", "hydra/sweeper=optuna"], "hydra/sweeper=optuna needs values to search"),
    ],
)
def test_so_is_one_of_several_arguments_or_of_a_sweep(
    arguments: list[str], message: str, newsimg_here: Callable[..., Any]
) -> None:
    assert_is_told(newsimg_here(*arguments), message)


def test_all_wrong_values_are_told_at_once_before_anything_heavy_is_imported(
    newsimg: Callable[..., Any], tmp_path: Path
) -> None:
    code = "import atexit, sys\n"
    code += "atexit.register(lambda: print(*sys.modules, file=open('seen', 'w')))"
    (tmp_path / "sitecustomize.py").write_text(code)
    wrong = ["index=hnsw", "index.m=-3", "index.ef_search=0", "top_k=0", "weight.value=2"]
    wrong += ["data.split=vall", "data.pool=none", "task.n_sheet_queries=-1"]
    result = newsimg(*wrong, env={"PYTHONPATH": str(tmp_path)})
    assert result.code == 2
    assert result.stderr.splitlines() == [
        "newsimg: error: 7 values are wrong:",
        "- top_k must be a whole number of at least 1, got 0",
        "- weight.value must be in [0, 1], got 2",
        "- data.split must be one of train, val, test, all, got 'vall'; did you mean 'val'?",
        "- data.pool must be one of split, all, got 'none'",
        "- index.m must be at least 1, got -3",
        "- index.ef_search must be at least 1, got 0",
        "- task.n_sheet_queries must be at least 0, got -1",
    ]
    seen = set((tmp_path / "seen").read_text().split())
    assert "newsimg.task.evaluate" in seen
    assert not seen & {"torch", "transformers", "mlflow", "scipy", "matplotlib", "sklearn"}
    assert not (tmp_path / "multirun" / "mlflow.db").exists()  # nothing ran, so no run is kept


def test_a_jobs_mistake_is_a_line_and_the_other_jobs_run(
    newsimg_here: Callable[..., Any], tiny_options: list[str]
) -> None:
    result = newsimg_here("-m", *tiny_options, "tracking=none", "weight.value=2,0.1")
    assert result.code == 2
    told = [line for line in result.stderr.splitlines() if not line.startswith("WARNING")]
    assert told == ["newsimg: error: job 0: weight.value must be in [0, 1], got 2"]


@pytest.mark.slow
def test_the_mistake_of_a_job_in_another_process_is_told_as_well(
    newsimg: Callable[..., Any], tiny_options: list[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "tracking=none"]
    result = newsimg("-m", *tiny_options, *launcher, "weight.value=2,3")
    assert result.code == 2
    assert result.stderr == "newsimg: error: job 0: weight.value must be in [0, 1], got 2\n"


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
def test_a_defect_keeps_its_traceback_and_says_where_to_report_it(
    sweep: list[str],
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    lines = [
        "import numpy as np",
        "from newsimg.interfaces import Reranker",
        "class Wrong(Reranker):",
        "    def score(self, queries, candidates):",
        "        return np.ones((2, 3)) @ np.ones((2, 3))  # a ValueError of NumPy's",
    ]
    (tmp_path / "wrong_reranker.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    own = ["trusted_packages=[newsimg,wrong_reranker]", "tracking=none"]
    result = newsimg_here(*sweep, *tiny_options, *own, "reranker._target_=wrong_reranker.Wrong")
    assert result.code == 1
    n_jobs = 2 if sweep else 1
    assert result.stderr.count("Traceback (most recent call last)") == n_jobs
    assert result.stderr.count("# a ValueError of NumPy's") == n_jobs
    assert result.stderr.count("ValueError is a defect of wrong_reranker, not of") == n_jobs
    assert "hydra/" not in result.stderr  # of the frames above the job nobody learns anything


def test_the_traceback_of_a_mistake_is_shown_where_it_is_asked_for(
    newsimg_here: Callable[..., Any], tiny_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    result = newsimg_here(*tiny_options, "tracking=none", "weight.value=2")
    assert result.code == 2
    assert "Traceback" in result.stderr
    sentence = "newsimg: error: weight.value must be in [0, 1], got 2"
    assert result.stderr.splitlines()[-1] == sentence


def test_a_hub_out_of_reach_is_told_without_the_librarys_own_words(
    newsimg: Callable[..., Any], newsroom: Any
) -> None:
    with socket.socket() as taken:  # a port that nothing listens on
        taken.bind(("127.0.0.1", 0))
        hub = f"http://127.0.0.1:{taken.getsockname()[1]}"
        data = [f"data.csv_path={newsroom.csv_path}", f"data.image_dir={newsroom.image_dir}"]
        options = ["data=newsimages", *data, "reranker=identity", "tracking=none"]
        env = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
        result = newsimg(*options, "backbone=clip_vit_b32", env=env)
    name = "openai/clip-vit-base-patch32"
    assert_is_told(result, rf"{name} is no folder here, and the hub \({hub}\) does not answer")
    assert "backbone.model=FOLDER takes a copy on disk" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_full_disk_is_told_with_what_was_to_be_written(tmp_path: Path) -> None:
    mount = "mkdir disk && mount -t tmpfs -o size=16k tmpfs disk"
    mounted = ["unshare", "--mount", "sh", "-c"]  # for this process alone
    if shutil.which("unshare") is None or subprocess.run([*mounted, mount]).returncode:
        pytest.skip("no disk can be mounted here")
    fill = "mount -t tmpfs -o size=16k tmpfs disk; head -c 99999 /dev/zero > disk/filling"
    run = f"{shlex.quote(sys.executable)} -m newsimg.run tracking=none folder=disk/runs"
    done = subprocess.run(
        [*mounted, f"{fill} 2> filled; {run}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    message = r"newsimg: error: disk/runs/single/\S+: No space left on device; folder=DIR writes"
    assert re.match(message, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], "there is no flag --foo; newsimg --hydra-help lists the flags"),
        (["--config-dir"], "argument --config-dir/-cd: expected one argument"),
        (["top_k=5", "-m", "seed=1,2"], r"overrides must stand together, got 'seed=1,2' apart"),
    ],
)
def test_a_wrong_flag_is_a_sentence_without_usage(
    newsimg_here: Callable[..., Any], arguments: list[str], message: str
) -> None:
    assert_is_told(newsimg_here(*arguments), message)


def test_output_that_nobody_reads_any_more_is_no_error(tmp_path: Path) -> None:
    text = f"{shlex.quote(sys.executable)} -m newsimg.run --help | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("newsimg picks")


def test_a_config_that_is_not_utf8_is_named(newsimg_here: Callable[..., Any]) -> None:
    Path("own/weight").mkdir(parents=True)
    Path("own/weight/latin.yaml").write_bytes(b"# Gr\xf6\xdfe\nvalue: 0\n")
    result = newsimg_here("--config-dir", "own", "weight=latin")
    assert_is_told(result, r"own/weight/latin.yaml must be in UTF-8, got byte 0xf6 at position 4")
