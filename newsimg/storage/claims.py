"""Division of work between processes, so that no row is computed twice.

A claim is a file that lists the keys a process is computing; the process holds a lock on it. When a
process dies the kernel releases the lock, and other processes may claim the keys.
"""

import fcntl
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from newsimg.storage.shards import explain_cache_errors

log = logging.getLogger(__name__)

KEY_BYTES = 32
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between polls of other processes
WARN_AFTER = 5.0  # seconds of waiting until a warning names the other processes


@dataclass(frozen=True)
class Claim:
    """The result of an attempt to claim keys.

    Attributes:
        mine: Keys claimed by this process.
        others: Owners of the other keys, as `process N on HOST`.
    """

    mine: list[bytes]
    others: list[str]


def share_work(
    folder: Path,
    missing: list[bytes],
    find: Callable[[list[bytes]], list[bytes]],
    progress: Callable[[int], object],
) -> Generator[list[bytes], None, None]:
    """Yield the keys that this process must compute, until none is missing.

    Waits for keys that other processes are computing; keys that they abandon are yielded later.

    Args:
        folder: Folder of the model.
        missing: Keys, each of 32 bytes.
        find: Loads the rows of some keys and returns the keys that are still missing.
        progress: Called with the number of rows that other processes computed.

    Raises:
        OSError: If the folder is not writable or does not support locks.
    """
    start, warned, pause = time.monotonic(), False, SHORTEST_PAUSE
    while missing:
        with claim_keys(folder, missing) as claim:
            n_before = len(missing)
            missing = find(missing)  # some may have been computed before the claim was made
            progress(n_before - len(missing))
            claimed = set(claim.mine)
            mine = [key for key in missing if key in claimed]
            missing = [key for key in missing if key not in claimed]
            if mine:
                yield mine
        if missing and not mine:
            if not warned and time.monotonic() - start > WARN_AFTER:
                warned = True
                log.warning("waiting for %d results of %s", len(missing), ", ".join(claim.others))
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)


@contextmanager
def claim_keys(folder: Path, keys: Sequence[bytes]) -> Iterator[Claim]:
    """Claim the keys that no running process has claimed; release them on exit.

    Args:
        folder: Existing folder for the claims of all processes.
        keys: Keys, each of 32 bytes.

    Raises:
        OSError: If the folder is not writable or does not support locks.
    """
    path = folder / f"{uuid.uuid4().hex}.{os.getpid()}.{socket.gethostname()}.claim"
    with explain_cache_errors(folder), (folder / "model.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # released when the file is closed
        claimed = {other: read_claim(other) for other in folder.glob("*.claim")}
        taken = set(keys) & set().union(*claimed.values())
        mine = [key for key in keys if key not in taken]
        own = write_claim(path, mine) if mine else None
    try:
        yield Claim(mine, [name_owner(other) for other, its in claimed.items() if its & taken])
    finally:
        if own is not None:
            path.unlink(missing_ok=True)
            own.close()


def write_claim(path: Path, keys: Sequence[bytes]) -> FileIO:
    """Write a claim and return its open file; closing the file releases the claim."""
    file = path.open("xb", buffering=0)  # unbuffered: closing must not repeat a failed write
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = memoryview(b"".join(keys))
        while content:
            content = content[file.write(content) :]
    except BaseException:
        path.unlink()
        file.close()
        raise
    return file


def read_claim(path: Path) -> set[bytes]:
    """Return the keys of a claim; remove the claim of a dead process."""
    try:
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                content = file.read()
                return {
                    content[start : start + KEY_BYTES]
                    for start in range(0, len(content), KEY_BYTES)
                }
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return set()


def name_owner(path: Path) -> str:
    """Return the owner of a claim, for messages."""
    _, process, host = path.stem.split(".", 2)
    return f"process {process} on {host}"
