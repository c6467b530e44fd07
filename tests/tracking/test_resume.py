"""The files of a finished run in the folder of a job that reuses it."""

from pathlib import Path

from newsimg.tracking.record import RunRecord
from newsimg.tracking.resume import adopt_finished


def test_files_that_a_stopped_job_left_are_replaced_and_those_of_hydra_are_kept(
    tmp_path: Path,
) -> None:
    names = ["queries.csv", "summary/table.csv", ".hydra/config.yaml", "newsimg.log"]
    for folder, content in (("finished", "whole"), ("job", "wh")):
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(content)
    (tmp_path / "job" / "summary" / "table.csv").unlink()
    run = {"experiment": "news", "name": "a", "params": {}, "tags": {}}
    found = RunRecord(**run, artifact_root=str(tmp_path / "finished"), artifacts=names)
    adopted = adopt_finished(found, RunRecord(**run), tmp_path / "job")
    assert adopted.artifacts == names
    read = [(tmp_path / "job" / name).read_text() for name in names]
    assert read == ["whole", "whole", "wh", "wh"]
