"""SIGKILLs and full disks at random moments; the same command then ends with the same files."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from result import Result
from scenarios import Scenario

from newsimg.sample.generator import ensure_newsroom
from newsimg.storage.files import user_cache_dir

sys.path.append(str(Path(__file__).parents[1] / "support"))
from indexing import fill

SUPPORT = Path(__file__).parents[1] / "support"
N_PICTURES = 400
Digests = Mapping[str, str]


def prepare(scenario: Scenario, folder: Path) -> None:
    """Fill a folder with what the command reads."""
    folder.mkdir(parents=True)
    fill(folder / "pictures", N_PICTURES)
    fill(folder / "more", N_PICTURES // 2, start=N_PICTURES)
    if not scenario.draws:
        newsroom = ensure_newsroom(user_cache_dir())
        (folder / "cache").mkdir()
        (folder / "cache" / newsroom.name).symlink_to(newsroom)
    for command in scenario.before:
        with start(command, folder) as process:
            output = process.communicate()[0]
        assert process.returncode == 0, output


@contextlib.contextmanager
def start(
    command: tuple[str, ...], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start newsimg in a folder, with its cache there, as the leader of a process group."""
    with subprocess.Popen(
        [sys.executable, "-m", "newsimg", *command],
        cwd=folder,
        env=os.environ | {"NEWSIMG_CACHE": str(folder / "cache")} | dict(env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def hash_outputs(scenario: Scenario, folder: Path) -> Digests:
    """Return the digest of each file that the command must write."""
    found = {pattern: sorted(folder.glob(pattern))[-1:] for pattern in scenario.outputs}
    return {
        pattern: hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern, paths in found.items()
        for path in paths
    }


def finish(scenario: Scenario, folder: Path, expected: Digests | None) -> tuple[Digests, str]:
    """Run the command to its end; return its files and the fault, empty for none."""
    with start(scenario.command, folder) as process:
        output = process.communicate()[0]
    found = hash_outputs(scenario, folder)
    # Killed after the index was complete: the same command would build it again.
    if process.returncode and not (found == expected and "already holds an index" in output):
        return found, f"status {process.returncode}: {output[-800:]}"
    if expected is not None and found != expected:
        differing = [
            name for name in {**found, **expected} if found.get(name) != expected.get(name)
        ]
        return found, f"other files: {', '.join(differing)}"
    return found, check_store(folder) if scenario.is_tracked else ""


def check_store(folder: Path) -> str:
    """Send what the tracking store lacks; return how it differs from the runs' records then."""
    with start(("task=sync",), folder) as process:
        output = process.communicate()[0]
    # In a process of its own, as MLflow keeps the database of an earlier trial open.
    command = [sys.executable, SUPPORT / "tracking_check.py", folder / "multirun"]
    done = subprocess.run(command, capture_output=True, text=True)
    return f"tracking: {done.stderr[-500:]}: {output[-300:]}" if done.returncode else ""


def kill(scenario: Scenario, folder: Path, delay: float) -> bool:
    """Start the command and kill its process group after `delay` seconds, unless it has ended."""
    with start(scenario.command, folder) as process:
        try:
            process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return True
    return False


def fill_disk(scenario: Scenario, folder: Path, n_bytes: int) -> str:
    """Run the command on a disk of `n_bytes`, then give it more room; return the fault."""
    content = folder.with_name(f"{folder.name}-content")
    folder.rename(content)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", folder], check=True)
    shutil.copytree(content, folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(content)
    used = int(subprocess.check_output(["du", "-s", "-B1", folder]).split()[0])
    size = f"remount,size={used + n_bytes}"
    subprocess.run(["mount", "-o", size, folder], check=True)
    with start(scenario.command, folder) as process:
        output = process.communicate()[0]
    subprocess.run(["mount", "-o", "remount,size=4g", folder], check=True)
    told = process.returncode == 0 or "No space left on device" in output
    return "" if told and "Traceback" not in output else f"full disk: {output[-800:]}"


def try_scenario(
    scenario: Scenario, n: int, rng: random.Random, folder: Path, full: bool
) -> Result:
    """Interrupt a scenario `n` times, by full disks or by SIGKILL."""
    result = Result(f"{'full disks' if full else 'SIGKILLs'}: {scenario.name}")
    prepare(scenario, folder / "trial")
    (folder / "trial").rename(folder / "before")
    trial = folder / "trial"  # always the same, as outputs contain paths
    shutil.copytree(folder / "before", trial, symlinks=True)
    started = time.monotonic()
    expected, fault = finish(scenario, trial, None)
    seconds = time.monotonic() - started
    if fault or len(expected) < len(scenario.outputs):
        result.add("NO RESULT", fault or "files are missing")
        return result
    shutil.rmtree(trial)
    for i in range(n):
        shutil.copytree(folder / "before", trial, symlinks=True)
        fault, outcome = "", "same files"
        if full:
            fault = fill_disk(scenario, trial, round(10 ** rng.uniform(3.6, 7.5)))
        elif not kill(scenario, trial, rng.uniform(0, seconds)):
            outcome = "ended before the kill"  # the same command would be a second one
        if outcome == "same files":
            fault = fault or finish(scenario, trial, expected)[1]
        result.add("FAULT" if fault else outcome, fault and f"{folder / f'{i:03d}'}: {fault}")
        if full:
            subprocess.run(["umount", trial], check=True)
        if fault:
            trial.rename(folder / f"{i:03d}")
        else:
            shutil.rmtree(trial)
    return result


def make_part(scenario: Scenario, full: bool) -> Callable[[int, int, Path], Result]:
    """Return the part of the campaign that interrupts a scenario."""

    def run(n: int, seed: int, folder: Path) -> Result:
        serve = scenario.serve or (lambda: contextlib.nullcontext(()))
        with serve() as more:
            served = replace(scenario, command=(*scenario.command, *more))
            return try_scenario(served, n, random.Random(seed), folder, full)

    return run
