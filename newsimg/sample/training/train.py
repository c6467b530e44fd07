"""Train the sample's CLIP and head: python -m newsimg.sample.training.train --out FOLDER."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import CLIPModel, PreTrainedTokenizerFast
from transformers.utils import logging

from newsimg.sample.scenes import WEB_POOR_SHARE
from newsimg.sample.training.clip_parts import build_model, build_processor, train_tokenizer
from newsimg.sample.training.fitting import embed_pictures, embed_texts, fit_pairs, fit_pictures
from newsimg.sample.training.head import FloatArray, fit_head, fused_hits_at_1, hits_at_1
from newsimg.sample.training.training_data import (
    Pictures,
    draw_edited_pictures,
    draw_web_pictures,
)

SEED = 7
N_PICTURES, LABEL_EPOCHS, PAIR_EPOCHS = 8_000, 13, 4
N_HEAD, N_CHECK = 2_000, 1_600  # pictures to fit the head on, and to evaluate on
HEAD_POOR_SHARE = 0.5
RIDGE = 1e-4
WEIGHTS = np.arange(0, 0.51, 0.05, dtype=np.float32)


def main() -> None:
    """Train, save and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--pictures", type=int, default=N_PICTURES)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    pictures = draw_web_pictures(arguments.pictures, SEED, WEB_POOR_SHARE)
    tokenizer = train_tokenizer(pictures.alt_texts(0) + pictures.headlines(0))
    model = build_model(len(tokenizer))
    fit_pictures(model, pictures, LABEL_EPOCHS, SEED)
    fit_pairs(model, tokenizer, pictures, PAIR_EPOCHS, SEED)
    model = model.half().float()  # fit the head and evaluate with the saved precision
    weight, bias = make_head(model)
    save(arguments.out, model, tokenizer, weight, bias)
    print_figures(model, tokenizer, weight, bias)
    print(f"took {time.perf_counter() - start:.0f} s")


def quality_of(pictures: Pictures) -> FloatArray:
    """Return the true quality of each picture, 0 to 10."""
    return np.array([10 * (1 - s.severity) for s in pictures.scenes], dtype=np.float32)


def make_head(model: CLIPModel) -> tuple[FloatArray, float]:
    """Fit the head on other training scenes with a larger share of poor pictures."""
    pictures = draw_web_pictures(N_HEAD, SEED + 1, HEAD_POOR_SHARE)
    return fit_head(embed_pictures(model, pictures.pixels), quality_of(pictures), RIDGE)


def save(
    out: Path, model: CLIPModel, tokenizer: PreTrainedTokenizerFast, weight: FloatArray, bias: float
) -> None:
    """Write clip/ (float16) and aesthetics/head.safetensors (float32)."""
    (out / "aesthetics").mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out / "clip")
    model.float()
    tokenizer.save_pretrained(out / "clip")
    build_processor().save_pretrained(out / "clip")
    tensors = {"weight": weight[None], "bias": np.array([bias], dtype=np.float32)}
    save_file(tensors, out / "aesthetics" / "head.safetensors")


def print_figures(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, weight: FloatArray, bias: float
) -> None:
    """Print Hits@1 on other training scenes, selected as in the newsroom, in pools of 400."""
    pictures = draw_edited_pictures(N_CHECK, SEED + 2)
    images = embed_pictures(model, pictures.pixels)
    scores = images @ weight + np.float32(bias)
    correlation = np.corrcoef(scores, quality_of(pictures))[0, 1]
    print(f"head: correlation with quality {correlation:.3f}")
    print(f"head: mean {scores.mean():.2f}, standard deviation {scores.std():.2f}")
    headlines = embed_texts(model, tokenizer, pictures.headlines(0))
    captions = embed_texts(model, tokenizer, pictures.literal_captions())
    pools = [slice(i, i + 400) for i in range(0, N_CHECK, 400)]
    literal = np.mean([hits_at_1(captions[p], images[p]) for p in pools])
    print(f"hits_at_1 with literal captions {literal:.3f}")
    fused = [fused_hits_at_1(headlines[p], images[p], scores[p], WEIGHTS) for p in pools]
    for share, hits in zip(WEIGHTS, np.mean(fused, axis=0), strict=True):
        print(f"hits_at_1 with headlines, head weight {share:.2f}: {hits:.3f}")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable_progress_bar()
    main()
