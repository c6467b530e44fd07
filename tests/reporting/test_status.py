"""The status line: a terminal is never blank for long, and is left as it was found."""

import logging
import os
import pty
import re
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from newsimg.reporting import console
from newsimg.reporting.status import StatusLine, describe_rate, terminal
from newsimg.storage.progress import Progress, announce

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
LINES, COLUMNS = 40, 80


def run_in_terminal(
    arguments: list[str], environment: dict[str, str], interrupt: bytes | None = None
) -> tuple[bytes, float, int]:
    """Run newsimg in a terminal; return what is seen, the longest silence, and the exit status.

    Args:
        arguments: What is typed.
        environment: What is added to this process's own.
        interrupt: Ctrl-C is pressed when this is seen.
    """
    process, terminal = pty.fork()
    if process == 0:
        size = {"LINES": str(LINES), "COLUMNS": str(COLUMNS)}
        os.environ.update({"TERM": "xterm", **size, **environment})
        os.execv(sys.executable, [sys.executable, "-m", "newsimg.run", *arguments])
    seen, silence, last = b"", 0.0, time.monotonic()
    while True:
        ready, _, _ = select.select([terminal], [], [], 300)
        try:
            part = os.read(terminal, 65536) if ready else b""
        except OSError:  # Linux's way to tell of the end
            part = b""
        if not part:
            break
        now = time.monotonic()
        silence, last, seen = max(silence, now - last), now, seen + part
        if interrupt is not None and interrupt in seen:
            os.write(terminal, b"\x03")
            interrupt = None
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return seen, silence, os.waitstatus_to_exitcode(status)


@pytest.mark.slow
def test_a_terminal_is_never_blank_for_long_and_nothing_is_wider(
    tiny_options: list[str], tmp_path: Path
) -> None:
    options = [*tiny_options, f"cache.dir={tmp_path / 'cache'}", "tracking=none"]
    root = {"PYTHONPATH": str(Path(console.__file__).parents[2])}
    seen, silence, status = run_in_terminal(options, root)
    assert status == 0, seen.decode()
    assert silence < 2 * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    for step in ("loading models", "Embedding pictures", "measuring", "drawing the report"):
        assert any(step in line for line in lines), step
    wide = [line for line in lines if len(line) > COLUMNS and " " in line.strip()]
    assert not wide
    assert seen.count(HIDE) == seen.count(SHOW) > 0


@pytest.mark.slow
def test_ctrl_c_leaves_a_clean_terminal(tiny_options: list[str], tmp_path: Path) -> None:
    root = {"PYTHONPATH": str(Path(console.__file__).parents[2])}
    options = [*tiny_options, f"cache.dir={tmp_path / 'cache'}", "tracking=none"]
    seen, _, status = run_in_terminal(options, root, interrupt=b"loading")
    assert status == 130, seen.decode()
    assert seen.rindex(SHOW) > seen.rindex(HIDE)
    assert seen.rstrip().endswith(b"stopped")
    assert b"Traceback" not in seen


def test_without_a_terminal_nothing_is_added(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    cache = [f"cache.dir={tmp_path / 'cache'}", "tracking=none"]
    result = newsimg_here(*tiny_options, *cache, "hydra.run.dir=run")
    assert all(line.startswith("WARNING: ") for line in result.stderr.splitlines())
    assert "\r" not in result.stdout
    assert "\x1b" not in result.stdout
    assert "Embedding" not in result.stdout
    assert "Embedding pictures" in Path("run/newsimg.log").read_text()


@pytest.fixture
def line() -> Any:
    log = logging.getLogger("newsimg.storage.progress")
    handler, level = StatusLine(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


def draw(line: StatusLine) -> str:
    with terminal.capture() as drawn:
        terminal.print(line.draw())
    return drawn.get()


def test_the_line_is_of_the_step_that_goes_on(line: StatusLine) -> None:
    announce("reading the data")
    assert "reading the data" in draw(line)
    with Progress("Embedding pictures", 400) as progress:
        assert "Embedding pictures" in draw(line)
        announce("loading a model")
        assert "loading a model" in draw(line)
        assert "Embedding" not in draw(line)
        progress.update(100)
        assert "Embedding pictures" in draw(line)
        assert "100 of 400" in draw(line)
    announce("measuring")
    assert "measuring" in draw(line)


@pytest.mark.parametrize(
    ("step", "seconds", "shown"),
    [
        (Progress("", 400), 2.0, "0 of 400, 0.0/s"),
        (Progress("", 4000, done=1000), 2.0, "1,000 of 4,000, 0.0/s"),
        (Progress("", 50_000_000, "B"), 1.0, "0 bytes of 50.0 MB, 0 bytes/s"),
    ],
)
def test_what_was_done_before_counts_for_no_speed(
    step: Progress, seconds: float, shown: str
) -> None:
    assert describe_rate(step, seconds) == shown


def test_a_step_counts_what_was_gone_through() -> None:
    step = Progress("", 3)
    assert list(step.track("abc")) == ["a", "b", "c"]
    assert (step.done, step.is_closed) == (3, True)
