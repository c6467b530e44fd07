"""Commands in strange surroundings, which must end with the same files as in ordinary ones."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from interruptions import check_store, hash_outputs, prepare, start
from result import Result
from scenarios import SCENARIOS, Scenario

SHIMS = Path(__file__).with_name("shims")
FUTURE = 400 * 86400  # seconds
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@contextlib.contextmanager
def mount_read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only, for root as well."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def run_at_once(
    scenario: Scenario, n: int, folder: Path, env: Mapping[str, str] | None = None
) -> list[tuple[int, str]]:
    """Start a command `n` times at once; return status and output of each."""
    if env:
        paths = [str(SHIMS), os.environ.get("PYTHONPATH", "")]
        env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                start(scenario.command, folder, env and {**env, "NUMBER": str(number)})
            )
            for number in range(n)
        ]
        outputs = [process.communicate()[0] for process in processes]
    return [(one.returncode, text) for one, text in zip(processes, outputs, strict=True)]


def compare(
    scenario: Scenario, folder: Path, expected: Mapping[str, str], done: list[tuple[int, str]]
) -> str:
    """Return the fault of commands that have ended, empty for none."""
    for status, output in done:
        if status:
            return f"status {status}: {output[-600:]}"
    if len(done) > 1:  # each has a folder of its own
        for pattern in scenario.outputs:
            n = len(list(folder.glob(pattern)))
            if n < len(done):
                return f"{n} of {len(done)} {pattern}"
    if hash_outputs(scenario, folder) != expected:
        return "other files"
    return check_store(folder) if scenario.is_tracked else ""


def read_only_cache(folder: Path, expected: Mapping[str, str], number: int) -> str:
    """A cache that has all results is used; one that lacks some is refused by name."""
    scenario = BY_NAME["embedding"]
    if number % 2:
        run_at_once(scenario, 1, folder)
        shutil.rmtree(folder / "multirun")
        with mount_read_only(folder / "cache"):
            return compare(scenario, folder, expected, run_at_once(scenario, 1, folder))
    with mount_read_only(folder / "cache"):
        [(status, output)] = run_at_once(scenario, 1, folder)
    told = status == 2 and str(folder / "cache") in output and "Traceback" not in output
    return "" if told else f"empty read-only cache: status {status}: {output[-600:]}"


def clock_set_back(folder: Path, expected: Mapping[str, str], number: int) -> str:
    """The second run finds files from the future."""
    scenario = BY_NAME["embedding"]
    run_at_once(scenario, 1, folder)
    if number % 2:
        then = time.time() + FUTURE
        for path in folder.rglob("*"):
            os.utime(path, (then, then), follow_symlinks=False)
        done = run_at_once(scenario, 1, folder)
    else:
        done = run_at_once(scenario, 1, folder, {"CLOCK": "back"})
    return compare(scenario, folder, expected, done)


def late_renames(folder: Path, expected: Mapping[str, str], number: int) -> str:
    """Three runs share a cache on a file system that renames late."""
    scenario = BY_NAME["tracking"]
    return compare(
        scenario, folder, expected, run_at_once(scenario, 3, folder, {"RENAMES": "late"})
    )


def two_sweeps(folder: Path, expected: Mapping[str, str], number: int) -> str:
    """Two sweeps at once in one folder."""
    scenario = BY_NAME["sweep"]
    return compare(scenario, folder, expected, run_at_once(scenario, 2, folder))


SURROUNDINGS: dict[str, tuple[str, Callable[[Path, Mapping[str, str], int], str]]] = {
    "read_only_cache": ("embedding", read_only_cache),
    "clock_set_back": ("embedding", clock_set_back),
    "late_renames": ("tracking", late_renames),
    "two_sweeps": ("sweep", two_sweeps),
}


def make_part(name: str) -> Callable[[int, int, Path], Result]:
    """Return the part of the campaign for a surrounding."""

    def run(n: int, seed: int, folder: Path) -> Result:
        of, try_once = SURROUNDINGS[name]
        result = Result(name.replace("_", " "))
        prepare(BY_NAME[of], folder / "trial")
        (folder / "trial").rename(folder / "before")
        trial = folder / "trial"
        shutil.copytree(folder / "before", trial, symlinks=True)
        run_at_once(BY_NAME[of], 1, trial)
        expected = hash_outputs(BY_NAME[of], trial)
        for i in range(n):
            shutil.rmtree(trial)
            shutil.copytree(folder / "before", trial, symlinks=True)
            fault = try_once(trial, expected, i)
            result.add("FAULT" if fault else "same files", fault and f"{name} {i}: {fault}")
            if fault:
                shutil.copytree(trial, folder / f"{i:03d}", symlinks=True)
        return result

    return run
