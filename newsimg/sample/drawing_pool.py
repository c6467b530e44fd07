"""Draw scenes in parallel processes."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import newsimg
from newsimg.sample.scenes import Scene
from newsimg.storage.progress import Progress

SYSTEM_ERROR = 100  # added to the number of a system's error, it is the exit status of a worker


def write_scenes(path: Path, scenes: Mapping[str, Scene]) -> None:
    """Write the factors of each picture to a CSV with `image_id` as its first column."""
    names = ["image_id", *(f.name for f in fields(Scene))]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"image_id": key, **asdict(scene)} for key, scene in scenes.items())


def draw_all(
    folder: Path, n_pictures: int, n_workers: int | None = None, quiet: bool = False
) -> None:
    """Draw the scenes of `folder`/scenes.csv to `folder`/newsimages.

    The workers are started with `python -m`. Unlike multiprocessing, this does not import the
    caller's main module, so it also works in a script without a main guard, in a notebook, or in a
    process that has loaded torch.

    Args:
        folder: Folder of scenes.csv.
        n_pictures: Number of its rows, for the progress bar.
        n_workers: Number of processes; by default the number of usable cores.
        quiet: Whether to hide the progress bar.

    Raises:
        OSError: If the pictures cannot be written.
        RuntimeError: If a worker fails otherwise; its error message is on stderr.
    """
    (folder / "newsimages").mkdir(exist_ok=True)
    n_workers = n_workers or _count_cores()
    workers = [_start_worker(folder, i, n_workers) for i in range(n_workers)]
    try:
        with Progress("" if quiet else "Drawing the sample's pictures", n_pictures) as progress:
            while any(worker.poll() is None for worker in workers):
                time.sleep(0.2)
                progress.update(_count_pictures(folder) - progress.done)
        for status in [worker.wait() for worker in workers]:
            if status > SYSTEM_ERROR:
                number = status - SYSTEM_ERROR
                raise OSError(number, os.strerror(number), str(folder / "newsimages"))
            if status:
                raise RuntimeError(
                    f"drawing pictures to {folder} failed: a process ended with status {status}"
                )
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start_worker(folder: Path, worker: int, n_workers: int) -> subprocess.Popen[bytes]:
    package_root = str(Path(newsimg.__file__).parents[1])
    paths = [package_root, os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "newsimg.sample.pictures", str(folder), str(worker), str(n_workers)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )


def _count_pictures(folder: Path) -> int:
    with os.scandir(folder / "newsimages") as entries:
        return sum(1 for _ in entries)


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
