"""A search page served by the command, as its user starts it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import load
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As the console script does, whose file the checkout need not have installed.
SEARCH = [sys.executable, "-c", "from newsimg.run import search; search()"]


@contextmanager
def serve_search(
    overrides: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[str]:
    """Serve the page and yield its address; in the end, Ctrl-C closes it without a fault."""
    process = subprocess.Popen(
        [*SEARCH, *overrides],
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=True,
    )
    printed = ""
    for line in process.stdout or ():
        printed += line
        if found := re.match(r"page +(http://127\.0\.0\.1:\d+)", line):
            break
    else:
        pytest.fail(printed)
    try:
        yield found[1]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert "closed" in rest
        assert "Traceback" not in printed + rest
    finally:
        process.kill()


def await_models(address: str) -> None:
    """Wait until data and models are loaded."""
    state = "loading"
    while state == "loading":
        time.sleep(0.1)
        with urllib.request.urlopen(f"{address}/search/status") as answer:
            found = load(answer)
        state = "loading" if found.get("values") is None else found["state"]
    assert state == "ready", found
