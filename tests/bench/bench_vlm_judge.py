"""Headline-picture pairs judged per second with shared prefixes, and with plain methods.

python tests/bench/bench_vlm_judge.py [--pictures 2] [--headlines 5] [--rounds 3]

The model is a random Qwen2-VL of a few layers; the pictures have as many tokens as photographs. The
methods alternate, so that other load affects all of them; the table has medians. Every pair is
judged by the five criteria of `criteria=all`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image as PILImage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from timing import time_in_turn
from tiny_models import draw_pictures, make_qwen2_vl  # type: ignore[import-not-found]

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.pictures.images import open_image
from newsimg.vlm.qwen2_vl import Qwen2VLM

ANSWERS = ("1", "2", "3", "4", "5")
CRITERIA = Path(__file__).parents[2] / "conf" / "criteria" / "all.yaml"
SETTINGS: dict[str, Any] = {
    "revision": "main",
    "dtype": "float32",
    "device": "cpu",
    "answer_prefix": "",
    "max_new_tokens": 2,  # a digit and the end token
}


def main() -> None:
    """Create the model, measure all methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--headlines", type=int, default=5, help="per picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Measure all methods, alternating."""
    model = make_qwen2_vl(
        folder / "model",
        max_pixels=1280 * 28 * 28,
        text={
            "hidden_size": 512,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [8, 12, 12],
                "rope_theta": 1e6,
            },
        },
        vision={"depth": 4, "embed_dim": 128, "hidden_size": 512, "num_heads": 4},
    )
    paths = draw_pictures(folder / "pictures", [(640, 480)] * options.pictures)
    images = [Image(str(i), path) for i, path in enumerate(paths)]
    titles = [f"Harbour town counts the cost of storm number {i}" for i in range(options.headlines)]
    criteria = yaml.safe_load(CRITERIA.read_text())
    pairs = [
        [text.replace("{title}", title) for text in (c["question"] for c in criteria.values())]
        for title in titles
    ]
    shared = Qwen2VLM(model=model, share_prefix=True, batch_size=64, **SETTINGS)
    plain = Qwen2VLM(model=model, share_prefix=False, batch_size=1, **SETTINGS)
    distinct = list(dict.fromkeys(text for own in pairs for text in own))

    def judge_shared() -> list[FloatArray]:
        return shared.ask(images, [distinct] * len(images), ANSWERS)

    def judge_by_forward() -> list[FloatArray]:
        return plain.ask(images, [distinct] * len(images), ANSWERS)

    def judge_by_generation() -> None:
        for image in images:
            for own in pairs:
                for text in own:
                    plain.write([image], [[text]])

    methods: dict[str, Callable[[], object]] = {
        "expected, shared prefixes": judge_shared,
        "expected, one forward per distinct question": judge_by_forward,
        "generate, one call per pair and criterion": judge_by_generation,
    }
    difference = max(
        np.abs(rate(one) - rate(other)).max()
        for one, other in zip(judge_shared(), judge_by_forward(), strict=True)
    )
    medians = time_in_turn(methods, options.rounds)
    n_tokens = len(shared.encode(open_first(images))[0])
    n_pairs = len(images) * len(pairs)
    print(
        f"{len(images)} pictures of {n_tokens} tokens x {len(pairs)} headlines x "
        f"{len(criteria)} criteria, {options.threads} threads, median of {options.rounds}"
    )
    slowest = medians["generate, one call per pair and criterion"]
    for name, median in medians.items():
        print(f"{name:45} {n_pairs / median:8.2f} pairs/s {slowest / median:7.1f} x")
    print(f"largest difference of a rating, shared prefixes to plain forward: {difference:.1e}")


def rate(probabilities: FloatArray) -> FloatArray:
    """Return expected ratings."""
    return probabilities @ np.arange(1, 6) / probabilities.sum(axis=1)


def open_first(images: list[Image]) -> PILImage.Image:
    """Decode the first picture."""
    return open_image(images[0])


if __name__ == "__main__":
    main()
