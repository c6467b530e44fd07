"""An S3 bucket, read by many threads with retries."""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from newsimg.storage.prefetch import prefetch

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

log = logging.getLogger(__name__)

LONGEST_WAIT = 20.0  # seconds before a request is sent again
WHOLE = timedelta(days=1)  # that a transfer may take; what bounds it is the wait for its next bytes


class BucketError(OSError):
    """A request to a bucket failed after all retries."""


@dataclass(frozen=True)
class RemoteObject:
    """An object in the server's listing. `etag` is the MD5 of its bytes unless it has a dash."""

    key: str
    size: int
    etag: str


class Bucket:
    """A thread-safe reader of a bucket.

    Refused and throttled requests and transfers that break off are repeated by obstore; objects
    that arrive damaged are read again here.

    Args:
        name: The bucket.
        region: Where it is.
        endpoint_url: Another server than AWS; null: AWS.
        anonymous: Ask without credentials; otherwise with those of the environment
            (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY ...) or of the machine's role.
        n_threads: Transfers at a time.
        n_attempts: How often a request is sent at most, and an object read.
        timeout: Seconds without an answer after which a connection counts as broken.

    Raises:
        ImportError: If the extra `yfcc` is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        region: str,
        endpoint_url: str | None,
        anonymous: bool,
        n_threads: int,
        n_attempts: int,
        timeout: float,
    ) -> None:
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise ImportError("task=fetch needs: pip install newsimg[yfcc]") from error
        self.name = name
        self.endpoint_url = endpoint_url or f"https://s3.{region}.amazonaws.com"
        self.n_threads = n_threads
        self.n_attempts = n_attempts
        seconds = timedelta(seconds=timeout)
        longest = timedelta(seconds=LONGEST_WAIT)
        self._store = S3Store(
            name,
            region=region,
            endpoint=self.endpoint_url,
            skip_signature=anonymous,
            client_options={
                "allow_http": self.endpoint_url.startswith("http://"),
                "connect_timeout": seconds,
                "read_timeout": seconds,
                "timeout": WHOLE,
            },
            retry_config={
                "max_retries": n_attempts - 1,
                "backoff": {"max_backoff": longest},
                "retry_timeout": n_attempts * (seconds + longest),
            },
        )

    def list_objects(self, prefix: str) -> list[RemoteObject]:
        """Return the objects whose keys start with `prefix`, sorted by key.

        Raises:
            BucketError: If the bucket does not exist or cannot be listed.
        """
        with self._named(prefix):
            listed = [_describe(found) for page in self._store.list(prefix) for found in page]
        return sorted(listed, key=lambda remote: remote.key)

    def find_object(self, key: str) -> RemoteObject:
        """Return the size and etag of an object.

        Raises:
            BucketError: If the object does not exist or cannot be read.
        """
        with self._named(key):
            return _describe(self._store.head(key))

    def read(self, remote: RemoteObject, part: range | None = None) -> bytes:
        """Return the bytes of an object, or a range of them.

        Raises:
            BucketError: If the object cannot be read or has changed since it was listed.
        """
        options: GetOptions = {"if_match": f'"{remote.etag}"'}
        if part is not None:
            options["range"] = (part.start, part.stop)
        for _ in range(self.n_attempts):
            with self._named(remote.key):
                content = bytes(self._store.get(remote.key, options=options).bytes())
            if not (fault := find_fault(content, remote, part)):
                return content
            log.info("%s: %s", remote.key, fault)
        with self._named(remote.key):
            raise OSError(fault)

    def read_all(
        self, pool: Executor, wanted: Iterable[tuple[RemoteObject, range | None]]
    ) -> Iterator[bytes]:
        """Yield the content of each object in order, while the next ones are being read.

        Raises:
            BucketError: See `read`.
        """
        reading = (pool.submit(self.read, remote, part) for remote, part in wanted)
        for one in prefetch(reading, 2 * self.n_threads):
            yield one.result()

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Say of every error where it happened."""
        from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError

        try:
            yield
        except (BaseError, OSError) as error:
            hint = ""
            if isinstance(error, PreconditionError):
                hint = "; it has changed since it was listed: give the same command again"
            elif isinstance(error, PermissionDeniedError):
                hint = "; with credentials of your own: task.anonymous=false"
            where = f"bucket {self.name} at {self.endpoint_url}, {key}"
            raise BucketError(f"{where}: {shorten_reason(str(error))}{hint}") from error


def _describe(found: "ObjectMeta") -> RemoteObject:
    return RemoteObject(found["path"], found["size"], (found["e_tag"] or "").strip('"'))


def find_fault(content: bytes, remote: RemoteObject, part: range | None) -> str:
    """Return how bytes differ from those on the server, as far as can be told; mostly nothing."""
    size = remote.size if part is None else len(part)
    if len(content) != size:
        return f"{len(content)} of {size} bytes arrived"
    if part is None and re.fullmatch("[0-9a-f]{32}", remote.etag):
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != remote.etag:
            return f"its MD5 is {found}, it must be {remote.etag}"
    return ""


def shorten_reason(text: str) -> str:
    """Return an error of obstore in one line: without its debug output, and of XML the message."""
    line = " ".join(text.partition("\n\nDebug source:")[0].split())
    return re.sub(r"(?:<\?xml.*?\?> ?)?<Error>.*?<Message>(.*?)</Message>.*", r"\1", line)


def describe_bytes(n_bytes: float) -> str:
    """Format a number of bytes, such as "61.1 GiB"."""
    units: list[Any] = ["B", "KiB", "MiB", "GiB", "TiB"]
    for unit in units:
        if n_bytes < 1024 or unit == units[-1]:
            break
        n_bytes /= 1024
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
