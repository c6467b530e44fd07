"""A bucket of S3's protocol: listed, and read in many threads in spite of throttling and breaks."""

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

LONGEST_WAIT = 20.0  # seconds before a broken transfer is tried again


class BucketError(OSError):
    """A bucket did not give what it was asked for, in spite of all attempts."""


class BrokenTransferError(Exception):
    """An object arrived in another form than it has on the server; worth trying again."""


@dataclass(frozen=True)
class RemoteObject:
    """An object as the server lists it; `etag` is the MD5 of its bytes, unless it has a dash."""

    key: str
    size: int
    etag: str


class Bucket:
    """Reads a bucket; safe in threads.

    Refused and throttled requests are repeated by botocore ("adaptive": after "Slow Down" the
    client itself goes slower); transfers that break off or arrive damaged are repeated here.

    Args:
        name: The bucket.
        region: Where it is.
        endpoint_url: Another server than AWS; null: AWS.
        anonymous: Ask without credentials; otherwise with those that boto3 finds.
        n_threads: Connections that are kept open.
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
        """Return the objects whose keys begin with `prefix`, in the order of their keys.

        Raises:
            BucketError: If there is no such bucket, or it may not be listed.
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
        """Return an object without its bytes.

        Raises:
            BucketError: If it is not there, or may not be read.
        """
        with self._named(key):
            head = self._client.head_object(Bucket=self.name, Key=key)
        return RemoteObject(key, head["ContentLength"], head["ETag"].strip('"'))

    def read(self, remote: RemoteObject, part: range | None = None) -> bytes:
        """Return the bytes of an object, or a part of them, as they were when it was listed.

        Raises:
            BucketError: If it cannot be read, or has changed.
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
        """Yield what `read` returns of each, in their order, while others are on their way.

        Raises:
            BucketError: See `read`.
        """
        reading = (pool.submit(self.read, remote, part) for remote, part in wanted)
        for one in prefetch(reading, 2 * self.n_threads):
            yield one.result()

    def stop(self) -> None:
        """Let no read that is under way in another thread try again."""
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
            with closing(answer["Body"]) as body:  # as a context it would not name its own errors
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
        """Say of every error where it happened."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, BrokenTransferError) as error:
            where = f"bucket {self.name} at {self._client.meta.endpoint_url}, {key}"
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            hint = ""
            if code in ("PreconditionFailed", "412"):
                hint = "; it has changed since it was listed: give the same command again"
            elif code in ("AccessDenied", "403"):
                hint = "; with credentials of your own: task.anonymous=false"
            raise BucketError(f"{where}: {error}{hint}") from error


def describe_bytes(n_bytes: float) -> str:
    """Return a number of bytes for people: "61.1 GiB"."""
    units: list[Any] = ["B", "KiB", "MiB", "GiB", "TiB"]
    for unit in units:
        if n_bytes < 1024 or unit == units[-1]:
            break
        n_bytes /= 1024
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
