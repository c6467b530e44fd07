"""Commands as texts, given to the shells that they are typed into."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLS = {"bash": ["bash", "--norc", "-c"], "zsh": ["zsh", "-f", "-c"]}
PROGRAMS = (
    "newsimg",
    "newsimg-judge",
    "newsimg-search",
    "newsimg-ui",
    "curl",
    "python",
    "pip",
    "pytest",
    "mlflow",
    "pre-commit",
)
PROGRAMS += ("ruff", "mypy")
# Writes how many words it was called with, and these.
STUB = '#!/bin/sh\nprintf "%s\\0" "$#" "${0##*/}" "$@" >> "$STUB_LOG"\n'


def find_shell(shell: str) -> list[str]:
    """Return what a text is given to, or skip the test if the shell is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    return SHELLS[shell]


def expand(shell: str, text: str, folder: Path) -> list[list[str]]:
    """Return the words of each program that a shell starts for a text, without starting any."""
    stubs, log = folder / "stubs", folder / "stub_log"
    if not stubs.is_dir():
        stubs.mkdir(parents=True)
        for program in PROGRAMS:
            write_program(stubs / program, STUB)
    log.write_bytes(b"")
    environment = os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}", "STUB_LOG": str(log)}
    done = subprocess.run(
        [*find_shell(shell), text], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{shell}: {text}\n{done.stderr}"
    words = log.read_text(encoding="utf-8").split("\0")[:-1]
    calls = []
    while words:
        n_words = int(words[0])
        calls.append(words[1 : n_words + 2])
        words = words[n_words + 2 :]
    return calls


def start(shell: str, text: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """Have a shell run a text, in which newsimg is that of this checkout."""
    programs = folder / "programs"
    if not programs.is_dir():
        programs.mkdir(parents=True)
        search = f'"{sys.executable}" -c "from newsimg.run import search; search()" "$@"'
        write_program(
            programs / "newsimg", f'#!/bin/sh\nexec "{sys.executable}" -m newsimg.run "$@"\n'
        )
        write_program(programs / "newsimg-search", f"#!/bin/sh\nexec {search}\n")
        (programs / "python").symlink_to(sys.executable)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.Popen(
        [*find_shell(shell), text],
        env={**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}:{folder}", **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def run(
    shell: str, text: str, folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Do as `start`, and wait for the end."""
    process = start(shell, text, folder, **environment)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(text, process.returncode, out, err)


def write_program(path: Path, text: str) -> None:
    """Write a file that can be started."""
    path.write_text(text)
    path.chmod(0o755)
