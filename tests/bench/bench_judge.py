"""Headline-picture pairs judged per second: one picture at a time, and many in one batch.

    python tests/bench/bench_judge.py [--pictures 24] [--headlines 10] [--rounds 3]

With a GPU the model has the shape of Qwen2-VL-7B in bfloat16, without one a tiny and a small shape
in float32; the weights are random. A CPU computes a small model no faster in larger batches, which
save the cost of calls alone. Each picture has 144 tokens and is judged by the criteria of
`criteria=all`, of which those without the headline are asked once. Both methods share the prefix of
a picture's questions, and alternate; the table has medians.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from timing import time_in_turn
from tiny_models import draw_pictures, make_qwen2_vl  # type: ignore[import-not-found]
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from newsimg.datatypes import FloatArray, Image
from newsimg.reporting.console import print_table
from newsimg.vlm.qwen2_vl import Qwen2VLM

ANSWERS = ("1", "2", "3", "4", "5")
CRITERIA = Path(__file__).parents[2] / "conf" / "criteria" / "all.yaml"
ON_GPU = torch.cuda.is_available()
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6}
SEVEN_BILLION: dict[str, dict[str, Any]] = {
    "text": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "rope_parameters": ROPE | {"mrope_section": [16, 24, 24]},
    },
    "vision": {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16},
}
TINY: dict[str, dict[str, Any]] = {
    "text": {"rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}},
    "vision": {},
}
SMALL: dict[str, dict[str, Any]] = {
    "text": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]},
    },
    "vision": {"depth": 4, "embed_dim": 128, "hidden_size": 256, "num_heads": 4},
}


def main() -> None:
    """Measure both methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=96 if ON_GPU else 24)
    parser.add_argument("--headlines", type=int, default=10, help="per picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", default="auto", help="of the second method")
    options = parser.parse_args()
    shapes = {"7B": SEVEN_BILLION} if ON_GPU else {"tiny": TINY, "small": SMALL}
    for name, shape in shapes.items():
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), name, shape, options)


def compare(folder: Path, shape_name: str, shape: Any, options: argparse.Namespace) -> None:
    """Measure both methods, alternating."""
    size = options.batch_size if options.batch_size == "auto" else int(options.batch_size)
    model = make_model(make_qwen2_vl(folder / "model", max_pixels=336 * 336), shape)
    single, batched = (make_vlm(folder / "model", model, n) for n in (32, size))
    paths = draw_pictures(folder / "pictures", [(336, 336)] * options.pictures)
    images = [Image(str(i), path) for i, path in enumerate(paths)]
    questions = [read_questions(options.headlines)] * len(images)
    methods: dict[str, Callable[[], list[FloatArray]]] = {
        "one picture at a time": lambda: [
            single.ask([image], questions[:1], ANSWERS)[0] for image in images
        ],
        f"many pictures, batch_size={size}": lambda: batched.ask(images, questions, ANSWERS),
    }
    found = [np.stack(method()) for method in methods.values()]  # warm-up, and what to compare
    medians = time_in_turn(methods, options.rounds)
    slowest = medians["one picture at a time"]
    rows = [
        {
            "method": name,
            "pictures/s": f"{len(images) / median:.1f}",
            "pairs/s": f"{len(images) * options.headlines / median:.1f}",
            "speedup": f"{slowest / median:.2f}",
        }
        for name, median in medians.items()
    ]
    device = torch.cuda.get_device_name() if ON_GPU else "CPU"
    title = (
        f"{device}, {shape_name}, {len(images)} pictures, {len(questions[0])} questions each, "
        f"medians of {options.rounds}"
    )
    print_table(pd.DataFrame(rows), title)
    print(f"largest difference of a probability: {np.abs(found[0] - found[1]).max():.1e}")


def read_questions(n_headlines: int) -> list[str]:
    """Return the distinct questions about a picture that some headlines share."""
    titles = [f"Harbour town counts the cost of storm number {i}" for i in range(n_headlines)]
    criteria = yaml.safe_load(CRITERIA.read_text())
    texts = [own["question"].replace("{title}", t) for t in titles for own in criteria.values()]
    return list(dict.fromkeys(texts))


def make_model(folder: str, shape: dict[str, dict[str, Any]]) -> Any:
    """Return a model with random weights for the tokenizer and image processor of a folder."""
    settings = Qwen2VLConfig.from_pretrained(folder).to_dict()
    del settings["text_config"]["layer_types"]  # one per layer
    settings["text_config"] |= shape["text"]
    settings["vision_config"] |= shape["vision"] | {"mlp_ratio": 4}
    config = Qwen2VLConfig(**settings)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if ON_GPU else torch.float32
    with torch.device("cuda" if ON_GPU else "cpu"):
        return Qwen2VLForConditionalGeneration._from_config(config, dtype=dtype).eval()


def make_vlm(folder: Path, model: Any, batch_size: Any) -> Qwen2VLM:
    """Return a judge with the model."""
    vlm = Qwen2VLM(
        model=str(folder),
        revision="main",
        dtype="bfloat16" if ON_GPU else "float32",
        device="auto",
        batch_size=batch_size,
        share_prefix=True,
        answer_prefix="",
        max_new_tokens=8,
    )
    vars(vlm)["model"] = model  # instead of the one in the folder
    return vlm


if __name__ == "__main__":
    main()
