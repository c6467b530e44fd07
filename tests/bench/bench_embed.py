"""Pictures embedded per second: a plain loop, newsimg's stream, and its limits.

    python tests/bench/bench_embed.py [repeats]

Measures a model of the shape of CLIP ViT-B/32 (random weights) and the sample CLIP on JPEGs of
500x375 and 1600x1200. The methods alternate in one process; the table has medians and ratios of
medians. The two limits are the model alone on decoded pictures, and reading, decoding and resizing
alone, each on all cores. Without a GPU the stream uses the same cores for both, so its ceiling is
the sum of both times.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as on the command line, for all methods

import numpy as np
import pandas as pd
import torch
from PIL import Image as PILImage
from timing import time_in_turn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Accepted, Image, ValidationRules
from newsimg.engine.stream import stream_embeddings
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
    """Measure all methods, alternating."""
    exact, reduced = (make_backbone(model, decoding) for decoding in ("exact", "reduced"))
    inputs = [exact.preprocess(picture) for picture in pictures]
    methods: dict[str, Callable[[], Any]] = {
        "plain loop": lambda: embed_plainly(exact, pictures),
        "stream": lambda: embed_stream(exact, pictures),
        "stream, reduced": lambda: embed_stream(reduced, pictures),
        "limit: model alone": lambda: exact.embed_preprocessed(pictures, inputs),
        "limit: decoding alone": lambda: decode_only(exact, pictures),
        "limit: decoding alone, reduced": lambda: decode_only(reduced, pictures),
    }
    rows = {
        method: work() for method, work in methods.items()
    }  # warm-up, and the embeddings to compare
    medians = time_in_turn(methods, repeats)
    table: list[dict[str, object]] = []
    for method, median in medians.items():
        limit, ceiling = "", ""
        if method.startswith("stream"):
            decoding = method.replace("stream", "limit: decoding alone")
            slower = max(medians["limit: model alone"], medians[decoding])
            limit = f"{slower / median:.2f}"
            ceiling = f"{(medians['limit: model alone'] + medians[decoding]) / median:.2f}"
        embeddings = rows[method]
        cosine = ""
        if embeddings is not None:
            cosine = f"{(embeddings * rows['plain loop']).sum(1).min():.6f}"
        table.append(
            {
                "model, pictures": name,
                "method": method,
                "pictures/s": f"{len(pictures) / median:.1f}",
                "speedup": f"{medians['plain loop'] / median:.2f}",
                "of slower limit": limit,
                "of both limits": ceiling,
                "smallest cosine": cosine,
            }
        )
    return table


def embed_plainly(backbone: TransformersBackbone, pictures: list[Image]) -> np.ndarray:
    """Open, preprocess and embed batch by batch."""
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
    """Embed as in `task=index`, with an empty cache."""
    with TemporaryDirectory() as folder:
        cached = CachedBackbone(backbone, OutputCache(Path(folder)))
        found = list(stream_embeddings(pictures, cached, RULES, n_threads=4))
        cached.cache.compact()
    assert all(isinstance(one, Accepted) for one in found)
    return np.stack([one.embedding for one in found if isinstance(one, Accepted)])


def decode_only(backbone: TransformersBackbone, pictures: list[Image]) -> None:
    """Preprocess without the model, with one thread per core."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(backbone.preprocess, pictures))


def make_backbone(model: Path, decoding: str) -> TransformersBackbone:
    """Return a backbone with the model of a folder."""
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
    """Save a CLIP of the shape of ViT-B/32 with random weights."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def save_photograph(folder: Path, size: tuple[int, int], number: int) -> Image:
    """Save a JPEG with large shapes and fine noise, like a photograph."""
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
