"""Whether a process is still there, on this machine or in Slurm's queue; and how one ends."""

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
END_WITHIN = 60.0  # seconds that a process has to close its run when its parent is gone
_ENDED: set[str] = set()
_ORPHANED = threading.Event()


def name_process() -> str:
    """Return what identifies this process among those of several machines: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def name_slurm_job() -> str:
    """Return `job.restarts` of the Slurm job that this process is in, or nothing."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def find_start(pid: int) -> str | None:
    """Return when a process of this machine was started; None if there is none, or a zombie.

    With it a process is told from a later one that was given the same number.
    """
    if not BOOT_ID.exists():  # not Linux
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        state, _, started = subprocess.run(
            command, capture_output=True, text=True
        ).stdout.partition(" ")
        return None if not started or state.startswith("Z") else " ".join(started.split())
    try:
        # The name before it is in brackets, and may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{BOOT_ID.read_text().strip()}.{started}"


def mark_ended(process: str) -> None:
    """Remember that this process has ended another one (`host:pid`), also on another machine."""
    _ENDED.add(process)


def is_alive(process: str, start: str, slurm_job: str) -> bool | None:
    """Tell whether a process is still there.

    Args:
        process: `name_process` in it.
        start: `find_start` in it; empty if unknown.
        slurm_job: `name_slurm_job` in it.

    Returns:
        None if nobody here can tell: it is on another machine.
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
    """Tell whether a `job.restarts` is in Slurm's queue and was not queued again since.

    Returns:
        None if the queue cannot be asked.
    """
    if shutil.which("squeue") is None:
        return None
    job, _, restarts = slurm_job.partition(".")
    # Of a job in an array the queue knows others under the number, too.
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
    """Hold back Ctrl-C and SIGTERM, of which two may come at once, until the block is done.

    Yields:
        The signals that came: it is up to the caller what becomes of them.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
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
    """Stop this process as by Ctrl-C when a scheduler says so, or its parent is gone.

    Call it before each piece of work: none is begun after the parent's end.

    Args:
        parent: The process that this one may be a child of; another parent's end does not matter.
    """
    leave_orphaned()
    if threading.current_thread() is threading.main_thread():  # launchers have it ignored
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    watched = any(thread.name == "stop_with" for thread in threading.enumerate())
    if os.getppid() == parent and not watched:
        threading.Thread(target=_watch, args=(parent,), name="stop_with", daemon=True).start()


def leave_orphaned() -> None:
    """End this process if its parent is gone: it would wait for work that nobody can give."""
    if _ORPHANED.is_set():
        os._exit(130)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_EVERY)
    _ORPHANED.set()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(END_WITHIN)
    os.kill(os.getpid(), signal.SIGKILL)
