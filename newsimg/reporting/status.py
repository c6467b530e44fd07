"""The status line: the current step of a run, on the last line of a terminal."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from newsimg.storage.progress import Progress, announce, log

# Without a terminal, as in a log file, lines need not be cut at 80 characters.
terminal = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
# With these flags Hydra prints information and exits.
PRINTING = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"}
PRINTING |= {"--shell-completion", "-sc"}
PER_SECOND = 5  # refresh rate
PATIENCE = 2  # seconds after which the duration of a step is shown


class StatusLine(logging.Handler):
    """Shows the latest step; see `newsimg.storage.progress`."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[Progress] = []
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self.draw,
            console=terminal,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )

    def start(self) -> None:
        """Start drawing."""
        self._live.start()

    def stop(self) -> None:
        """Stop drawing and clear the line."""
        self._live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        step = getattr(record, "progress", None)
        if isinstance(step, Progress):
            self._steps = [one for one in self._steps if one.total and not one.is_closed] + [step]
            self._live.refresh()  # a step may end before the next scheduled refresh

    def draw(self) -> RenderableType:
        """Return the line."""
        if not self._steps:
            return Text("")
        # A model loaded during a step is shown until the step continues.
        step = max(reversed(self._steps), key=lambda step: step.changed)
        seconds = time.monotonic() - step.start
        line = Table.grid(padding=(0, 1))
        label = Text(step.label, no_wrap=True, overflow="ellipsis")
        cells: list[RenderableType] = [self._spinner, label]
        if step.total is not None:
            line.add_column()
            line.add_column(max_width=terminal.width // 2)
            cells.append(ProgressBar(total=max(step.total, 1), completed=step.done, width=16))
            cells.append(Text(describe_rate(step, seconds), no_wrap=True))
        if seconds > PATIENCE:
            cells.append(Text(f"{seconds:.0f} s", no_wrap=True))
        line.add_row(*cells)
        return line


def describe_rate(step: Progress, seconds: float) -> str:
    """Return the progress and rate of a step."""
    rate = (step.done - step.done_before) / seconds if seconds else 0.0
    if step.unit == "B":
        return f"{decimal(step.done)} of {decimal(step.total or 0)}, {decimal(int(rate))}/s"
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{step.done:,} of {step.total:,}, {shown}/s"


_shown: list[StatusLine] = []  # at most one


@contextmanager
def show_status(arguments: Sequence[str] = ()) -> Iterator[None]:
    """Show the status line inside of a with statement, if there is a terminal to show it on.

    Args:
        arguments: Arguments of the command line. There is no status line if Hydra prints
            information or a launcher prints the output of other processes.
    """
    others = PRINTING.intersection(arguments) or any("hydra/launcher=" in a for a in arguments)
    if _shown or others or not terminal.is_terminal or terminal.is_jupyter:
        yield
        return
    line = StatusLine()
    log.addHandler(line)
    log.setLevel(logging.INFO)
    _shown.append(line)
    line.start()
    announce("starting")
    try:
        yield
    finally:
        line.stop()
        _shown.clear()
        log.removeHandler(line)


@contextmanager
def hide_status() -> Iterator[None]:
    """Hide the status line, e.g. while waiting for input."""
    for line in _shown:
        line.stop()
    try:
        yield
    finally:
        for line in _shown:
            line.start()
