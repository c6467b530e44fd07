"""Which runs of a folder have not ended, so that a later run closes those that were killed."""

import os
from collections.abc import Callable
from pathlib import Path

from newsimg.reporting.console import console
from newsimg.storage.files import write_atomically
from newsimg.tracking.record import read_record

OPEN_RUNS = ".open_runs"  # in the folder of runs, a file for each run that has not ended


def note_open(folder: Path, record: Path) -> None:
    """Note that the run of a record is open: looking through all runs would take its time."""
    with write_atomically(_note(folder, record)) as temporary:
        temporary.write_text(os.path.relpath(record, folder), encoding="utf-8")


def note_closed(folder: Path, record: Path) -> None:
    """Note that the run of a record has ended."""
    _note(folder, record).unlink(missing_ok=True)


def close_killed(folder: Path, close: Callable[[Path], object]) -> list[Path]:
    """Close the runs that were killed, by a function that takes their records, and return these."""
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
        except (OSError, ValueError):  # it was deleted, or ended a moment ago
            note.unlink(missing_ok=True)
            continue
        if record.is_alive:
            continue
        if record.status in ("RUNNING", "KILLED") and not record.sent:
            found.append(path)
        else:
            note.unlink(missing_ok=True)
    return sorted(found, key=lambda path: (-len(path.parts), str(path)))


def _note(folder: Path, record: Path) -> Path:
    return folder / OPEN_RUNS / f"{record.stem}.path"
