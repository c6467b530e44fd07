"""What the command itself costs: help, errors, a first and a warm run, a sweep and its jobs.

    python tests/bench/bench_start.py [rounds] [checkout]

Each command is run on the sample newsroom in a process of its own. CPU seconds are those of the
command and of all processes that it starts, medians over the rounds; the ratio is to a warm run.
With the folder of another checkout, the commands of both alternate, and the last columns are this
one's CPU and wall seconds divided by the other's. First runs are made in the first round alone.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
WARM, FIRST = "warm run", "first run"
SWEEPS = {n: f"sweep of {n} weights" for n in (11, 21)}
JOB = "a further job of a sweep"
COMMANDS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "an option that does not exist": ["backbone=clpi"],
    "a value that is wrong": ["top_k=0"],
    WARM: [],
    **{
        name: ["-m", "weight.value=" + ",".join(f"{i / 40}" for i in range(n))]
        for n, name in SWEEPS.items()
    },
}
Seconds = tuple[float, float]  # CPU and wall


def time_command(root: Path, folder: Path, arguments: list[str]) -> Seconds:
    """Run a checkout's command line with a folder of its own for runs and cache."""
    environment = os.environ | {"PYTHONPATH": str(root), "NEWSIMG_CACHE": str(folder / "cache")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "newsimg.run", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def measure(roots: list[Path], n_rounds: int) -> list[dict[str, Seconds]]:
    """Return the median seconds of each command, for each checkout."""
    taken: list[dict[str, list[Seconds]]] = [defaultdict(list) for _ in roots]
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(i) for i in range(len(roots))]
        for folder in folders:
            folder.mkdir()
        for number in range(n_rounds):
            first = {} if number else {FIRST: list[str]()}
            for command, arguments in (first | COMMANDS).items():
                for i, (root, folder) in enumerate(zip(roots, folders, strict=True)):
                    taken[i][command].append(time_command(root, folder, arguments))
    return [_summarize(own) for own in taken]


def _summarize(taken: dict[str, list[Seconds]]) -> dict[str, Seconds]:
    seconds = {
        command: (statistics.median(cpu), statistics.median(wall))
        for command, (cpu, wall) in ((name, zip(*own, strict=True)) for name, own in taken.items())
    }
    few, many = (seconds[name] for name in SWEEPS.values())
    n_jobs = max(SWEEPS) - min(SWEEPS)
    return seconds | {JOB: ((many[0] - few[0]) / n_jobs, (many[1] - few[1]) / n_jobs)}


def main(n_rounds: int = 5, *others: str) -> None:
    """Print the table."""
    own, *rest = measure([ROOT, *(Path(other).absolute() for other in others)], n_rounds)
    header = f"{'':32}{'CPU s':>8}{'ratio':>8}{'wall s':>8}{'ratio':>8}"
    print(header + "".join(f"{'CPU':>10}{'wall':>8} of {name}" for name in others))
    warm = own[WARM]
    for command, (cpu, wall) in own.items():
        line = f"{command:32}{cpu:8.2f}{cpu / warm[0]:8.2f}{wall:8.2f}{wall / warm[1]:8.2f}"
        for other in rest:
            line += f"{cpu / other[command][0]:10.2f}{wall / other[command][1]:8.2f}"
        print(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, *sys.argv[2:3])
