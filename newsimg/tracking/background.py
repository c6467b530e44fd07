"""Sending of runs by a process beside the job, so that the job does not wait for MLflow.

MLflow takes longer to import than a job with cached embeddings takes to run.
"""

import gc
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from newsimg.tracking.record import RunRecord
from newsimg.tracking.sender import RunSender

T = TypeVar("T")


class StoreError(Exception):
    """An error of the store in the other process; see `RunSender.is_outage` and `is_missing`."""

    def __init__(self, text: str, outage: bool = False, missing: bool = False) -> None:
        super().__init__(text)
        self.outage = outage
        self.missing = missing


class RefusedError(StoreError, ValueError):
    """A request that is refused, with a message for the user."""


class SendingProcess:
    """A process that imports MLflow and sends runs while this one works.

    It ends with this process, after what it is sending. Interrupts do not reach it.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]
        self._queue = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._work, name="sending", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """Call a function in the thread that waits for the process, after earlier calls."""
        future: Future[T] = Future()
        self._queue.put((future, function, args))
        return future

    def ask(self, *call: Any) -> Any:
        """Call a method of a `RunSender` in the process, and wait for what it returns.

        Args:
            call: URI and folder of the sender, name of the method and its arguments.
        """
        if threading.current_thread() is self._thread:
            return self._ask(*call)
        return self.submit(self._ask, *call).result()

    def end(self) -> None:
        """End the process, at once if it sends nothing."""
        if self._queue.unfinished_tasks == 0:
            self._process.kill()
            self._process.wait()

    def _work(self) -> None:
        while True:
            future, function, args = self._queue.get()
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
            self._queue.task_done()

    def _ask(self, uri: str, folder: Path, method: str, *args: Any) -> Any:
        calls, replies = self._process.stdin, self._process.stdout
        assert calls is not None
        assert replies is not None
        try:
            pickle.dump((uri, folder, method, args), calls)
            calls.flush()
            value, error, records = pickle.load(replies)
        except (OSError, EOFError, pickle.UnpicklingError):  # the process was killed
            return getattr(RunSender(uri=uri, folder=folder), method)(*args)
        for record in records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        if error is not None:
            raise error
        return value


class BackgroundSender:
    """A `RunSender` that works in a `SendingProcess`.

    Args:
        uri: See `RunSender`.
        folder: See `RunSender`.
        process: The process.
    """

    def __init__(self, *, uri: str, folder: Path, process: SendingProcess) -> None:
        self.uri = uri
        self.folder = folder
        self._process = process
        self.is_remote = RunSender(uri=uri, folder=folder).is_remote

    is_beside = True
    """See `RunSender.is_beside`."""

    def __reduce__(self) -> Any:
        """Launchers pickle this object; their processes send themselves."""
        return partial(RunSender, uri=self.uri, folder=self.folder), ()

    def submit(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """See `RunSender.submit`; errors are raised by the future."""
        return self._process.submit(function, *args)

    def prepare(self) -> None:
        """See `RunSender.prepare`."""
        self._ask("prepare")

    def open_run(self, path: Path) -> None:
        """See `RunSender.open_run`."""
        self._ask("open_run", path)

    def send(self, path: Path) -> bool:
        """See `RunSender.send`."""
        return bool(self._ask("send", path))

    def answers(self) -> bool:
        """See `RunSender.answers`."""
        return bool(self._ask("answers"))

    def delete(self, path: Path) -> bool:
        """See `RunSender.delete`."""
        return bool(self._ask("delete", path))

    def find_finished(self, config_hash: str) -> RunRecord | None:
        """See `RunSender.find_finished`."""
        found: RunRecord | None = self._ask("find_finished", config_hash)
        return found

    def fetch_files(self, run_id: str, folder: Path) -> list[str]:
        """See `RunSender.fetch_files`."""
        return list(self._ask("fetch_files", run_id, folder))

    def is_outage(self, error: BaseException) -> bool:
        """See `RunSender.is_outage`."""
        return isinstance(error, StoreError) and error.outage

    def is_missing(self, error: BaseException) -> bool:
        """See `RunSender.is_missing`."""
        return isinstance(error, StoreError) and error.missing

    def _ask(self, method: str, *args: Any) -> Any:
        return self._process.ask(self.uri, self.folder, method, *args)


Sender = RunSender | BackgroundSender


class _Sending:
    """Whether this process may start a `SendingProcess`, and the one that it has started."""

    allowed = False
    process: SendingProcess | None = None


@contextmanager
def allow_background() -> Iterator[None]:
    """Let the trackers of this process send runs in a process beside it, until the block ends."""
    _Sending.allowed = True
    try:
        yield
    finally:
        _Sending.allowed = False
        if _Sending.process is not None:
            _Sending.process.end()
            _Sending.process = None


def choose_sender(uri: str, folder: Path) -> Sender:
    """Return a sender in a process beside this one if that is allowed, else in this one."""
    if not _Sending.allowed or threading.current_thread() is not threading.main_thread():
        return RunSender(uri=uri, folder=folder)
    if _Sending.process is None:
        _Sending.process = SendingProcess()
    return BackgroundSender(uri=uri, folder=folder, process=_Sending.process)


class _Kept(logging.Handler):
    """A handler that keeps records, to be handled in the other process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)


def main() -> None:
    """Answer calls from stdin on stdout until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    kept = _Kept()
    logging.basicConfig(handlers=[kept], level=logging.INFO)
    gc.disable()  # the imports take a sixth longer with it
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # while there are no calls

    gc.enable()
    while True:
        try:
            uri, folder, method, args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        value, error = _answer(RunSender(uri=uri, folder=folder), method, args)
        pickle.dump((value, error, kept.records), replies)
        replies.flush()
        kept.records.clear()


def _answer(sender: RunSender, method: str, args: tuple[Any, ...]) -> tuple[Any, StoreError | None]:
    try:
        return getattr(sender, method)(*args), None
    except Exception as error:
        facts = (str(error), sender.is_outage(error), sender.is_missing(error))
        kind = RefusedError if isinstance(error, ValueError) else StoreError
        return None, kind(*facts)
