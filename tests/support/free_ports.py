"""Ports for servers that tests start, each used by one test process only."""

import itertools
import os
import socket
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

FIRST, N_PORTS = 20_000, 12_000  # below the ephemeral ports, from which connections take theirs
_held: list[FileLock] = []


def reserve_port() -> int:
    """Return a free port that no other test process is given until this one ends."""
    folder = Path(tempfile.gettempdir()) / "newsimg-test-ports"
    folder.mkdir(exist_ok=True)
    for number in itertools.count(os.getpid() * 7):
        port = FIRST + number % N_PORTS
        lock = FileLock(folder / f"{port}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                lock.release()
                continue
        _held.append(lock)
        return port
    raise AssertionError
