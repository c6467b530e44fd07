"""All questions about a picture in one sequence, none of which sees another."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from newsimg.sample.training.vlm_parts import (
    FIT_QUESTION,
    IMAGE_TOKEN,
    MERGE_SIZE,
    PATCH_SIZE,
    PICTURE_SIZE,
    QUESTIONS,
)

N_ROWS, N_COLUMNS = (size // PATCH_SIZE // MERGE_SIZE for size in reversed(PICTURE_SIZE))
PREFIX, PADDING = 0, -1  # segments: the picture's prompt, which all others see; and nothing


@dataclass(frozen=True)
class Pack:
    """A batch of packed prompts.

    Attributes:
        tokens: (n_pictures, n_tokens).
        positions: (3, n_pictures, n_tokens), each question's as if it stood alone.
        mask: (n_pictures, 1, n_tokens, n_tokens), True where a token sees another.
        ends: (n_pictures, n_questions), where each answer is read.
        picture_start: Place of the picture's first token.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor
    picture_start: int


def pack_questions(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    titles: list[list[str]],
) -> Pack:
    """Pack the questions of `QUESTIONS` and one about each headline, for each picture.

    Args:
        model: Knows the positions of a picture's tokens.
        tokenizer: Its tokenizer.
        titles: For each picture the same number of headlines.
    """
    prompts = [write_prompt(tokenizer, question) for question in QUESTIONS.values()]
    prompts += [write_prompt(tokenizer, f"{FIT_QUESTION} {t}") for own in titles for t in own]
    rows = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    start = rows[0].index(image := tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    prefix = rows[0][:start] + [image] * N_ROWS * N_COLUMNS
    tails = [row[start + 1 :] for row in rows]
    shared = tails[len(QUESTIONS)][:2]  # end of the picture, and the fit question as one token
    places, after = place_prefix(model, prefix)
    n_titles = len(titles[0])
    packed = []
    for i in range(len(titles)):
        first = len(QUESTIONS) + i * n_titles
        own = [tail[len(shared) :] for tail in tails[first : first + n_titles]]
        packed.append([prefix, *tails[: len(QUESTIONS)], shared, *own])
    lengths = torch.tensor([[len(part) for part in parts] for parts in packed])
    longest = int(lengths.sum(dim=1).max())
    tokens = torch.full((len(packed), longest), tokenizer.pad_token_id)
    segments = torch.full_like(tokens, PADDING)
    positions = torch.zeros(3, *tokens.shape, dtype=torch.long)
    for i, parts in enumerate(packed):
        n_tokens = int(lengths[i].sum())
        tokens[i, :n_tokens] = torch.tensor([token for part in parts for token in part])
        segments[i, :n_tokens] = torch.arange(len(parts)).repeat_interleave(lengths[i])
        begins = [after + len(shared) * (k > len(QUESTIONS) + 1) for k in range(1, len(parts))]
        line = [b + j for b, part in zip(begins, parts[1:], strict=True) for j in range(len(part))]
        positions[:, i, : len(prefix)] = places
        positions[:, i, len(prefix) : n_tokens] = torch.tensor(line)
    ends = lengths.cumsum(dim=1) - 1
    asked = [*range(1, len(QUESTIONS) + 1), *range(len(QUESTIONS) + 2, lengths.shape[1])]
    mask = see_each_other(segments, shared=len(QUESTIONS) + 1)
    return Pack(tokens, positions, mask, ends[:, asked], start)


def see_each_other(segments: Tensor, shared: int) -> Tensor:
    """Which token sees which: earlier ones of its own segment, the prefix, and what it shares."""
    looking, seen = segments[:, :, None], segments[:, None, :]
    is_earlier = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    is_seen = (seen == PREFIX) | (seen == looking) | ((seen == shared) & (looking > shared))
    return (is_earlier & is_seen)[:, None]


def write_prompt(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """A prompt as a run writes it: one user turn, the picture before the question."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return prompt


def place_prefix(model: Qwen2VLForConditionalGeneration, prefix: list[int]) -> tuple[Tensor, int]:
    """Positions (3, n_tokens) of the picture's prompt, and where the text after it goes on."""
    tokens = torch.tensor([prefix])
    grid = torch.tensor([[1, N_ROWS * MERGE_SIZE, N_COLUMNS * MERGE_SIZE]])
    kinds = (tokens == model.config.image_token_id).int()
    places, offset = model.model.get_rope_index(tokens, kinds, image_grid_thw=grid)
    return places[:, 0], len(prefix) + int(offset)
