"""Pictures embedded per second with `backbone.quantize=int8`, and its eager peers.

    python tests/bench/bench_int8.py [--pictures 64] [--rounds 5]

The speed is measured with a model of the shape of CLIP ViT-B/32 (random weights) on preprocessed
pictures. Its peers are the same model in float32 and bfloat16, eagerly, and torch's own dynamic
quantisation. The methods alternate in one process; the table has medians. Cosines are those to
float32. The loss is measured with the sample's trained CLIP: Hits@1 of its validation headlines
among all of their pictures.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as on the command line, for all methods

import numpy as np
import pandas as pd
import torch
from timing import time_in_turn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from newsimg.backbone.base import to_unit_rows
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.sample import SampleDataset
from newsimg.datatypes import FloatArray
from newsimg.reporting.console import print_table

SAMPLE = Path(__file__).parents[2] / "newsimg" / "sample" / "clip"
BATCH = 32


def main() -> None:
    """Measure speed and loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.environ["NEWSIMG_CACHE"] = folder  # the export is part of no measurement
        rows = measure_speed(Path(folder) / "vit", options.pictures, options.rounds)
        title = f"ViT-B/32, {torch.get_num_threads()} threads, medians of {options.rounds}"
        print_table(pd.DataFrame(rows), title)
        print_table(pd.DataFrame(measure_loss()), "sample, validation headlines")


def measure_speed(folder: Path, n_pictures: int, n_rounds: int) -> list[dict[str, str]]:
    """Measure all methods, alternating."""
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    exact, quantized = make_backbone(folder), make_backbone(folder, quantize="int8")
    half = make_backbone(folder, dtype="bfloat16")
    pixels = np.random.default_rng(0).normal(size=(n_pictures, 1, 3, 224, 224)).astype(np.float32)
    inputs = [{"pixel_values": own} for own in pixels]
    images: list[Any] = [None] * n_pictures  # not read: the inputs are given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in torch
        dynamic = torch.ao.quantization.quantize_dynamic(
            make_backbone(folder).model, {torch.nn.Linear}, dtype=torch.qint8
        )
    methods: dict[str, Callable[[], FloatArray]] = {
        "float32, eager": lambda: exact.embed_preprocessed(images, inputs),
        "bfloat16, eager": lambda: half.embed_preprocessed(images, inputs),
        "torch's dynamic int8, eager": lambda: embed_with(dynamic, pixels),
        "backbone.quantize=int8": lambda: quantized.embed_preprocessed(images, inputs),
    }
    found = {name: method() for name, method in methods.items()}  # warm-up
    medians = time_in_turn(methods, n_rounds)
    reference = found["float32, eager"]
    return [
        {
            "method": name,
            "pictures/s": f"{n_pictures / median:.1f}",
            "to float32": f"{medians['float32, eager'] / median:.2f}",
            "smallest cosine": f"{(found[name] * reference).sum(axis=1).min():.5f}",
        }
        for name, median in medians.items()
    ]


def embed_with(model: Any, pixels: FloatArray) -> FloatArray:
    """Embed with a model of transformers."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            batch = torch.from_numpy(pixels[start : start + BATCH, 0])
            rows.append(model.get_image_features(pixel_values=batch).pooler_output.numpy())
    return to_unit_rows(np.concatenate(rows))


def measure_loss() -> list[dict[str, str]]:
    """Compare the sample's CLIP in float32 and int8."""
    data = SampleDataset(name="sample", split="val", subset=None, seed=28, pool="split").load()
    assert data.qrels is not None
    ids = np.array([image.image_id for image in data.images])
    reference: FloatArray | None = None
    rows = []
    for quantize in (None, "int8"):
        backbone = make_backbone(SAMPLE, text_length=48, quantize=quantize)
        texts = backbone.embed_texts([query.title for query in data.queries])
        images = backbone.embed_images(data.images)
        first = ids[(texts @ images.T).argmax(axis=1)]
        hits = [
            data.qrels[query.query_id].get(found, 0) > 0
            for query, found in zip(data.queries, first, strict=True)
        ]
        reference = images if reference is None else reference
        rows.append(
            {
                "pictures in": quantize or "float32",
                "headlines": str(len(hits)),
                "Hits@1": f"{np.mean(hits):.4f}",
                "smallest cosine": f"{(images * reference).sum(axis=1).min():.5f}",
            }
        )
    return rows


def make_backbone(model: Path, **changes: Any) -> TransformersBackbone:
    """Return a backbone with the model of a folder."""
    settings: dict[str, Any] = {
        "revision": "main",
        "dtype": "float32",
        "device": "cpu",
        "batch_size": BATCH,
        "text_padding": "longest",
        "text_length": 77,
        "query_template": "{title}",
    }
    return TransformersBackbone(model=str(model), **settings | changes)


if __name__ == "__main__":
    main()
