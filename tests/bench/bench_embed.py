"""Pictures embedded per second: a plain loop, newsimg's stream, and what limits it.

    python tests/bench/bench_embed.py [repeats]

For the shape of CLIP ViT-B/32 (random weights) and the sample CLIP, on JPEGs of 500x375 and
1600x1200. All ways take turns in one process; the table has medians, and ratios of medians.
The two limits are the model alone, on pictures that are decoded, and reading, decoding and
resizing alone, each on all cores. The stream does both with the same cores, which then can give no
more than one limit's work after the other's: where there is no GPU, that is the ceiling.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, for all ways

import numpy as np
import pandas as pd
import torch
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.engine.stream import stream_embeddings
from newsimg.engine.validation import Accepted, ValidationRules
from newsimg.reporting.console import print_table
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

SAMPLE = Path(__file__).parents[2] / "newsimg" / "sample" / "clip"
BATCH = 32
RULES = ValidationRules(on_truncated="reject", max_pixels=100_000_000, min_side=2)
SIZES = ((500, 375), (1600, 1200))


def main() -> None:
    """Measure both models on both sizes."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = []
    with TemporaryDirectory() as folder:
        models = {"ViT-B/32": (make_vit_b32(Path(folder) / "vit"), 64), "sample": (SAMPLE, 192)}
        for name, (model, n_pictures) in models.items():
            for size in SIZES:
                pictures = [
                    save_photograph(Path(folder), size, number) for number in range(n_pictures)
                ]
                rows += measure(f"{name}, {size[0]}x{size[1]}", model, pictures, repeats)
    print_table(pd.DataFrame(rows), f"embedding, batches of {BATCH}, medians of {repeats}")


def measure(name: str, model: Path, pictures: list[Image], repeats: int) -> list[dict[str, object]]:
    """Time every way, in turns."""
    exact, reduced = (make_backbone(model, decoding) for decoding in ("exact", "reduced"))
    inputs = [exact.preprocess(picture) for picture in pictures]
    ways: dict[str, Callable[[], Any]] = {
        "plain loop": lambda: embed_plainly(exact, pictures),
        "stream": lambda: embed_stream(exact, pictures),
        "stream, reduced": lambda: embed_stream(reduced, pictures),
        "limit: model alone": lambda: exact.embed_preprocessed(pictures, inputs),
        "limit: decoding alone": lambda: decode_only(exact, pictures),
        "limit: decoding alone, reduced": lambda: decode_only(reduced, pictures),
    }
    rows = {way: work() for way, work in ways.items()}  # warms up, and shows what each computes
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            began = time.perf_counter()
            work()
            seconds[way].append(time.perf_counter() - began)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    table: list[dict[str, object]] = []
    for way, median in medians.items():
        limit, ceiling = "", ""
        if way.startswith("stream"):
            decoding = way.replace("stream", "limit: decoding alone")
            slower = max(medians["limit: model alone"], medians[decoding])
            limit = f"{slower / median:.2f}"
            ceiling = f"{(medians['limit: model alone'] + medians[decoding]) / median:.2f}"
        cosine = "" if rows[way] is None else f"{(rows[way] * rows['plain loop']).sum(1).min():.6f}"
        table.append(
            {
                "model, pictures": name,
                "way": way,
                "pictures/s": f"{len(pictures) / median:.1f}",
                "times plain": f"{medians['plain loop'] / median:.2f}",
                "of the slower limit": limit,
                "of one after the other": ceiling,
                "smallest cosine": cosine,
            }
        )
    return table


def embed_plainly(backbone: TransformersBackbone, pictures: list[Image]) -> np.ndarray:
    """Open, process and embed one batch after the other."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            opened = [
                PILImage.open(picture.path).convert("RGB")
                for picture in pictures[start : start + BATCH]
            ]
            features = backbone.model.get_image_features(
                **backbone.image_processor(images=opened, return_tensors="pt")
            ).pooler_output
            rows.append((features / features.norm(dim=1, keepdim=True)).numpy())
    return np.concatenate(rows)


def embed_stream(backbone: TransformersBackbone, pictures: list[Image]) -> np.ndarray:
    """Embed as `task=index` does, into an empty cache."""
    with TemporaryDirectory() as folder:
        cached = CachedBackbone(backbone, OutputCache(Path(folder)))
        found = list(stream_embeddings(pictures, cached, RULES, n_threads=4))
        cached.cache.compact()
    assert all(isinstance(one, Accepted) for one in found)
    return np.stack([one.embedding for one in found if isinstance(one, Accepted)])


def decode_only(backbone: TransformersBackbone, pictures: list[Image]) -> None:
    """Do all but the model, in as many threads as there are cores."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(backbone.preprocess, pictures))


def make_backbone(model: Path, decoding: str) -> TransformersBackbone:
    """Make a backbone of the model in a folder."""
    return TransformersBackbone(
        model=str(model),
        revision="main",
        dtype="float32",
        device="cpu",
        batch_size=BATCH,
        decoding=decoding,
        text_padding="longest",
        text_length=48,
        query_template="{title}",
    )


def make_vit_b32(folder: Path) -> Path:
    """Save a CLIP of ViT-B/32's shape with random weights."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def save_photograph(folder: Path, size: tuple[int, int], number: int) -> Image:
    """Save a JPEG with the large shapes and the fine grain of a photograph."""
    path = folder / f"{size[0]}_{number:03}.jpg"
    if not path.is_file():
        rng = np.random.default_rng(number)
        coarse = PILImage.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        shapes = np.asarray(coarse.resize(size, PILImage.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.normal(0, 12, (size[1], size[0], 1))
        pixels = np.clip(shapes + grain, 0, 255).astype(np.uint8)
        PILImage.fromarray(pixels).save(path, quality=90)
    return Image(path.stem, path)


if __name__ == "__main__":
    main()
