"""A sweep that is killed goes on where it stopped."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WEIGHTS = "weight.value=0,0.2,0.4,0.6"


def finished_jobs(folder: Path) -> int:
    database = folder / "multirun" / "mlflow.db"
    if not database.exists():
        return 0
    with sqlite3.connect(database) as connection:
        try:
            return connection.execute(
                "select count(*) from runs where status = 'FINISHED' and name like '% w=%'"
            ).fetchone()[0]
        except sqlite3.OperationalError:  # the tables are just being made
            return 0


def start_sweep(folder: Path, options: list[str], *more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "newsimg.run", "-m", *options, WEIGHTS, *more],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_summary(folder: Path) -> pd.DataFrame:
    path = max((folder / "multirun" / "sweep").rglob("sweep.csv"), key=os.path.getmtime)
    table = pd.read_csv(path).sort_values("name", ignore_index=True)
    return table[["name", "status", "reranked/hits_at_1", "reranked/mrr_at_10"]]


def test_a_killed_sweep_resumes_and_ends_as_an_uninterrupted_one(
    newsimg_here, tmp_path, tiny_aesthetics
):
    sweep = start_sweep(tmp_path / "killed", tiny_aesthetics)
    while finished_jobs(tmp_path / "killed") < 1 and sweep.poll() is None:
        time.sleep(0.02)
    sweep.send_signal(signal.SIGKILL)
    sweep.communicate()
    done = finished_jobs(tmp_path / "killed")
    assert 1 <= done < 4
    resumed = start_sweep(tmp_path / "killed", tiny_aesthetics, "resume=true")
    output, _ = resumed.communicate()
    assert resumed.returncode == 0, output
    assert output.count("finished before") == done
    whole = newsimg_here(
        *("-m", *tiny_aesthetics, WEIGHTS, f"folder={tmp_path / 'whole' / 'multirun'}"),
        f"cache.dir={tmp_path / 'store'}",
    )
    assert whole.code == 0, whole.output
    pd.testing.assert_frame_equal(
        read_summary(tmp_path / "killed"), read_summary(tmp_path / "whole"), check_exact=True
    )
