"""An S3 bucket, read by many threads with retries."""

import hashlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from newsimg.storage.prefetch import prefetch

log = logging.getLogger(__name__)

LONGEST_WAIT = 20.0  # seconds before a retry


class BucketError(OSError):
    """A request to a bucket failed after all retries."""


class BrokenTransferError(Exception):
    """A transfer was interrupted or its content is damaged; it is retried."""


@dataclass(frozen=True)
class RemoteObject:
    """An object in the server's listing. `etag` is the MD5 of its bytes unless it has a dash."""

    key: str
    size: int
    etag: str


class Bucket:
    """A thread-safe reader of a bucket.

    botocore retries failed and throttled requests (mode "adaptive", which also limits the request
    rate after "Slow Down"); this class retries interrupted and damaged transfers.

    Args:
        name: Name of the bucket.
        region: AWS region.
        endpoint_url: URL of the server; null is AWS.
        anonymous: Whether to send unsigned requests instead of using the credentials that boto3
            finds.
        n_threads: Size of the connection pool.
        n_attempts: Maximum number of attempts per request and per object.
        timeout: Seconds without an answer after which a connection is broken.

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
            import boto3
            import botocore
            import tenacity  # noqa: F401
            from botocore.config import Config
        except ImportError as error:
            raise ImportError("task=fetch needs: pip install newsimg[yfcc]") from error
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": n_attempts},
            max_pool_connections=n_threads,
            connect_timeout=timeout,
            read_timeout=timeout,
            response_checksum_validation="when_required",  # `read` compares with the etag
            **({"signature_version": botocore.UNSIGNED} if anonymous else {}),
        )
        self.name = name
        self.n_threads = n_threads
        self.n_attempts = n_attempts
        self._client = boto3.client(
            "s3", region_name=region, endpoint_url=endpoint_url, config=config
        )
        self._stopped = threading.Event()

    def list_objects(self, prefix: str) -> list[RemoteObject]:
        """Return the objects whose keys start with `prefix`, sorted by key.

        Raises:
            BucketError: If the bucket does not exist or cannot be listed.
        """
        pages = self._client.get_paginator("list_objects_v2")
        with self._named(prefix):
            return [
                RemoteObject(one["Key"], one["Size"], one["ETag"].strip('"'))
                for page in pages.paginate(Bucket=self.name, Prefix=prefix)
                for one in page.get("Contents", ())
                if not one["Key"].endswith("/")
            ]

    def find_object(self, key: str) -> RemoteObject:
        """Return the size and etag of an object.

        Raises:
            BucketError: If the object does not exist or cannot be read.
        """
        with self._named(key):
            head = self._client.head_object(Bucket=self.name, Key=key)
        return RemoteObject(key, head["ContentLength"], head["ETag"].strip('"'))

    def read(self, remote: RemoteObject, part: range | None = None) -> bytes:
        """Return the bytes of an object, or a range of them.

        Raises:
            BucketError: If the object cannot be read or has changed since it was listed.
        """
        from tenacity import (
            Retrying,
            retry_if_exception_type,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
            wait_random_exponential,
        )

        with self._named(remote.key):
            return Retrying(
                retry=retry_if_exception_type(BrokenTransferError),
                stop=stop_after_attempt(self.n_attempts) | stop_when_event_set(self._stopped),
                wait=wait_random_exponential(0.2, LONGEST_WAIT),
                sleep=sleep_using_event(self._stopped),
                before_sleep=lambda state: log.info("%s: trying again", remote.key),
                reraise=True,
            )(self._read, remote, part)

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

    def stop(self) -> None:
        """Stop retries of reads in all threads."""
        self._stopped.set()

    def _read(self, remote: RemoteObject, part: range | None) -> bytes:
        from botocore.exceptions import (
            ConnectionError,
            HTTPClientError,
            IncompleteReadError,
            ResponseStreamingError,
        )

        span = {} if part is None else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        answer = self._client.get_object(
            Bucket=self.name, Key=remote.key, IfMatch=f'"{remote.etag}"', **span
        )
        try:
            with closing(answer["Body"]) as body:  # `with body` would give urllib3's stream
                content: bytes = body.read()
        except (
            ConnectionError,
            HTTPClientError,
            IncompleteReadError,
            ResponseStreamingError,
        ) as error:
            raise BrokenTransferError(str(error)) from error
        size = remote.size if part is None else len(part)
        if len(content) != size:
            raise BrokenTransferError(f"{len(content)} of {size} bytes arrived")
        if part is None and re.fullmatch("[0-9a-f]{32}", remote.etag):
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if found != remote.etag:
                raise BrokenTransferError(f"its MD5 is {found}, it must be {remote.etag}")
        return content

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Convert errors to `BucketError`s that name bucket, server and key."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, BrokenTransferError) as error:
            where = f"bucket {self.name} at {self._client.meta.endpoint_url}, {key}"
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            hint = ""
            if code in ("PreconditionFailed", "412"):
                hint = "; it has changed since it was listed: run the same command again"
            elif code in ("AccessDenied", "403"):
                hint = "; to use your credentials, set task.anonymous=false"
            raise BucketError(f"{where}: {error}{hint}") from error


def describe_bytes(n_bytes: float) -> str:
    """Format a number of bytes, such as "61.1 GiB"."""
    units: list[Any] = ["B", "KiB", "MiB", "GiB", "TiB"]
    for unit in units:
        if n_bytes < 1024 or unit == units[-1]:
            break
        n_bytes /= 1024
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
