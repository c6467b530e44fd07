"""Train the sample's VLM: vision tower on labels, word embeddings on pairs, LM on grades."""

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
from newsimg.sample.training.fitting import draw_batches, make_optimizer, report_epoch, take_step
from newsimg.sample.training.vlm_examples import Match, grade_picture
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
WARM_UP = 0.1  # share of warm-up steps
LOGIT_SCALE = 20.0  # factor on cosines of words and pictures in the contrastive loss
LABELS: dict[str, tuple[object, ...]] = {
    "subject": tuple(SUBJECTS),
    "count": (1, 2, 3, 4),
    "colour": COLOURS,
    "time": TIMES,
    "weather": WEATHERS,
    "view": ("near", "far"),  # headlines never mention left and right
}
IGNORED = -100
N_VERDICTS = (6, 3)  # (subject and five factors; disagrees, agrees, unmentioned)
GRID = torch.tensor([[1, PICTURE_SIZE[1] // PATCH_SIZE, PICTURE_SIZE[0] // PATCH_SIZE]])


def fit_pictures(
    model: Qwen2VLForConditionalGeneration,
    scenes: list[Scene],
    pictures: NDArray[np.uint8],
    n_epochs: int,
    seed: int,
) -> None:
    """Train the vision tower in place to classify factors and defects.

    Args:
        model: A Qwen2-VL with random weights.
        scenes: Scenes of the pictures.
        pictures: (n, height, width, 3) uint8, resized.
        n_epochs: Number of epochs.
        seed: Seed of the order of pictures.
    """
    sizes = [len(values) for values in LABELS.values()]
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(sizes) + len(DEFECTS)))
    labels = torch.tensor([_label(scene) for scene in scenes])
    defects = torch.tensor([[getattr(scene, name) for name in DEFECTS] for scene in scenes])
    parameters = [*model.model.visual.parameters(), *head.parameters()]
    optimizer, scheduler = make_optimizer(
        parameters, LABEL_RATE, n_epochs * (len(labels) // LABEL_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        for rows in draw_batches(len(labels), LABEL_BATCH, seed + epoch):
            features = encode_pictures(model, pictures[rows]).mean(dim=1)
            *parts, severities = head(features).split([*sizes, len(DEFECTS)], dim=1)
            named = [
                cross_entropy(part, labels[rows, i], ignore_index=IGNORED)
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
    features: Tensor,
    titles: list[str],
    n_epochs: int,
    seed: int,
) -> None:
    """Align word embeddings in place with picture features, by a contrastive loss.

    A headline is represented by the mean of its word embeddings, a picture by the mean of its
    tokens. Dot-product attention can then match words and pictures from the start.

    Args:
        model: A Qwen2-VL with a trained vision tower.
        tokenizer: Its tokenizer.
        features: (n, n_tokens, width), `encode_pictures` of the pictures.
        titles: Headlines of the pictures.
        n_epochs: Number of epochs.
        seed: Seed of the order of pictures.
    """
    rows = tokenizer([f" {title}" for title in titles], add_special_tokens=False)["input_ids"]
    pictures = features.mean(dim=1)
    pictures = normalize(pictures - pictures.mean(dim=0), dim=1)
    embeddings = model.model.language_model.embed_tokens.weight
    optimizer, scheduler = make_optimizer(
        [embeddings], WORD_RATE, n_epochs * (len(features) // WORD_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        for batch in draw_batches(len(features), WORD_BATCH, seed + epoch):
            own = [torch.tensor(rows[i]) for i in batch]
            offsets = torch.tensor([0, *(len(row) for row in own[:-1])]).cumsum(0)
            words = normalize(embedding_bag(torch.cat(own), embeddings, offsets), dim=1)
            loss = cross_entropy(words @ pictures[batch].T * LOGIT_SCALE, torch.arange(len(batch)))
            take_step(loss, [embeddings], optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("words", epoch, n_epochs, losses, start)


def fit_grades(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    scenes: list[Scene],
    features: Tensor,
    epochs: Iterable[list[list[Match]]],
    n_epochs: int,
    seed: int,
) -> None:
    """Train the language model in place to grade, with a frozen vision tower.

    Args:
        model: A Qwen2-VL with a trained vision tower.
        tokenizer: Its tokenizer.
        scenes: Scenes of the pictures.
        features: (n, n_tokens, width), `encode_pictures` of the pictures.
        epochs: Graded headlines of each picture, for every epoch.
        n_epochs: Number of epochs.
        seed: Seed of the order of pictures.
    """
    judge = nn.Linear(WIDTH, N_VERDICTS[0] * N_VERDICTS[1])
    parameters = [*model.model.language_model.parameters(), *judge.parameters()]
    optimizer, scheduler = make_optimizer(
        parameters, GRADE_RATE, n_epochs * (len(features) // GRADE_BATCH), WARM_UP
    )
    digits = torch.tensor(tokenizer.convert_tokens_to_ids(list("12345")))
    model.train()
    for epoch, matches in zip(range(n_epochs), epochs, strict=False):
        start, losses = time.perf_counter(), []
        for rows in draw_batches(len(features), GRADE_BATCH, seed + epoch):
            own = [matches[i] for i in rows]
            pack = pack_questions(model, tokenizer, [[m.title for m in ms] for ms in own])
            answers = read_answers(model, pack, features[rows])  # (n, n_questions, width)
            grades = torch.tensor([
                [*grade_picture(scenes[i]).values(), *(m.grade for m in matches[i])] for i in rows
            ])  # fmt: skip
            logs = linear(answers, model.lm_head.weight).log_softmax(-1)[..., digits]
            loss = -(to_probabilities(grades) * logs).sum(-1).mean()
            verdicts = torch.tensor([[m.verdicts for m in ms] for ms in own])
            named = judge(answers[:, len(QUESTIONS) :]).view(*verdicts.shape, N_VERDICTS[1])
            extra = cross_entropy(named.flatten(0, 2), verdicts.flatten())
            take_step(loss + extra, parameters, optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("grades", epoch, n_epochs, losses, start)


def encode_pictures(model: Qwen2VLForConditionalGeneration, pictures: NDArray[np.uint8]) -> Tensor:
    """Return the features of a batch of pictures, (n, n_tokens, width).

    Equal to the model's forward pass, which loops over pictures to support different sizes.
    """
    tower = model.model.visual
    patches = cut_patches(pictures)
    n, n_patches, _ = patches.shape
    hidden = linear(patches, tower.patch_embed.proj.weight.flatten(1))
    positions = tower.rotary_pos_emb(hidden, locate_patches())
    for block in tower.blocks:
        queries, keys, values = (
            block.attn.qkv(block.norm1(hidden))
            .view(n, n_patches, 3, block.attn.num_heads, -1)
            .unbind(2)
        )
        queries, keys = apply_rotary_pos_emb_vision(queries, keys, *positions)
        mixed = scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (queries, keys, values))
        )
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(n, n_patches, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    merged: Tensor = tower.merger(hidden.flatten(0, 1))
    return merged.view(n, -1, WIDTH)


def cut_patches(pictures: NDArray[np.uint8]) -> Tensor:
    """Scale and split pictures like the image processor: (n, n_patches, 3 * PATCH_SIZE**2)."""
    n, height, width, _ = pictures.shape
    scaled = torch.from_numpy(pictures).float() / 127.5 - 1
    rows, columns = height // PATCH_SIZE // MERGE_SIZE, width // PATCH_SIZE // MERGE_SIZE
    cut = scaled.view(n, rows, MERGE_SIZE, PATCH_SIZE, columns, MERGE_SIZE, PATCH_SIZE, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(n, -1, 3 * PATCH_SIZE**2)


def locate_patches() -> Tensor:
    """Return row and column of each patch, in the order of `cut_patches`."""
    from transformers.models.qwen2_vl.modeling_qwen2_vl import get_vision_position_ids

    positions: Tensor = get_vision_position_ids(GRID, MERGE_SIZE, kwargs={})
    return positions


def read_answers(model: Qwen2VLForConditionalGeneration, pack: Pack, features: Tensor) -> Tensor:
    """Return the last hidden state of each question, (n, n_questions, width)."""
    language = model.model.language_model
    embedded = language.embed_tokens(pack.tokens)
    first = pack.picture_start
    embedded = torch.cat(
        [embedded[:, :first], features, embedded[:, first + features.shape[1] :]], dim=1
    )
    hidden = language(
        inputs_embeds=embedded, attention_mask=pack.mask, position_ids=pack.positions
    ).last_hidden_state
    return hidden[torch.arange(len(hidden))[:, None], pack.ends]


def to_probabilities(grades: Tensor) -> Tensor:
    """Return probabilities of the digits 1 to 5 whose expectation is the grade."""
    return (1 - (grades[..., None] - torch.arange(1.0, 6.0)).abs()).clamp(min=0)


def _label(scene: Scene) -> list[int]:
    return [
        values.index(getattr(scene, name)) if getattr(scene, name) in values else IGNORED
        for name, values in LABELS.items()
    ]
