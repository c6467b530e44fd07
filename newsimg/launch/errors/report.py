"""Printing of errors: one sentence for a mistake of the user, a traceback for a defect."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from hydra.core.utils import JobReturn

from newsimg import __version__
from newsimg.launch.errors.origin import OWN, find_package, format_trace, is_mistake
from newsimg.launch.errors.sentences import explain
from newsimg.storage.files import FULL as FULL_DISK

FULL = "HYDRA_FULL_ERROR"
JOB = "newsimg_job"  # attribute of an error: the job's number
MISTAKE, DEFECT = 2, 1  # exit statuses


class ErrorReport:
    """Prints the errors of one program, each once.

    Attributes:
        full: Whether the user requested tracebacks (HYDRA_FULL_ERROR=1).
        told: Errors that have been printed.
        folder: Folder being written, named in errors about a full disk.
    """

    def __init__(self) -> None:
        self.full = os.environ.get(FULL) == "1"
        self.told: list[Exception] = []
        self.folder: str | None = None

    def tell(self, error: Exception) -> None:
        """Print an error once."""
        if any(error is one for one in self.told):
            return
        self.told.append(error)
        if isinstance(error, OSError) and error.errno in FULL_DISK and error.filename is None:
            error.filename = self.folder
        mistake = is_mistake(error)
        if self.full or not mistake:
            print(format_trace(error).rstrip(), file=sys.stderr)
        number = error.__dict__.get(JOB)
        where = "newsimg: error: " + ("" if number is None else f"job {number}: ")
        print(where + (explain(error) if mistake else _describe_defect(error)), file=sys.stderr)

    @property
    def status(self) -> int:
        """The exit status: 2 if all errors were mistakes of the user, else 1."""
        return MISTAKE if all(map(is_mistake, self.told)) else DEFECT


def _describe_defect(error: Exception) -> str:
    package = find_package(error)
    if package != OWN[0]:
        return f"{type(error).__name__} is a defect of {package}, not of a value that was given"
    return (
        f"{type(error).__name__} is a defect of newsimg {__version__}, not of a value that was "
        "given; please report it\nwith the lines above: see 'Report a bug' in CONTRIBUTING.md"
    )


current = ErrorReport()  # global, as Hydra creates the callback that reports jobs


@contextmanager
def report_errors() -> Iterator[None]:
    """Print errors raised inside the block and exit, instead of Hydra.

    Raises:
        SystemExit: With the exit status.
    """
    global current
    current = ErrorReport()
    before = os.environ.get(FULL)
    os.environ[FULL] = "1"
    try:
        yield
    except Exception as error:
        if isinstance(error, BrokenPipeError) and not _has_reader(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
            sys.exit(128 + signal.SIGPIPE)  # as any program whose output goes to `head`
        current.tell(error)
        sys.exit(current.status)
    except SystemExit as stop:  # raised by `presets.fatal` in a callback
        if not isinstance(stop.__cause__, Exception):
            raise
        current.tell(stop.__cause__)
        sys.exit(current.status)
    finally:
        if before is None:
            del os.environ[FULL]
        else:
            os.environ[FULL] = before


def _has_reader(stream: TextIO) -> bool:
    """Return whether a stream can be written to; a pipe whose reader has ended cannot."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))


class FailedJob(JobReturn):
    """The result of a failed job, for which Hydra prints no message of its own."""

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """Raise the error of the job."""
        raise self._return_value
