"""What a sweep takes over from runs that finished before it, so that they are not run again."""

import os
import shutil
from pathlib import Path

from newsimg.tracking.record import RunRecord, read_records, run_dir

RESUMED_TAG = "newsimg.resumed_from"  # the run, or its record, that a job was taken over from


def index_finished(folder: Path) -> dict[str, Path]:
    """Return the records of the finished runs below a folder by their `config_hash`.

    Of several with one hash it is the first; a run that was itself taken over counts where there is
    no other, since it has all of the files.
    """
    known: dict[str, tuple[bool, int, Path]] = {}
    for path, record in read_records(folder):
        if record.status == "FINISHED" and "config_hash" in record.tags:
            config_hash = record.tags["config_hash"]
            rank = (record.resumed, record.start_time, path)
            known[config_hash] = min(known.get(config_hash, rank), rank)
    return {config_hash: path for config_hash, (_, _, path) in known.items()}


def locate_files(record: RunRecord, path: Path) -> RunRecord:
    """Let the record that was read at `path` name its files by their absolute place."""
    record.artifact_root = str((run_dir(path) / record.artifact_root).resolve())
    return record


def adopt_finished(found: RunRecord, record: RunRecord, output_dir: Path) -> RunRecord:
    """Complete the record of a job by what a finished run has found, and copy that run's files.

    Args:
        found: The finished run; its files are below `artifact_root`.
        record: The job's, which keeps its own name, params and tags.
        output_dir: The job's folder; a file that is there already, such as Hydra's, stays.
    """
    source = Path(found.artifact_root)
    for name in found.artifacts:
        target = output_dir / name
        if not target.exists() and (source / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
    record.metrics, record.metrics_time = dict(found.metrics), found.metrics_time
    record.start_time, record.end_time = found.start_time, found.end_time
    record.status, record.resumed = "FINISHED", True
    record.tags[RESUMED_TAG] = found.run_id or found.record_id
    record.artifacts = [name for name in found.artifacts if os.path.isfile(output_dir / name)]
    return record
