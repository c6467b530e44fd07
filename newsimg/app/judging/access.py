"""Who may answer: tokens in links, and limits of requests."""

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request

PER_MINUTE = 300  # requests with one token; an answer takes four
WRONG_PER_MINUTE = 60  # requests with wrong tokens of one address
MAX_ADDRESSES = 10_000  # that are remembered
MINUTE = 60.0


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes:
        header: The Authorization header; None without one.
        address: The IP address; behind a reverse proxy on this machine that of X-Forwarded-For,
            which the server takes from 127.0.0.1 alone.
    """

    header: str | None
    address: str = ""


def find_caller(request: Request) -> Caller:
    """Return who sends a request."""
    return Caller(
        request.headers.get("authorization"), request.client.host if request.client else ""
    )


def read_key(path: Path) -> bytes:
    """Return the key that tokens are made of, which is created at first use, for the owner alone.

    Raises:
        ValueError: If the file holds no key.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        key = path.read_text(encoding="utf-8").strip()
        if len(key) < 32:
            raise ValueError(
                f"task.key must be a file that newsimg-judge wrote, got {path}"
            ) from None
        return key.encode()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return read_key(path)


def make_token(key: bytes, name: str) -> str:
    """Return the token of a person, the same each time."""
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:40]


class Access:
    """Valid tokens, and how often each, or wrong ones by an address, came in the last minute.

    Thread-safe.

    Args:
        people: Tokens of people.
        owner: Token for the results.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, people: Sequence[str], owner: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.people = set(people)
        self.owner = owner
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, deque[float]] = {}

    def check(self, caller: Caller, for_owner: bool = False) -> str:
        """Return the token of a request.

        Raises:
            HTTPException: If it is not valid, or was used too often.
        """
        token = (caller.header or "").removeprefix("Bearer ")
        is_valid = (
            hmac.compare_digest(token.encode(), self.owner.encode())
            if for_owner
            else token in self.people
        )
        if is_valid:
            self._count(token, PER_MINUTE)
        else:
            self._count(f"of {caller.address}", WRONG_PER_MINUTE)
        if not is_valid:
            raise HTTPException(401, "this page opens by the whole link that you were given")
        return token

    def _count(self, key: str, limit: int) -> None:
        now = self._clock()
        with self._lock:
            if len(self._used) > MAX_ADDRESSES:
                self._used = {k: v for k, v in self._used.items() if v and v[-1] > now - MINUTE}
            times = self._used.setdefault(key, deque())
            while times and times[0] <= now - MINUTE:
                times.popleft()
            if len(times) >= limit:
                raise HTTPException(429, "too many requests: wait a minute")
            times.append(now)
