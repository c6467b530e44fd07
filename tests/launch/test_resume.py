"""What `resume=true` takes for finished."""

import os
import shutil
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from newsimg.launch.job_hash import hash_code, hash_config
from newsimg.storage.files import PACKAGE_DIR


@pytest.mark.slow
def test_a_job_whose_articles_were_edited_is_run_again(newsimg_here, tiny_options, newsroom):
    table = Path(shutil.copy(newsroom.csv_path, "articles.csv"))
    options = ["-m", *tiny_options, f"data.csv_path={table}", "resume=true", "weight.value=0.1"]

    def was_finished():
        outcome = newsimg_here(*options)
        assert outcome.code == 0, outcome.output
        return "finished before" in outcome.output

    assert [was_finished(), was_finished()] == [False, True]
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("Ferry runs aground", "Ship runs aground"), encoding="utf-8")
    assert [was_finished(), was_finished()] == [False, True]


def test_a_job_whose_index_grew_is_another_job():
    config = {"index": {"folders": ["made"], "mapped": False}, "folder": "here"}
    Path("made").mkdir()
    manifest = Path("made/manifest.json")
    manifest.write_text("{}")
    before = hash_config(config)
    assert hash_config(config | {"folder": "there"}) == before
    manifest.write_text('{"n_images": 1}')
    assert hash_config(config) != before


def make_pictures():
    Path("pictures/deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg"):
        Path("pictures", name).write_bytes(b"123")
        os.utime(Path("pictures", name), ns=(10**18, 10**18))


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (lambda: Path("pictures/deep/b.jpg").write_bytes(b"321"), True),
        (lambda: Path("pictures/deep/b.jpg").unlink(), True),
        (lambda: Path("pictures/c.jpg").touch(), True),
        (lambda: Path("pictures/.DS_Store").touch(), False),
        (lambda: Path("model/config.json").write_text("{}"), True),
        (lambda: Path("captions.jsonl").write_text("{}"), True),
        # What runs and the cache write, wherever they do it, is no input.
        (lambda: Path("pictures/multirun/new").touch(), False),
        (lambda: Path("pictures/kept/new").touch(), False),
        (lambda: Path("index").mkdir(), False),
        (lambda: Path("val/new").touch(), False),
    ],
)
def test_a_job_depends_on_every_file_that_its_config_names(change, is_another):
    make_pictures()
    for folder in ("model", "pictures/multirun", "pictures/kept", "val"):
        Path(folder).mkdir()
    Path("pictures/circle").symlink_to(Path("pictures").absolute())
    config = {
        "data": {"image_dir": "pictures", "split": "val"},
        "backbone": {"model": "model", "query_template": "{title}" * 1000},
        "reranker": {"llm": None, "captions_path": "captions.jsonl"},
        "task": {"index_dir": "index"},
        "folder": "pictures/multirun",
        "cache": {"dir": "pictures/kept"},
        "resume": False,
    }
    before = hash_config(config)
    assert hash_config(config | {"resume": True}) == before
    change()
    assert (hash_config(config) != before) is is_another


def test_captions_that_a_run_writes_itself_do_not_make_it_another_job():
    config = {"reranker": {"llm": {"model": "any"}, "captions_path": "captions.jsonl"}}
    before = hash_config(config)
    Path("captions.jsonl").write_text("{}")
    assert hash_config(config) == before


CODE = '"""Adds."""\n\n\ndef add(a, b):\n    """Return the sum."""\n    return a + b\n'


@pytest.mark.parametrize(
    ("edited", "is_another"),
    [
        (CODE.replace("the sum", "what a and b add up to"), False),
        (CODE.replace("    return", "    # obvious\n\n    return"), False),
        (CODE.replace("a + b", "(a+b)"), False),
        (CODE.replace("a + b", "a - b"), True),
        (CODE.replace("a + b", "a + b + 1"), True),
        (CODE + "\n\nLIMIT = 3\n", True),
        (CODE + "no python", True),
    ],
)
def test_code_is_another_if_it_does_something_else(edited, is_another, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{abs(hash((edited, is_another)))}"  # Python would remember a module of that name
    module = Path(f"{name}.py")
    module.write_text(CODE)
    before = hash_code((name,))
    module.write_text(edited)
    os.utime(module, ns=(10**18, 10**18))
    assert (hash_code((name,)) != before) is is_another


def test_the_code_of_a_trusted_package_counts_as_newsimgs_own_does(monkeypatch, tmp_path):
    (tmp_path / "own_parts").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "own_parts" / f"{name}.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"trusted_packages": ["newsimg", "own_parts"]}
    before = hash_config(config)
    (tmp_path / "own_parts" / "part.py").write_text("A = 22\n")
    assert hash_config(config) != before
    assert hash_code(("newsimg",)) != hash_code(("newsimg", "own_parts"))
    assert PACKAGE_DIR.name == "newsimg"


@pytest.mark.slow
def test_a_resumed_sweep_is_as_complete_as_one_that_ran_every_job(newsimg_here, tiny_options):
    # The second job of the sweep has run before.
    first = newsimg_here("-m", *tiny_options, "weight=minmax", "weight.value=0.1")
    assert first.code == 0, first.output
    options = ["-m", *tiny_options, "weight=l1,minmax", "weight.value=0.1"]
    for folder, n_known in (("resumed", 1), ("whole", 0)):
        resume = f"resume={str(n_known == 1).lower()}"
        outcome = newsimg_here(*options, resume, f"hydra.sweep.dir={folder}")
        assert outcome.code == 0, outcome.output
        assert outcome.output.count("finished before") == n_known
    resumed, whole = (pd.read_csv(f"{name}/summary/sweep.csv") for name in ("resumed", "whole"))
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert whole["params.normalization"].tolist() == ["l1", "minmax"]
    assert [name for name in whole if name.startswith("params.")] == ["params.normalization"]
    for folder in ("summary", "0", "1"):
        names = {path.name for path in Path("whole", folder).iterdir()}
        assert {path.name for path in Path("resumed", folder).iterdir()} == names
    assert Path("resumed/summary/curves.png").is_file()
    check_families()


def check_families():
    """Every sweep has its jobs below it, one that was taken over with all that it had found."""
    client = MlflowClient(f"sqlite:///{Path('multirun/mlflow.db').absolute()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    parents = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    families = [
        [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
        for parent in parents
    ]
    assert sorted(map(len, families)) == [1, 2, 2]
    for run in chain(*families):
        assert run.info.status == "FINISHED"
        assert run.data.metrics["n_queries"] == 60
        assert run.data.params["reranker"] == "identity"
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert files >= {"curve.csv", "reranked.run", "config.yaml"}
