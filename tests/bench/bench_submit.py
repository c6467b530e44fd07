"""Pictures rendered per second for a submission, compared with a plain loop with full decoding.

python tests/bench/bench_submit.py
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image as PILImage
from PIL import ImageOps
from timing import time_in_turn

from newsimg.datatypes import Image
from newsimg.reporting.console import print_table
from newsimg.reporting.results import Choice
from newsimg.submission.build import Entry, render_all
from newsimg.submission.layouts import PICTURE_SIZE
from newsimg.submission.preview import Preview

N_PICTURES = 16
N_REPEATS = 5


def main() -> None:
    """Measure photographs of 12 and 2 megapixels."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, size in (("12 megapixels", (4000, 3000)), ("1600x1200", (1600, 1200))):
            entries = [
                Entry("run", "ALL", str(i), 1, Choice(photograph(Path(folder), size, i), {}))
                for i in range(N_PICTURES)
            ]
            rows += measure(name, entries)
    print_table(pd.DataFrame(rows), f"{N_PICTURES} JPEGs to PNG, medians of {N_REPEATS}")


def measure(name: str, entries: list[Entry]) -> list[dict[str, object]]:
    """Measure the plain loop, and `render_all` with 1 and 2 workers, alternating."""
    salient = [replace(entry, crop="saliency") for entry in entries]
    methods: dict[str, Callable[[], object]] = {
        "plain": lambda: [render_plainly(entry.choice.image.path) for entry in entries],
        "1 worker": lambda: list(render_all(entries, 1)),
        "2 workers": lambda: list(render_all(entries, 2)),
        "2 workers, saliency": lambda: list(render_all(salient, 2)),
        "2 workers, preview": lambda: list(render_all(entries, 2, Preview().observe)),
    }
    medians = time_in_turn(methods, N_REPEATS)
    return [
        {
            "pictures": name,
            "method": method,
            "PNGs/s": f"{len(entries) / median:.1f}",
            "speedup over plain": f"{medians['plain'] / median:.2f}",
            "over 1 worker": f"{medians['1 worker'] / median:.2f}",
        }
        for method, median in medians.items()
    ]


def render_plainly(path: Path) -> bytes:
    """Render a picture as in Pillow's documentation."""
    with PILImage.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    buffer = io.BytesIO()
    ImageOps.fit(upright, PICTURE_SIZE, PILImage.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(folder: Path, size: tuple[int, int], seed: int) -> Image:
    """Save a JPEG with detail at all scales, like a photograph."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for n, share in ((6, 2), (24, 4), (96, 8), (384, 8)):
        layer = PILImage.fromarray(random.integers(0, 256, (n, n, 3), dtype=np.uint8))
        pixels += np.asarray(layer.resize(size, PILImage.Resampling.BICUBIC), np.float32) / share
    path = folder / f"{size[0]}_{seed}.jpg"
    PILImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=88)
    return Image(path.stem, path)


if __name__ == "__main__":
    main()
