"""Fit the judge: its picture tower on labels, words to pictures, the language side on grades."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    embedding_bag,
    linear,
    normalize,
    scaled_dot_product_attention,
)
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from newsimg.sample.scenes import COLOURS, DEFECTS, TIMES, WEATHERS, Scene
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.training.fitting import draw_batches, plan_steps, report_epoch, take_step
from newsimg.sample.training.vlm_lessons import Match, grade_picture
from newsimg.sample.training.vlm_parts import (
    MERGE_SIZE,
    PATCH_SIZE,
    PICTURE_SIZE,
    QUESTIONS,
    WIDTH,
    Pack,
    pack_questions,
)

LABEL_BATCH, WORD_BATCH, GRADE_BATCH = 32, 256, 16
LABEL_RATE, WORD_RATE, GRADE_RATE = 1e-3, 1e-2, 1.5e-3
WARM_UP = 0.1  # share of the steps in which the rate rises
SHARPNESS = 20.0  # what cosines of words and pictures are multiplied by
LABELS: dict[str, tuple[object, ...]] = {
    "subject": tuple(SUBJECTS),
    "count": (1, 2, 3, 4),
    "colour": COLOURS,
    "time": TIMES,
    "weather": WEATHERS,
    "view": ("near", "far"),  # left and right are never in the news
}
ASIDE = -100
N_VERDICTS = (6, 3)  # subject and five factors; disagrees, agrees, unsaid
GRID = torch.tensor([[1, PICTURE_SIZE[1] // PATCH_SIZE, PICTURE_SIZE[0] // PATCH_SIZE]])


def fit_pictures(
    model: Qwen2VLForConditionalGeneration,
    scenes: list[Scene],
    pictures: NDArray[np.uint8],
    n_epochs: int,
    seed: int,
) -> None:
    """Train the picture tower in place to name factors and defects, which it learns fast.

    Args:
        model: A Qwen2-VL with random weights.
        scenes: What the pictures show.
        pictures: (n, height, width, 3) uint8, resized.
        n_epochs: Passes over the pictures.
        seed: Seed of their order.
    """
    sizes = [len(values) for values in LABELS.values()]
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(sizes) + len(DEFECTS)))
    labels = torch.tensor([_label(scene) for scene in scenes])
    defects = torch.tensor([[getattr(scene, name) for name in DEFECTS] for scene in scenes])
    parameters = [*model.model.visual.parameters(), *head.parameters()]
    optimizer, scheduler = plan_steps(
        parameters, LABEL_RATE, n_epochs * (len(labels) // LABEL_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        for rows in draw_batches(len(labels), LABEL_BATCH, seed + epoch):
            seen = see(model, pictures[rows]).mean(dim=1)
            *parts, severities = head(seen).split([*sizes, len(DEFECTS)], dim=1)
            named = [
                cross_entropy(part, labels[rows, i], ignore_index=ASIDE)
                for i, part in enumerate(parts)
            ]
            graded = binary_cross_entropy_with_logits(severities, defects[rows])
            loss = torch.stack(named).sum() + 5 * graded
            take_step(loss, parameters, optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("labels", epoch, n_epochs, losses, start)


def fit_words(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seen: Tensor,
    titles: list[str],
    n_epochs: int,
    seed: int,
) -> None:
    """Move words in place to where the pictures lie that they come with, contrastively.

    A headline is the mean of its words and a picture the mean of its tokens. Attention, which
    compares by products, then finds what a headline names, instead of having to learn that first.

    Args:
        model: A Qwen2-VL with a trained picture tower.
        tokenizer: Its tokenizer.
        seen: (n, n_tokens, width), `see` of the pictures.
        titles: The pictures' own headlines.
        n_epochs: Passes over the pictures.
        seed: Seed of their order.
    """
    rows = tokenizer([f" {title}" for title in titles], add_special_tokens=False)["input_ids"]
    pictures = seen.mean(dim=1)
    pictures = normalize(pictures - pictures.mean(dim=0), dim=1)
    embeddings = model.model.language_model.embed_tokens.weight
    optimizer, scheduler = plan_steps(
        [embeddings], WORD_RATE, n_epochs * (len(seen) // WORD_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        for batch in draw_batches(len(seen), WORD_BATCH, seed + epoch):
            own = [torch.tensor(rows[i]) for i in batch]
            offsets = torch.tensor([0, *(len(row) for row in own[:-1])]).cumsum(0)
            words = normalize(embedding_bag(torch.cat(own), embeddings, offsets), dim=1)
            loss = cross_entropy(words @ pictures[batch].T * SHARPNESS, torch.arange(len(batch)))
            take_step(loss, [embeddings], optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("words", epoch, n_epochs, losses, start)


def fit_grades(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    scenes: list[Scene],
    seen: Tensor,
    epochs: Iterable[list[list[Match]]],
    n_epochs: int,
    seed: int,
) -> None:
    """Train the language side in place to answer; the picture tower is locked.

    Args:
        model: A Qwen2-VL with a trained picture tower.
        tokenizer: Its tokenizer.
        scenes: What the pictures show.
        seen: (n, n_tokens, width), `see` of the pictures.
        epochs: For each epoch, headlines held against each picture.
        n_epochs: How many of them.
        seed: Seed of the pictures' order.
    """
    judge = nn.Linear(WIDTH, N_VERDICTS[0] * N_VERDICTS[1])
    parameters = [*model.model.language_model.parameters(), *judge.parameters()]
    optimizer, scheduler = plan_steps(
        parameters, GRADE_RATE, n_epochs * (len(seen) // GRADE_BATCH), WARM_UP
    )
    digits = torch.tensor(tokenizer.convert_tokens_to_ids(list("12345")))
    model.train()
    for epoch, matches in zip(range(n_epochs), epochs, strict=False):
        start, losses = time.perf_counter(), []
        for rows in draw_batches(len(seen), GRADE_BATCH, seed + epoch):
            own = [matches[i] for i in rows]
            pack = pack_questions(model, tokenizer, [[m.title for m in ms] for ms in own])
            answers = read_answers(model, pack, seen[rows])  # (n, n_questions, width)
            grades = torch.tensor([
                [*grade_picture(scenes[i]).values(), *(m.grade for m in matches[i])] for i in rows
            ])  # fmt: skip
            logs = linear(answers, model.lm_head.weight).log_softmax(-1)[..., digits]
            loss = -(spread(grades) * logs).sum(-1).mean()
            verdicts = torch.tensor([[m.verdicts for m in ms] for ms in own])
            named = judge(answers[:, len(QUESTIONS) :]).view(*verdicts.shape, N_VERDICTS[1])
            extra = cross_entropy(named.flatten(0, 2), verdicts.flatten())
            take_step(loss + extra, parameters, optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("grades", epoch, n_epochs, losses, start)


def see(model: Qwen2VLForConditionalGeneration, pictures: NDArray[np.uint8]) -> Tensor:
    """What the picture tower makes of a batch: (n, n_tokens, width).

    The same as the model's own forward, which loops over pictures because theirs differ in size.
    """
    tower = model.model.visual
    patches = cut_patches(pictures)
    n, n_patches, _ = patches.shape
    hidden = linear(patches, tower.patch_embed.proj.weight.flatten(1))
    places = tower.rotary_pos_emb(hidden, place_patches())
    for block in tower.blocks:
        queries, keys, values = (
            block.attn.qkv(block.norm1(hidden))
            .view(n, n_patches, 3, block.attn.num_heads, -1)
            .unbind(2)
        )
        queries, keys = apply_rotary_pos_emb_vision(queries, keys, *places)
        mixed = scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (queries, keys, values))
        )
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(n, n_patches, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    merged: Tensor = tower.merger(hidden.flatten(0, 1))
    return merged.view(n, -1, WIDTH)


def cut_patches(pictures: NDArray[np.uint8]) -> Tensor:
    """Scale and cut as the image processor does: (n, n_patches, 3 * PATCH_SIZE**2)."""
    n, height, width, _ = pictures.shape
    scaled = torch.from_numpy(pictures).float() / 127.5 - 1
    rows, columns = height // PATCH_SIZE // MERGE_SIZE, width // PATCH_SIZE // MERGE_SIZE
    cut = scaled.view(n, rows, MERGE_SIZE, PATCH_SIZE, columns, MERGE_SIZE, PATCH_SIZE, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(n, -1, 3 * PATCH_SIZE**2)


def place_patches() -> Tensor:
    """Row and column of each patch, in the order of `cut_patches`: the tower's positions."""
    from transformers.models.qwen2_vl.modeling_qwen2_vl import get_vision_position_ids

    places: Tensor = get_vision_position_ids(GRID, MERGE_SIZE, kwargs={})
    return places


def read_answers(model: Qwen2VLForConditionalGeneration, pack: Pack, seen: Tensor) -> Tensor:
    """The hidden states that the answers are read from: (n, n_questions, width)."""
    language = model.model.language_model
    embedded = language.embed_tokens(pack.tokens)
    first = pack.picture_start
    embedded = torch.cat([embedded[:, :first], seen, embedded[:, first + seen.shape[1] :]], dim=1)
    hidden = language(
        inputs_embeds=embedded, attention_mask=pack.mask, position_ids=pack.positions
    ).last_hidden_state
    return hidden[torch.arange(len(hidden))[:, None], pack.ends]


def spread(grades: Tensor) -> Tensor:
    """Grades as probabilities of the digits 1 to 5 whose expectation they are."""
    return (1 - (grades[..., None] - torch.arange(1.0, 6.0)).abs()).clamp(min=0)


def _label(scene: Scene) -> list[int]:
    return [
        values.index(getattr(scene, name)) if getattr(scene, name) in values else ASIDE
        for name, values in LABELS.items()
    ]
