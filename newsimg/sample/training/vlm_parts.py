"""Tokenizer, model and image processor of the sample's small VLM, and packing of prompts."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from newsimg.sample.training.chat_parts import SPECIAL_TOKENS, train_chat_tokenizer

VOCABULARY_SIZE = 1400
PICTURE_SIZE = (196, 112)  # size to which a picture of 460 x 260 is resized
MIN_PIXELS, MAX_PIXELS = 56 * 56, 22_500
PATCH_SIZE, MERGE_SIZE = 14, 2  # as in Qwen2-VL: 14 x 8 patches become 7 x 4 tokens
IMAGE_TOKEN = "<|image_pad|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN, "<|video_pad|>")
WIDTH = 128

ENDING = "Answer with one digit from 1 to 5."
QUESTIONS = {
    "quality": "Rate the technical quality of this picture: sharpness, light and composition. "
    f"1 means very poor, 5 means excellent. {ENDING}",
    "trustworthiness": "Rate how trustworthy this picture looks as an unaltered photograph of "
    f"something real. 1 means not trustworthy at all, 5 means fully trustworthy. {ENDING}",
    "no_clickbait": "Rate how free this picture is of clickbait such as shock, sensation and "
    f"exaggeration. 1 means pure clickbait, 5 means none at all. {ENDING}",
}
FIT_QUESTION = (
    "Rate how well this picture fits the news headline. 1 means not at all, 5 means perfectly. "
    f"{ENDING}\nHeadline:"
)


def build_tokenizer(titles: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on headlines; each fixed question is a single token."""
    digits = " ".join("12345")
    texts = [*titles, *[f"user\nassistant\n{digits}"] * 100]
    special = (*SPECIAL_TOKENS, *VISION_TOKENS)
    phrases = [*QUESTIONS.values(), FIT_QUESTION]
    return train_chat_tokenizer(texts, VOCABULARY_SIZE, special, phrases)


def build_vlm(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """Return a Qwen2-VL of under two million parameters with random weights."""
    vision_start, vision_end, image, video = tokenizer.convert_tokens_to_ids(list(VISION_TOKENS))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
    }
    vision = {
        "depth": 3,
        "embed_dim": 96,
        "hidden_size": WIDTH,
        "num_heads": 4,
        "mlp_ratio": 3,
        "hidden_act": "relu",  # the fastest on a CPU
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": 1,  # no videos
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=vision_start,
        vision_end_token_id=vision_end,
        tie_word_embeddings=True,
    )
    return Qwen2VLForConditionalGeneration(config)


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """Return an image processor that resizes to about `MAX_PIXELS` with the aspect ratio kept."""
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
        patch_size=PATCH_SIZE,
        merge_size=MERGE_SIZE,
        temporal_patch_size=1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


N_ROWS, N_COLUMNS = (size // PATCH_SIZE // MERGE_SIZE for size in reversed(PICTURE_SIZE))
PREFIX, PADDING = (
    0,
    -1,
)  # segment ids of the picture's prompt, visible to all tokens, and of padding


@dataclass(frozen=True)
class Pack:
    """A batch of packed prompts.

    Attributes:
        tokens: (n_pictures, n_tokens).
        positions: (3, n_pictures, n_tokens), those of each question in a separate prompt.
        mask: (n_pictures, 1, n_tokens, n_tokens), True where a token attends to another.
        ends: (n_pictures, n_questions), position of the last token of each question.
        picture_start: Position of the picture's first token.
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
        model: The model, which computes positions.
        tokenizer: Its tokenizer.
        titles: Headlines of each picture, the same number for all.
    """
    prompts = [write_prompt(tokenizer, question) for question in QUESTIONS.values()]
    prompts += [write_prompt(tokenizer, f"{FIT_QUESTION} {t}") for own in titles for t in own]
    rows = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    start = rows[0].index(image := tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    prefix = rows[0][:start] + [image] * N_ROWS * N_COLUMNS
    tails = [row[start + 1 :] for row in rows]
    shared = tails[len(QUESTIONS)][:2]  # end of the picture, and the fit question as one token
    places, after = locate_prefix(model, prefix)
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
    answered = [*range(1, len(QUESTIONS) + 1), *range(len(QUESTIONS) + 2, lengths.shape[1])]
    mask = make_attention_mask(segments, shared=len(QUESTIONS) + 1)
    return Pack(tokens, positions, mask, ends[:, answered], start)


def make_attention_mask(segments: Tensor, shared: int) -> Tensor:
    """Return the mask: tokens attend to earlier ones of their segment, prefix and shared part."""
    queries, keys = segments[:, :, None], segments[:, None, :]
    is_earlier = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    is_visible = (keys == PREFIX) | (keys == queries) | ((keys == shared) & (queries > shared))
    return (is_earlier & is_visible)[:, None]


def write_prompt(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """Return the prompt of a run: one user message with the picture before the question."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return prompt


def locate_prefix(model: Qwen2VLForConditionalGeneration, prefix: list[int]) -> tuple[Tensor, int]:
    """Return the positions (3, n_tokens) of the picture's prompt, and that of the next token."""
    tokens = torch.tensor([prefix])
    grid = torch.tensor([[1, N_ROWS * MERGE_SIZE, N_COLUMNS * MERGE_SIZE]])
    kinds = (tokens == model.config.image_token_id).int()
    places, offset = model.model.get_rope_index(tokens, kinds, image_grid_thw=grid)
    return places[:, 0], len(prefix) + int(offset)
