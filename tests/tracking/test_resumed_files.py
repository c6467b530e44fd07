"""The files of a finished run in the folder of a job that reuses it."""

from pathlib import Path

import pytest

from newsimg.datatypes import Job
from newsimg.tracking.mlflow import MlflowTracker
from newsimg.tracking.record import RECORDS, RunRecord
from newsimg.tracking.resume import adopt_finished, check_inside
from newsimg.tracking.sender import RunSender

NAMES = ["queries.csv", "summary/table.csv", ".hydra/config.yaml", "newsimg.log"]


def test_files_that_a_stopped_job_left_are_replaced_and_those_of_hydra_are_kept(
    tmp_path: Path,
) -> None:
    for folder, content in (("finished", "whole"), ("job", "wh")):
        for name in NAMES:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(content)
    (tmp_path / "job" / "summary" / "table.csv").unlink()
    run = {"experiment": "news", "name": "a", "params": {}, "tags": {}}
    found = RunRecord(**run, artifact_root=str(tmp_path / "finished"), artifacts=NAMES)
    adopted = adopt_finished(found, RunRecord(**run), tmp_path / "job")
    assert adopted.artifacts == NAMES
    read = [(tmp_path / "job" / name).read_text() for name in NAMES]
    assert read == ["whole", "whole", "wh", "wh"]


def test_files_from_the_store_replace_those_that_a_stopped_job_left(tmp_path: Path) -> None:
    output_dir, job = tmp_path / "single", tmp_path / "job"
    tracker = MlflowTracker(uri=None, folder=str(tmp_path))
    for folder, content in ((output_dir, "whole"), (job, "wh")):
        for name in NAMES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
    with tracker.track(Job("news", "a", {}, {}, output_dir)):
        tracker.log_artifacts(output_dir)
    sender = RunSender(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", folder=tmp_path)
    (run,) = sender.search("attributes.status = 'FINISHED'")
    assert sorted(sender.fetch_files(run.info.run_id, job)) == sorted(NAMES)
    assert [(job / name).read_text() for name in NAMES] == ["whole", "whole", "wh", "wh"]
    assert list((job / RECORDS).iterdir()) == []


@pytest.mark.parametrize("name", ["../other.csv", "summary/../../other.csv", "/etc/hosts"])
def test_a_file_of_the_store_outside_of_the_jobs_folder_is_refused(
    name: str, tmp_path: Path
) -> None:
    check_inside(tmp_path / "job", "summary/../table.csv")
    with pytest.raises(ValueError, match=r"outside of the run's folder"):
        check_inside(tmp_path / "job", name)
