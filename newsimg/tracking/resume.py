"""Reuse finished runs in a sweep, instead of running their jobs again."""

import os
import shutil
from pathlib import Path

from newsimg.storage.files import write_atomically
from newsimg.tracking.record import RunRecord, read_records, run_dir

RESUMED_TAG = "newsimg.resumed_from"  # id of the reused run, or of its record
HYDRA = ".hydra"  # folder of the job's config, as Hydra composed it


def index_finished(folder: Path) -> dict[str, Path]:
    """Return the records of the finished runs in a folder by `config_hash`.

    Of several runs with the same hash the first is returned; copies (`resumed`) come last.
    """
    known: dict[str, tuple[bool, int, Path]] = {}
    for path, record in read_records(folder):
        if record.status == "FINISHED" and "config_hash" in record.tags:
            config_hash = record.tags["config_hash"]
            rank = (record.resumed, record.start_time, path)
            known[config_hash] = min(known.get(config_hash, rank), rank)
    return {config_hash: path for config_hash, (_, _, path) in known.items()}


def locate_files(record: RunRecord, path: Path) -> RunRecord:
    """Make `artifact_root` of the record read from `path` absolute."""
    record.artifact_root = str((run_dir(path) / record.artifact_root).resolve())
    return record


def is_own(output_dir: Path, name: str) -> bool:
    """Return whether a file in a job's folder is of Hydra or the log, and so not to be replaced.

    Others were left by the same job, which was stopped and queued again, and may be incomplete.
    """
    path = output_dir / name
    return path.exists() and (Path(name).parts[0] == HYDRA or path.suffix == ".log")


def check_inside(output_dir: Path, name: str) -> None:
    """Check that a file named by a store is in the job's folder.

    Raises:
        ValueError: If it is not.
    """
    if not Path(os.path.abspath(output_dir / name)).is_relative_to(os.path.abspath(output_dir)):
        raise ValueError(f"the tracking store names a file {name!r}, outside of the run's folder")


def adopt_finished(found: RunRecord, record: RunRecord, output_dir: Path) -> RunRecord:
    """Complete the record of a job with the results of a finished run, and copy its files.

    Args:
        found: The finished run, with its files in `artifact_root`.
        record: The record of the job, which keeps its name, params and tags.
        output_dir: Folder of the job; see `is_own`.
    """
    source = Path(found.artifact_root)
    for name in found.artifacts if source != output_dir else ():
        if not is_own(output_dir, name) and (source / name).is_file():
            with write_atomically(output_dir / name) as temporary:
                shutil.copyfile(source / name, temporary)
    record.metrics, record.metrics_time = dict(found.metrics), found.metrics_time
    record.start_time, record.end_time = found.start_time, found.end_time
    record.status, record.resumed = "FINISHED", True
    record.tags[RESUMED_TAG] = found.run_id or found.record_id
    record.artifacts = [name for name in found.artifacts if os.path.isfile(output_dir / name)]
    return record
