"""Duration of an index build with `engine=ray`, and with a worker killed every ten seconds.

    python tests/bench/bench_ray.py [--n 4000] [--n-workers 4] [--every 10]

Embeds drawn pictures with the sample's model into empty caches, by the local engine, one worker of
Ray, several, and several of which one is killed again and again; all must write the same index.
A worker has one thread, so that the ratio says what workers add; it is at most the number of cores.
"""

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))
from indexing import fill  # type: ignore[import-not-found]

WRITTEN = ("vectors.faiss", "images.parquet", "rejected.parquet")


def build(folder: Path, n_workers: int, every: float = 0) -> tuple[float, int]:
    """Build an index; return the seconds and how many workers were killed."""
    folder.mkdir()
    engine = [f"engine={'ray' if n_workers else 'local'}"]
    engine += [f"engine.n_workers={n_workers}"] if n_workers else ["task.n_threads=1"]
    command = [sys.executable, "-m", "newsimg", "task=index", "data=collection", "tracking=none"]
    command += [f"data.folder={folder.parent / 'pictures'}", f"cache.dir={folder / 'cache'}"]
    command += ["task.index_dir=index"]
    began = time.monotonic()
    killed = 0
    with (folder / "output.txt").open("w") as output:
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, *engine], cwd=folder, env=env, stdout=output, stderr=output
        )
        while process.poll() is None:
            try:
                process.wait(timeout=every or None)
            except subprocess.TimeoutExpired:
                workers = find_workers(process.pid)
                if workers:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    killed += 1
    assert process.returncode == 0, (folder / "output.txt").read_text()[-2000:]
    return time.monotonic() - began, killed


def find_workers(ancestor: int) -> list[int]:
    """Return the processes below `ancestor` that hold a model."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found = re.search(r"PPid:\s+(\d+)", (path / "status").read_text())
            titles[int(path.name)] = (path / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        parents[int(path.name)] = int(found[1]) if found else 0

    def is_below(process: int) -> bool:
        while process := parents.get(process, 0):
            if process == ancestor:
                return True
        return False

    return [one for one in titles if "ChunkEmbedder" in titles[one] and is_below(one)]


def main() -> None:
    """Print the durations, and compare the indexes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--n-workers", type=int, default=4)
    parser.add_argument("--every", type=float, default=10)
    options = parser.parse_args()
    several = options.n_workers
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name) / "pictures", options.n)
        expected, seconds = None, {}
        for kind, n_workers, every in (
            ("local", 0, 0.0),
            ("one", 1, 0.0),
            ("several", several, 0.0),
            ("killed", several, options.every),
        ):
            folder = Path(name) / kind
            seconds[kind], killed = build(folder, n_workers, every)
            index = folder / "index"
            found = [hashlib.sha256((index / one).read_bytes()).hexdigest() for one in WRITTEN]
            expected = expected or found
            print(
                f"{kind}: {n_workers or 'no'} workers of Ray, {killed} killed: "
                f"{seconds[kind]:.0f} s, {'the same' if found == expected else 'ANOTHER'} index",
                flush=True,
            )
        print(f"{several} workers against 1: {seconds['one'] / seconds['several']:.2f} times")
        print(f"while killed: {seconds['one'] / seconds['killed']:.2f} times")


if __name__ == "__main__":
    main()
