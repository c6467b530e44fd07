"""Check whether processes and Slurm jobs are alive; end a process with its parent."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
QUEUE_TIMEOUT = 30  # seconds
WATCH_EVERY = 1.0  # seconds
END_WITHIN = 60.0  # seconds for a process to close its run after the end of its parent
_ENDED: set[str] = set()
_ORPHANED = threading.Event()


def name_process() -> str:
    """Return an identifier of this process across machines, `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def name_slurm_job() -> str:
    """Return `job.restarts` of the current Slurm job, or an empty string outside of Slurm."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def find_start(pid: int) -> str | None:
    """Return the start time of a local process; None if it does not exist or is a zombie.

    It distinguishes a process from a later one with the same id.
    """
    if not BOOT_ID.exists():  # not Linux
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        state, _, started = subprocess.run(
            command, capture_output=True, text=True
        ).stdout.partition(" ")
        return None if not started or state.startswith("Z") else " ".join(started.split())
    try:
        # The process name before the state is in brackets, and may contain spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{BOOT_ID.read_text().strip()}.{started}"


def mark_ended(process: str) -> None:
    """Record that this process has terminated another one (`host:pid`), on any machine."""
    _ENDED.add(process)


def is_alive(process: str, start: str, slurm_job: str) -> bool | None:
    """Return whether a process is still running.

    Args:
        process: `name_process` of the process.
        start: `find_start` of the process; empty if unknown.
        slurm_job: `name_slurm_job` of the process.

    Returns:
        None if unknown, because the process is on another machine.
    """
    if process in _ENDED:
        return False
    queued = is_queued(slurm_job) if slurm_job else None
    if queued is False:
        return False
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname():
        return queued
    found = find_start(int(pid))
    return found is not None and start in ("", found)


def is_queued(slurm_job: str) -> bool | None:
    """Return whether a `job.restarts` is in Slurm's queue and has not been requeued since.

    Returns:
        None if the queue cannot be read.
    """
    if shutil.which("squeue") is None:
        return None
    job, _, restarts = slurm_job.partition(".")
    # For a job array, squeue lists the other jobs of the array as well.
    command = ["squeue", "--noheader", "--all", f"--jobs={job}", "--Format=JobID:20,RestartCnt:10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUEUE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    found = [line.split() for line in done.stdout.splitlines()]
    return any(line[0] == job and int(line[1]) <= int(restarts) for line in found if line)


@contextmanager
def hold_interrupts() -> Iterator[list[int]]:
    """Defer SIGINT and SIGTERM until the end of the block.

    Yields:
        The list of received signals, which the caller has to handle.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield held
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.signal(s, lambda number, frame: held.append(number)) for s in signals}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def stop_with(parent: int) -> None:
    """Raise KeyboardInterrupt in this process on SIGTERM, or when its parent ends.

    To be called before each job, so that none is started after the parent's end.

    Args:
        parent: Process id of the parent; ignored if this process is not its child.
    """
    leave_orphaned()
    if threading.current_thread() is threading.main_thread():  # launchers ignore SIGTERM
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    watched = any(thread.name == "stop_with" for thread in threading.enumerate())
    if os.getppid() == parent and not watched:
        threading.Thread(target=_watch, args=(parent,), name="stop_with", daemon=True).start()


def leave_orphaned() -> None:
    """Exit this process if its parent has ended, as it would wait for jobs forever."""
    if _ORPHANED.is_set():
        os._exit(130)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_EVERY)
    _ORPHANED.set()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(END_WITHIN)
    os.kill(os.getpid(), signal.SIGKILL)
