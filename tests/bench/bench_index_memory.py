"""Peak memory of task=index: does it grow with the collection?

    python tests/bench/bench_index_memory.py [n_pictures ...]

Draws so many small distinct JPEGs (2,000 and 20,000 unless told), indexes each collection from an
empty cache with the sample model, in a process of its own, and prints the peaks of resident memory.
Beside the difference stands what the index itself needs: its vectors, which FAISS has in memory.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

ROOT = Path(__file__).parents[2]
PER_FOLDER = 1000


def draw_collection(folder: Path, n_pictures: int) -> None:
    """Write JPEGs of 96x72 that all differ, a thousand to a folder."""
    random = np.random.default_rng(n_pictures)
    for i in range(n_pictures):
        patches = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        picture = PILImage.fromarray(patches).resize((96, 72), PILImage.Resampling.BICUBIC)
        picture.save(buffer, "JPEG", quality=85)
        path = folder / f"{i // PER_FOLDER:03}" / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def index_collection(folder: Path, pictures: Path) -> tuple[float, float]:
    """Run the command line; return its peak of resident memory in MB, and its seconds."""
    began = time.perf_counter()
    job = subprocess.Popen(
        [
            *(sys.executable, "-m", "newsimg.run", "task=index", "data=collection"),
            *(f"data.folder={pictures}", f"task.index_dir={folder / 'index'}", "tracking=none"),
            *(f"cache.dir={folder / 'cache'}", f"folder={folder / 'runs'}"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(job.pid, 0)
    if status:
        raise SystemExit(f"task=index ended with status {status}")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def main(sizes: list[int]) -> None:
    """Print a row for each size, and the difference between the last and the first."""
    print(f"{'pictures':>9}{'peak MB':>9}{'index MB':>10}{'seconds':>9}", flush=True)
    peaks, vectors = [], []
    for n_pictures in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw_collection(folder / "pictures", n_pictures)
            peak, seconds = index_collection(folder, folder / "pictures")
            size = (folder / "index" / "vectors.faiss").stat().st_size / 2**20
        print(f"{n_pictures:9}{peak:9.0f}{size:10.1f}{seconds:9.1f}", flush=True)
        peaks.append(peak)
        vectors.append(size)
    growth = vectors[-1] - vectors[0]
    print(f"\n{peaks[-1] - peaks[0]:+.0f} MB of peak memory, {growth:+.1f} MB of them the index")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [2_000, 20_000])
