"""Whose files are whose, whatever Hydra is told of folders."""

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from newsimg.launch.job_folders import claim_folder
from newsimg.tracking.record import list_files

OWN = {"config.yaml", "retrieval.run", "reranked.run", "qrels.txt", "queries.csv", "report.html"}


def artifacts_of(folder: Path) -> list[tuple[str, set[str]]]:
    """Return name and files of the runs in a folder of runs, oldest first; no sub-folder's."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute("select name, run_uuid from runs order by start_time").fetchall()
    files = folder / "mlartifacts"
    return [
        (name, {path.name for path in (files / id_ / "artifacts").iterdir()}) for name, id_ in rows
    ]


def test_a_run_in_a_folder_with_other_files_logs_what_it_wrote_itself(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "articles.csv").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old_curve.csv").write_text("of another run")
    for where in (".", "out", "runs"):
        result = newsimg_here(*tiny_options, "folder=runs", f"hydra.run.dir={where}")
        assert result.code == 0, result.output
        (line,) = (line for line in result.stdout.splitlines() if "written to" in line)
        folder = Path(line.removeprefix("written to").strip())
        assert folder.parent == (tmp_path / where).resolve()
        assert {path.name for path in folder.iterdir()} >= OWN
    runs = artifacts_of(tmp_path / "runs")
    assert len(runs) == 3
    for _, files in runs:
        assert files == runs[0][1] >= OWN
        assert not {name for name in files if name.endswith((".db", ".log")) or "old" in name}
    assert (tmp_path / "articles.csv").read_text() == "mine"


def test_a_new_folder_is_taken_as_it_is_and_the_next_run_in_it_gets_its_own(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    for weight in (0.1, 0.2):
        result = newsimg_here(
            *tiny_options, "folder=runs", "hydra.run.dir=mine", f"weight.value={weight}"
        )
        assert result.code == 0, result.output
    assert "value: 0.1" in (tmp_path / "mine" / "config.yaml").read_text()
    (second,) = (path.parent for path in (tmp_path / "mine").glob("2*/config.yaml"))
    assert "value: 0.2" in (second / "config.yaml").read_text()
    (_, first_files), (_, second_files) = artifacts_of(tmp_path / "runs")
    assert first_files >= OWN <= second_files
    assert second.name not in first_files


@pytest.mark.slow
def test_sweeps_in_one_folder_have_their_own_jobs_and_chdir_loses_neither_data_nor_runs(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    paths = {"csv_path", "image_dir", "model"}
    relative = [
        f"{key}={os.path.relpath(value)}" if key.rpartition(".")[2] in paths else option
        for option in tiny_options
        for key, _, value in [option.partition("=")]
    ]
    for weights in ("0.1,0.2", "0.7"):
        result = newsimg_here(
            "-m",
            *relative,
            "folder=runs",
            "hydra.sweep.dir='sweeps, mine'",
            "hydra.job.chdir=true",
            f"weight.value={weights}",
        )
        assert result.code == 0, result.output
        assert result.stderr.count("hydra.job.chdir=true has no effect") == 1
        assert Path.cwd() == tmp_path
    (second,) = (tmp_path / "sweeps, mine").glob("2*/summary/sweep.csv")
    assert list(pd.read_csv(second)["name"]) == ["identity l1 w=0.70 all top_k=10"]
    first = pd.read_csv(tmp_path / "sweeps, mine" / "summary" / "sweep.csv")
    assert list(first["params.weight"]) == [0.1, 0.2]
    assert [name for name, _ in artifacts_of(tmp_path / "runs")][1:3] == [
        "identity l1 w=0.10 all top_k=10",
        "identity l1 w=0.20 all top_k=10",
    ]
    assert sorted(path.parent for path in tmp_path.rglob("*.db")) == [tmp_path / "runs"]


def test_jobs_of_a_sweep_that_share_a_folder_do_not_share_files(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    result = newsimg_here(
        "-m", *tiny_options, "folder=runs", "hydra.sweep.subdir=all", "weight.value=0.1,0.2"
    )
    assert result.code == 0, result.output
    _, (_, first), (_, second) = artifacts_of(tmp_path / "runs")
    assert {name for name in first if name[0] != "2"} == first
    assert first - {".hydra", "newsimg.log"} == second


def test_of_processes_that_want_one_folder_each_gets_one_of_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim_folder, [tmp_path / "out"] * 40))
    assert len(set(claimed)) == 40
    assert claimed.count(tmp_path / "out") == 1
    for number, folder in enumerate(claimed):
        (folder / f"{number}.txt").touch()
    for number, folder in enumerate(claimed):
        assert list_files(folder) == [f"{number}.txt"]
