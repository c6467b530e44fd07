"""Records of runs: files next to the results, written before a run is sent to the store."""

import dataclasses
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from newsimg.storage.files import read_checked_json, write_checked_json
from newsimg.tracking.params import JOB_TAG, pick_tags
from newsimg.tracking.processes import find_start, is_alive, name_process, name_slurm_job

log = logging.getLogger(__name__)

RECORDS = ".tracking"  # folder of the records in a run's folder
SWEEP_VARIABLE = "NEWSIMG_SWEEP_RECORD"  # path of the sweep's record, for jobs in any process


def now() -> int:
    """Return the time in milliseconds since the epoch, as in MLflow."""
    return int(time.time() * 1000)


@dataclass(kw_only=True)
class RunRecord:
    """A run and how much of it was sent to the store; paths are relative to the run's folder.

    Ids assigned by the store are saved immediately, so that no run is created twice.
    """

    experiment: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None = None
    """The record of the sweep, if the run is a job of one."""
    record_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    owner: str = field(default_factory=name_process)
    owner_start: str = ""
    """See `processes.is_alive`, also for `slurm_job`."""
    slurm_job: str = ""
    status: str = "RUNNING"
    start_time: int = field(default_factory=now)
    end_time: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_time: int | None = None
    artifact_root: str = "."
    artifacts: list[str] = field(default_factory=list)
    """Files, relative to `artifact_root`."""
    late_tags: dict[str, str] = field(default_factory=dict)
    """Tags added at the end; `record:ID` in them is replaced by a link to that record's run."""
    experiment_id: str | None = None
    run_id: str | None = None
    attempted: bool = False
    """The run was requested from the store; without a `run_id` the result is unknown."""
    described: bool = False
    """The params were sent."""
    sent: bool = False
    """The complete run was sent."""
    resumed: bool = False
    """The run is a copy of a finished run that a sweep reused."""
    quiet_until: float = 0.0
    """Time until which the jobs of this sweep do not contact the store, which was unreachable."""

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add or replace metrics."""
        self.metrics |= {name: float(value) for name, value in metrics.items()}
        self.late_tags |= pick_tags(metrics)
        self.metrics_time = now()

    @property
    def is_alive(self) -> bool:
        """Whether the run may still be running; assumed if its process is on another machine."""
        return self.status == "RUNNING" and self.ask_owner() is not False

    def ask_owner(self) -> bool | None:
        """Return whether the run's process is alive; None if unknown."""
        return is_alive(self.owner, self.owner_start, self.slurm_job)

    def claim(self) -> None:
        """Assign the run to this process, which starts or resumes it."""
        self.owner, self.owner_start = name_process(), find_start(os.getpid()) or ""
        self.slurm_job = name_slurm_job()
        self.status, self.end_time, self.sent, self.described = "RUNNING", None, False, False
        self.late_tags = {}

    def end(self, status: str, end_time: int | None = None, error: str = "") -> None:
        """Set the final status, at a given time or now; replaces an earlier one."""
        self.status, self.end_time, self.sent = status, end_time or now(), False
        self.late_tags.pop("error", None)
        if error:
            self.late_tags["error"] = error[:5000]


def create_record(record: RunRecord, output_dir: Path) -> Path:
    """Write a new record to a run's folder and return its path."""
    path = output_dir / RECORDS / f"{record.record_id}.json"
    _write(record, path)
    return path


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        ValueError: If the file is not a record; names it.
    """
    try:
        return RunRecord(**read_checked_json(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the record of a run: {error}") from error


@contextmanager
def edit_record(path: Path) -> Iterator[RunRecord]:
    """Yield a record locked against other processes, and save it on exit.

    Changes are saved even after an error, as the store may have received them already.
    """
    with filelock.FileLock(path.with_suffix(".lock")):
        record = read_record(path)
        before = dataclasses.replace(record)
        before.metrics, before.late_tags = dict(record.metrics), dict(record.late_tags)
        before.artifacts = list(record.artifacts)
        try:
            yield record
        finally:
            if record != before:
                _write(record, path)


def find_records(folder: Path) -> list[Path]:
    """Return the paths of the records in a folder, deepest first: jobs before sweeps."""
    paths = folder.rglob(f"{RECORDS}/*.json")
    return sorted(paths, key=lambda path: (-len(path.parts), str(path)))


def read_records(folder: Path) -> list[tuple[Path, RunRecord]]:
    """Read the records in a folder, jobs before sweeps; damaged ones are skipped with a warning."""
    found = []
    for path in find_records(folder):
        try:
            found.append((path, read_record(path)))
        except ValueError as error:
            log.warning("%s", error)
    return found


def close_dead(path: Path) -> RunRecord:
    """Read a record, and mark it as killed if its process ended without closing the run."""
    with edit_record(path) as record:
        if record.status == "RUNNING" and not record.is_alive:
            last_sign = int(path.stat().st_mtime * 1000)
            record.end("KILLED", last_sign, "the process ended without closing the run")
    return record


def find_begun(output_dir: Path, sweep: Path | None, number: str | None) -> Path | None:
    """Return the record of an unfinished job of a sweep in a folder, or None.

    A job that is requeued is started again in the same folder.

    Args:
        output_dir: Folder of the job.
        sweep: Record of the sweep.
        number: Number of the job in the sweep.
    """
    for path, begun in read_records(output_dir) if sweep else []:
        same = find_parent(path, begun) == sweep and begun.tags.get(JOB_TAG) == number
        if same and begun.status != "FINISHED":
            return path
    return None


def go_on(record: RunRecord, output_dir: Path, sweep: Path | None) -> Path | None:
    """Resume the run of a job of a sweep that was requeued.

    Returns:
        The path of its record, now assigned to this process; None if there is none.
    """
    path = find_begun(output_dir, sweep, record.tags.get(JOB_TAG))
    if path is not None:
        with edit_record(path) as again:
            again.claim()
            again.tags = record.tags
    return path


def find_jobs(sweep: Path) -> list[tuple[Path, RunRecord]]:
    """Return the records of a sweep's jobs, ordered by job number."""
    found = [(path, record) for path, record in read_records(run_dir(sweep)) if path != sweep]
    jobs = [(path, job) for path, job in found if job.parent and find_parent(path, job) == sweep]
    return sorted(
        jobs, key=lambda job: (int(job[1].tags.get(JOB_TAG, 0)), job[1].start_time, str(job[0]))
    )


def find_parent(path: Path, record: RunRecord) -> Path | None:
    """Return the path of the parent sweep's record, or None."""
    if record.parent is None:
        return None
    return Path(os.path.normpath(run_dir(path) / record.parent))


def run_dir(path: Path) -> Path:
    """Return the run's folder of a record."""
    return path.parent.parent


def list_files(folder: Path) -> list[str]:
    """Return the files of a run, relative to its folder, without records and nested runs."""
    found = []
    for root, names, files in os.walk(folder):
        at = Path(root)
        names[:] = [n for n in names if n != RECORDS and not (at / n / RECORDS).exists()]
        found += [str((at / name).relative_to(folder)) for name in files if (at / name).is_file()]
    return sorted(found)


def _write(record: RunRecord, path: Path) -> None:
    write_checked_json(path, dataclasses.asdict(record))
