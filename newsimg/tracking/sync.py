"""Operations on many runs: close those of dead processes, and send missing data."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from newsimg.reporting.console import console
from newsimg.reporting.quoting import quote_override
from newsimg.storage.files import write_atomically
from newsimg.tracking.background import Sender
from newsimg.tracking.record import close_dead, find_jobs, find_records, read_record, run_dir
from newsimg.tracking.sender import explain
from newsimg.tracking.uri import hide_passwords

OPEN_RUNS = ".open_runs"  # in the folder of runs, with a file per open run


def note_open(folder: Path, record: Path) -> None:
    """List the run of a record as open, so that open runs are found without reading all records."""
    with write_atomically(_note(folder, record)) as temporary:
        temporary.write_text(os.path.relpath(record, folder), encoding="utf-8")


def note_closed(folder: Path, record: Path) -> None:
    """Remove the run of a record from the list of open runs."""
    _note(folder, record).unlink(missing_ok=True)


def close_killed(folder: Path, close: Callable[[Path], object]) -> list[Path]:
    """Close killed runs by a function of their records, and return these."""
    killed = find_killed(folder)
    for path in killed:
        close(path)
        note_closed(folder, path)
    if killed:
        runs = "1 run" if len(killed) == 1 else f"{len(killed)} runs"
        console.print(f"tracking: {runs} that did not end before: recorded as KILLED now")
    return killed


def find_killed(folder: Path) -> list[Path]:
    """Return the records of open runs that were killed, jobs before their sweeps."""
    found = []
    for note in (folder / OPEN_RUNS).glob("*.path"):
        try:
            path = Path(os.path.normpath(folder / note.read_text(encoding="utf-8")))
            record = read_record(path)
        except (OSError, ValueError):  # deleted, or just ended
            note.unlink(missing_ok=True)
            continue
        if record.is_alive:
            continue
        if record.status in ("RUNNING", "KILLED") and not record.sent:
            found.append(path)
        else:
            note.unlink(missing_ok=True)
    return sorted(found, key=lambda path: (-len(path.parts), str(path)))


def close_dead_jobs(sweep: Path, patience: float) -> int:
    """Mark the jobs whose process ended without closing the run as killed.

    Args:
        sweep: Record of the sweep.
        patience: Seconds to wait for jobs on this machine to end.

    Returns:
        The number of running jobs.
    """
    deadline = time.monotonic() + patience
    running = [path for path, job in find_jobs(sweep) if job.status == "RUNNING"]
    while True:
        jobs = {path: close_dead(path) for path in running}
        running = [path for path, job in jobs.items() if job.status == "RUNNING"]
        # Jobs in a queue are not waited for.
        if all(jobs[path].slurm_job for path in running) or time.monotonic() > deadline:
            return len(running)
        time.sleep(0.1)


def send_each(
    sender: Sender, paths: Sequence[Path]
) -> Iterator[tuple[Path, str, Exception | None]]:
    """Send runs one by one, continuing after errors.

    Yields:
        path: Record of the run.
        outcome: Outcome as in `MlflowTracker.send_waiting`.
        error: Why the run was not sent, or None.
    """
    silence: Exception | None = None
    for path in paths:
        outcome, error = _send(sender, path, silence)
        yield path, outcome, error
        if error is not None and silence is None and sender.is_outage(error):
            silence = None if sender.answers() else error  # the error may concern this run only


def send_all(sender: Sender, folder: Path) -> list[tuple[str, str, str, str]]:
    """Send the missing data of the runs in a folder; see `Tracker.send_waiting`."""
    rows, ended = [], {}
    for path in find_records(folder):
        where = os.path.relpath(run_dir(path), folder)
        try:
            record = close_dead(path)
        except (OSError, ValueError) as error:
            rows.append((path.name, "", where, f"waiting: {error}"))
            continue
        if record.end_time is None:
            host = record.owner.rpartition(":")[0]
            unknown = f": on {host}, state unknown"
            outcome = "running" + ("" if record.ask_owner() else unknown)
            rows.append((record.name, record.status, where, outcome))
        elif not record.resumed:
            ended[path] = record
    # Runs that were not sent come first.
    for path, outcome, _ in send_each(sender, sorted(ended, key=lambda path: ended[path].sent)):
        record = ended[path]
        if outcome != "already there" or not record.sent:
            where = os.path.relpath(run_dir(path), folder)
            rows.append((record.name, record.status, where, outcome))
    return rows


def tell_waiting(folder: Path, paths: Sequence[Path], n_running: int = 0) -> None:
    """Print how many runs are unsent with the command to send them, and how many are running."""
    n_waiting = sum(not read_record(path).sent for path in paths)
    if n_waiting:
        command = shlex.join(["newsimg", "task=sync", quote_override("folder", str(folder))])
        runs = "1 run waits" if n_waiting == 1 else f"{n_waiting} runs wait"
        console.print(f"{runs} to be sent  {command}")
    if n_running:
        jobs = "1 job runs on, and is" if n_running == 1 else f"{n_running} jobs run on, and are"
        console.print(f"{jobs} sent when ended")


def describe_error(error: Exception, uri: str) -> str:
    """Return an error of a store as one line without the password."""
    text = hide_passwords(str(error), uri)
    return text if isinstance(error, ValueError) else explain(text)  # our own messages are one line


def _send(sender: Sender, path: Path, silence: Exception | None) -> tuple[str, Exception | None]:
    try:
        if silence is not None:
            raise silence
        return ("sent" if sender.send(path) else "already there"), None
    except Exception as error:
        was_sent = read_record(path).sent
        if was_sent and sender.is_missing(error):
            return "not there: deleted, or sent to another tracking store", None
        kind = "no answer" if sender.is_outage(error) else "refused"
        wanted = "not compared" if was_sent else "waiting"
        return f"{wanted}: {kind} ({describe_error(error, sender.uri)})", error


def _note(folder: Path, record: Path) -> Path:
    return folder / OPEN_RUNS / f"{record.stem}.path"
