"""Damaged command lines and configs, given to the program in a process of its own each."""

import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from mutations import mutate
from result import Result

from newsimg.storage.files import CONF_DIR

MAX_SECONDS = 600  # a machine with other things to do takes minutes
ALLOWED = (0, 2)  # success, a mistake of the user
# Odd values of an option; CANARY is a file that an executed value would create.
VALUES = (
    *("", "null", "-1", "0", "1", "1.5", "1e400", "nan", "inf", "true", "abc", "''", "[]", "{}"),
    *("[1,2]", "[a,[b]]", "{a:1}", "{a:{b:c}}", "${seed}", "${nothing}", "${oc.env:NOTHING}", "${"),
    *("\\", "a b", "é", "选举", "x" * 5000, "../../..", "/dev/null", "/", "9" * 40, "-", "@", "~"),
    *("{_target_:os.system,command:'touch CANARY'}", "{_target_:builtins.exec,_args_:['1']}"),
    "${oc.create:{_target_:os.system}}",
)
# Tasks that serve pages until they are stopped, or download.
LEFT_OUT = {("task", "search"), ("task", "ui"), ("task", "fetch"), ("engine", "ray")}
GROUPS = ("data", "backbone", "index", "reranker", "weight", "task", "tracking", "vlm", "llm")
IMPORTED = ("newsimg.run", "torch", "transformers", "pandas", "pyarrow.parquet", "scipy.stats")
WORDS = (
    "-m",
    "--cfg",
    "--info",
    "-",
    "--",
    "--unknown",
    "~reranker",
    "+new=1",
    "++seed=2",
    "=",
    "a=",
)


def list_options() -> list[tuple[str, str, str]]:
    """Return group, option and key of every value in the configs."""
    found = []
    for group in GROUPS:
        for path in sorted((CONF_DIR / group).glob("*.yaml")):
            if (group, path.stem) in LEFT_OUT:
                continue
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            found += [(group, path.stem, str(key)) for key in content if key != "defaults"]
    return found


def write_command(rng: random.Random, options: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a command line with one to three mistakes."""
    command: list[str] = []
    for _ in range(rng.randint(1, 3)):
        kind = rng.random()
        group, option, key = rng.choice(options)
        if kind < 0.5:
            value = rng.choice(VALUES)
            command += [f"{group}={option}", f"{group}.{key}={value}"]
        elif kind < 0.7:
            letters = list(f"{group}.{key}=1")
            letters[rng.randrange(len(letters))] = rng.choice("abz.=[]{},'\"\\$ ")
            command.append("".join(letters))
        elif kind < 0.85:
            command.append(f"{rng.choice(GROUPS)}={rng.choice(VALUES)}")
        else:
            command.append(rng.choice(WORDS))
    return list(dict.fromkeys(command))


def write_configs(folder: Path, rng: random.Random) -> list[str]:
    """Write a damaged copy of a config into `folder` and return the command that reads it."""
    group = rng.choice(GROUPS)
    paths = sorted((CONF_DIR / group).glob("*.yaml"))
    path = rng.choice([one for one in paths if (group, one.stem) not in LEFT_OUT])
    content = path.read_bytes()
    others = [one.read_bytes() for one in paths]
    (folder / group).mkdir(parents=True)
    (folder / group / "damaged.yaml").write_bytes(mutate(content, rng, others))
    return ["--config-dir", str(folder), f"{group}=damaged"]


def try_command(command: Sequence[str], folder: Path) -> tuple[int | None, str]:
    """Run the program in a forked process; return its exit status, None for a hang, and output."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        os.chdir(folder)
        sys.argv = ["newsimg", *command]
        status: Any = 0
        try:
            from newsimg.run import main

            main()
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
    os.close(writer)
    output, end = b"", time.monotonic() + MAX_SECONDS
    while (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            if not (part := os.read(reader, 65536)):
                break
            output += part
    os.close(reader)
    if left <= 0:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = None if left <= 0 else os.waitstatus_to_exitcode(status)
    return code, output.decode(errors="replace")


def judge(code: int | None, output: str, canary: Path) -> str:
    """Return the outcome of a command; forbidden ones are in capitals."""
    if canary.exists():
        return "CODE WAS RUN"
    if code is None:
        return "HANG"
    if "Traceback" in output:
        return "TRACEBACK"
    if code not in ALLOWED:
        return f"STATUS {code}"
    if code == 2 and "newsimg: error: " not in output:
        return "NO SENTENCE"
    return "refused" if code else "accepted"


def shorten(output: str) -> str:
    """Return the lines of a traceback that name newsimg's own code, and the last lines."""
    lines = output.splitlines()
    own = [line.strip() for line in lines if "/newsimg/" in line and line.startswith("  File")]
    return " | ".join([*own[-2:], *lines[-4:]])[-900:]


def run(n: int, seed: int, folder: Path) -> Result:
    """Give `n` command lines, every second one with a damaged config, to the program."""
    for module in IMPORTED:  # here, so that the forked processes have them
        import_module(module)
    result = Result("damaged command lines and configs")
    rng = random.Random(seed)
    options = list_options()
    for i in range(n):
        place = folder / f"{i:05d}"
        place.mkdir()
        command = write_configs(place / "conf", rng) if i % 2 else write_command(rng, options)
        if not any(word.startswith(("tracking", "-m")) for word in command):
            command.append("tracking=none")
        canary = place / "CANARY"
        code, output = try_command(command, place)
        outcome = judge(code, output, canary)
        if outcome.isupper() or outcome.startswith("STATUS"):
            result.add(outcome, f"{place}: newsimg {' '.join(command)[:600]}: {shorten(output)}")
        else:
            result.add(outcome)
            shutil.rmtree(place)
    return result
