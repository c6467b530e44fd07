"""Train the sample's VLM: python -m newsimg.sample.training.train_vlm --out FOLDER."""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import linear
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration
from transformers.utils import logging

from newsimg.sample.headlines import write_story
from newsimg.sample.scenes import Scene
from newsimg.sample.training.vlm_examples import (
    COLUMN_SHARE,
    Match,
    draw_small_pictures,
    grade_picture,
    write_matches,
)
from newsimg.sample.training.vlm_fitting import (
    encode_pictures,
    fit_grades,
    fit_pictures,
    fit_words,
    read_answers,
)
from newsimg.sample.training.vlm_parts import (
    QUESTIONS,
    build_image_processor,
    build_tokenizer,
    build_vlm,
    pack_questions,
)

SEED = 41
N_PICTURES, N_LABEL_EPOCHS, N_WORD_EPOCHS, N_GRADE_EPOCHS = 8_000, 14, 12, 4
N_CHECK, CHECK_POOR_SHARE = 800, 0.45


def main() -> None:
    """Train, save and evaluate on other scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "vlm")
    parser.add_argument("--pictures", type=int, default=N_PICTURES)
    parser.add_argument("--label-epochs", type=int, default=N_LABEL_EPOCHS)
    parser.add_argument("--grade-epochs", type=int, default=N_GRADE_EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    scenes, pictures = draw_small_pictures(arguments.pictures, SEED)
    print(f"{len(scenes)} pictures after {time.perf_counter() - start:.0f} s", flush=True)
    rng = np.random.default_rng([10, SEED])
    columns = rng.random(len(scenes)) < COLUMN_SHARE
    stories = [write_story(s, rng, bool(c)) for s, c in zip(scenes, columns, strict=True)]
    tokenizer = build_tokenizer(story.title for story in stories)
    model = build_vlm(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    fit_pictures(model, scenes, pictures, arguments.label_epochs, SEED)
    features = encode_all(model, pictures)
    fit_words(model, tokenizer, features, [story.title for story in stories], N_WORD_EPOCHS, SEED)
    fit_grades(
        model, tokenizer, scenes, features, draw_epochs(scenes), arguments.grade_epochs, SEED
    )
    save(model, tokenizer, arguments.out)
    print(f"trained after {time.perf_counter() - start:.0f} s", flush=True)
    check_scenes, check_pictures = draw_small_pictures(N_CHECK, SEED + 1, CHECK_POOR_SHARE)
    print_figures(model.half().float(), tokenizer, check_scenes, check_pictures)


def encode_all(model: Qwen2VLForConditionalGeneration, pictures: NDArray[np.uint8]) -> Tensor:
    """Return the features of all pictures, (n, n_tokens, width)."""
    with torch.no_grad():
        return torch.cat(
            [encode_pictures(model, pictures[i : i + 100]) for i in range(0, len(pictures), 100)]
        )


def draw_epochs(scenes: list[Scene], seed: int = SEED) -> Iterator[list[list[Match]]]:
    """Yield new graded headlines of each picture for every epoch, infinitely."""
    rng = np.random.default_rng([11, seed])
    while True:
        others = rng.integers(len(scenes), size=(len(scenes), 2))
        yield [
            write_matches(scene, (scenes[first], scenes[second]), rng)
            for scene, (first, second) in zip(scenes, others, strict=True)
        ]


def save(
    model: Qwen2VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path
) -> None:
    """Save the model (float16), tokenizer and image processor."""
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.half().save_pretrained(out)
    model.float()
    tokenizer.save_pretrained(out)
    build_image_processor().save_pretrained(out)


def print_figures(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    scenes: list[Scene],
    pictures: NDArray[np.uint8],
) -> None:
    """Print the rank correlations of expected grades with the true ones."""
    matches = next(draw_epochs(scenes, SEED + 1))
    expected = rate(model, tokenizer, encode_all(model, pictures), matches)
    for i, name in enumerate(QUESTIONS):
        true = np.array([grade_picture(scene)[name] for scene in scenes])
        flawed, clean = np.flatnonzero(true < 5), np.flatnonzero(true == 5)
        half = np.concatenate([flawed, clean[: len(flawed)]])
        balanced = correlate(expected[half, i], true[half])
        print(f"{name}: {correlate(expected[:, i], true):.3f}, balanced {balanced:.3f}")
    fit, true = expected[:, len(QUESTIONS) :], np.array([[m.grade for m in ms] for ms in matches])
    same = true > 1
    within = correlate(fit[same], true[same])
    print(f"fit: {correlate(fit.ravel(), true.ravel()):.3f}, within a subject {within:.3f}")


def rate(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    features: Tensor,
    matches: list[list[Match]],
) -> NDArray[np.float64]:
    """Return the expected grades, (n_pictures, n_questions), those of headlines last."""
    model.eval()
    digits = torch.tensor(tokenizer.convert_tokens_to_ids(list("12345")))
    found = []
    with torch.no_grad():
        for i in range(0, len(features), 50):
            titles = [[match.title for match in own] for own in matches[i : i + 50]]
            answers = read_answers(
                model, pack_questions(model, tokenizer, titles), features[i : i + 50]
            )
            shares = linear(answers, model.lm_head.weight)[..., digits].softmax(-1)
            found.append(shares @ torch.arange(1.0, 6.0))
    return torch.cat(found).double().numpy()


def correlate(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(found, true).statistic)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable_progress_bar()
    main()
