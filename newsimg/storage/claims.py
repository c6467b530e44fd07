"""Which process computes what, so that another one that needs it waits instead of doing it again.

A claim is a file with the keys that a process is computing, locked for as long as it does. The
kernel drops the lock of a process that dies, whatever kills it; the keys are then anybody's.
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
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between looks at what others have done
PATIENCE = 5.0  # seconds until a process that waits says for whom


@dataclass(frozen=True)
class Claim:
    """What became of an attempt to claim keys.

    Attributes:
        mine: Keys that are this process's to compute.
        others: Who computes the others, as `process N on HOST`.
    """

    mine: list[bytes]
    others: list[str]


def share_work(
    folder: Path,
    missing: list[bytes],
    find: Callable[[list[bytes]], list[bytes]],
    progress: Callable[[int], object],
) -> Generator[list[bytes], None, None]:
    """Yield the keys that are this process's to compute, until all are there.

    What others are computing is waited for; what they leave undone is yielded later.

    Args:
        folder: Of the model.
        missing: Keys, each of 32 bytes.
        find: Takes what is there of some keys, and returns those of which nothing is.
        progress: Called with the number of rows that others brought.

    Raises:
        OSError: If the folder cannot be written to, or files in it not be locked.
    """
    start, told, pause = time.monotonic(), False, SHORTEST_PAUSE
    while missing:
        with claim_keys(folder, missing) as claim:
            n_before = len(missing)
            missing = find(missing)  # what was finished before the claim was made
            progress(n_before - len(missing))
            claimed = set(claim.mine)
            mine = [key for key in missing if key in claimed]
            missing = [key for key in missing if key not in claimed]
            if mine:
                yield mine
        if missing and not mine:
            if not told and time.monotonic() - start > PATIENCE:
                told = True
                log.warning("waiting for %d results of %s", len(missing), ", ".join(claim.others))
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)


@contextmanager
def claim_keys(folder: Path, keys: Sequence[bytes]) -> Iterator[Claim]:
    """Claim those of `keys` that no living process has claimed, until the context is left.

    Args:
        folder: Where the claims of all processes are; it is there already.
        keys: Each of 32 bytes.

    Raises:
        OSError: If the folder cannot be written to, or files in it not be locked.
    """
    path = folder / f"{uuid.uuid4().hex}.{os.getpid()}.{socket.gethostname()}.claim"
    with explain_cache_errors(folder), (folder / "model.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # until the file is closed
        claimed = {other: taken_by(other) for other in folder.glob("*.claim")}
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
    """Write a claim, and return the file that holds it while it is open."""
    file = path.open("xb", buffering=0)  # closing must not try again to write what failed
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


def taken_by(path: Path) -> set[bytes]:
    """Return the keys of a claim; one whose process is gone is removed."""
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
    """Return whose claim it is, for a message."""
    _, process, host = path.stem.split(".", 2)
    return f"process {process} on {host}"
