"""What there is to know of a run, in a file beside its results: no server has to be there."""

import dataclasses
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from newsimg.storage.files import write_atomically
from newsimg.tracking.processes import find_start, is_alive, name_process, name_slurm_job
from newsimg.tracking.tags import JOB_TAG, pick_tags

log = logging.getLogger(__name__)

RECORDS = ".tracking"  # the folder of records in a run's folder
SWEEP_VARIABLE = "NEWSIMG_SWEEP_RECORD"  # tells the jobs of a sweep, in any process, of its run


def now() -> int:
    """Return the time as MLflow counts it, in milliseconds."""
    return int(time.time() * 1000)


@dataclass(kw_only=True)
class RunRecord:
    """One run, and how much of it the tracking store has; paths are relative to the run's folder.

    What the store makes of it is written here at once, so that no run is made twice.
    """

    experiment: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None = None
    """The record of the sweep that the run is a job of."""
    record_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    owner: str = field(default_factory=name_process)
    owner_start: str = ""
    """With `slurm_job`: see `processes.is_alive`."""
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
    """Tags that are known at the end; `record:ID` in them becomes a link to that record's run."""
    experiment_id: str | None = None
    run_id: str | None = None
    attempted: bool = False
    """The store was asked to make the run; without a `run_id` nobody knows whether it did."""
    described: bool = False
    """The store has the params."""
    sent: bool = False
    """The store has all of it."""
    resumed: bool = False
    """It is a copy: a sweep found the run done before."""
    quiet_until: float = 0.0
    """Until then the jobs of this sweep leave the store alone, which did not answer."""

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add metrics, or replace those of the same names."""
        self.metrics |= {name: float(value) for name, value in metrics.items()}
        self.late_tags |= pick_tags(metrics)
        self.metrics_time = now()

    @property
    def is_alive(self) -> bool:
        """Whether its process may still be at it; of another machine's nobody here can tell."""
        return self.status == "RUNNING" and self.ask_owner() is not False

    def ask_owner(self) -> bool | None:
        """Tell whether its process is there; None if nobody here can tell."""
        return is_alive(self.owner, self.owner_start, self.slurm_job)

    def claim(self) -> None:
        """Make it a run of this process, which begins it, or goes on with it."""
        self.owner, self.owner_start = name_process(), find_start(os.getpid()) or ""
        self.slurm_job = name_slurm_job()
        self.status, self.end_time, self.sent, self.described = "RUNNING", None, False, False
        self.late_tags = {}

    def end(self, status: str, end_time: int | None = None, error: str = "") -> None:
        """Give it a final status, now or at a time; the last one counts, its own process's."""
        self.status, self.end_time, self.sent = status, end_time or now(), False
        self.late_tags.pop("error", None)
        if error:
            self.late_tags["error"] = error[:5000]


def create_record(record: RunRecord, output_dir: Path) -> Path:
    """Write a new record below a run's folder and return its path."""
    path = output_dir / RECORDS / f"{record.record_id}.json"
    _write(record, path)
    return path


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        ValueError: If the file is no record; names it.
    """
    try:
        return RunRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no record of a run: {error}") from error


@contextmanager
def edit_record(path: Path) -> Iterator[RunRecord]:
    """Yield a record that no other process edits meanwhile; what was changed is kept in any case.

    An error inside the block does not undo what the store has been told before it.
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
    """Return the records below a folder, those of the deepest runs first: jobs before sweeps."""
    paths = folder.rglob(f"{RECORDS}/*.json")
    return sorted(paths, key=lambda path: (-len(path.parts), str(path)))


def read_records(folder: Path) -> list[tuple[Path, RunRecord]]:
    """Read the records below a folder, jobs before sweeps; a damaged one is told of, and left."""
    found = []
    for path in find_records(folder):
        try:
            found.append((path, read_record(path)))
        except ValueError as error:
            log.warning("%s", error)
    return found


def close_dead(path: Path) -> RunRecord:
    """Read a record, and mark it as killed if its process has ended without a word."""
    with edit_record(path) as record:
        if record.status == "RUNNING" and not record.is_alive:
            last_sign = int(path.stat().st_mtime * 1000)
            record.end("KILLED", last_sign, "the process ended without a word")
    return record


def find_begun(output_dir: Path, sweep: Path | None, number: str | None) -> Path | None:
    """Return the record of a job of a sweep that was begun in a folder and has not finished.

    A queue that begins a job again does so in the job's own folder.

    Args:
        output_dir: The job's folder.
        sweep: The record of the sweep.
        number: The job's number in it.
    """
    for path, begun in read_records(output_dir) if sweep else []:
        same = find_parent(path, begun) == sweep and begun.tags.get(JOB_TAG) == number
        if same and begun.status != "FINISHED":
            return path
    return None


def go_on(record: RunRecord, output_dir: Path, sweep: Path | None) -> Path | None:
    """Go on in the run that a job of a sweep has begun, and that a queue has begun again.

    Returns:
        The path of its record, which is now one of this process; None if there is none.
    """
    path = find_begun(output_dir, sweep, record.tags.get(JOB_TAG))
    if path is not None:
        with edit_record(path) as again:
            again.claim()
            again.tags = record.tags
    return path


def find_jobs(sweep: Path) -> list[tuple[Path, RunRecord]]:
    """Return the records of a sweep's jobs in their order, whenever each of them ran."""
    found = [(path, record) for path, record in read_records(run_dir(sweep)) if path != sweep]
    jobs = [(path, job) for path, job in found if job.parent and find_parent(path, job) == sweep]
    return sorted(
        jobs, key=lambda job: (int(job[1].tags.get(JOB_TAG, 0)), job[1].start_time, str(job[0]))
    )


def find_parent(path: Path, record: RunRecord) -> Path | None:
    """Return the path of the record of the sweep that a record's run is a job of."""
    if record.parent is None:
        return None
    return Path(os.path.normpath(run_dir(path) / record.parent))


def run_dir(path: Path) -> Path:
    """Return the folder of the run that a record is of."""
    return path.parent.parent


def list_files(folder: Path) -> list[str]:
    """Return the files of a run, relative to its folder: not its records, nor other runs in it."""
    found = []
    for root, names, files in os.walk(folder):
        at = Path(root)
        names[:] = [n for n in names if n != RECORDS and not (at / n / RECORDS).exists()]
        found += [str((at / name).relative_to(folder)) for name in files if (at / name).is_file()]
    return sorted(found)


def _write(record: RunRecord, path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(record), indent=1), encoding="utf-8")
