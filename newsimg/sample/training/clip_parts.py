"""Tokenizer, model and image processor of the sample's small CLIP."""

from collections.abc import Iterable

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
)

IMAGE_SIZE, PATCH_SIZE = 96, 12
MAX_TOKENS = 64
VOCABULARY_SIZE = 1200
# CLIPTextModel pools at the first end token, except that id 2 selects an older rule (the largest
# id): the end token must therefore not have id 2.
SPECIAL_TOKENS = ("<pad>", "<start>", "<unused>", "<end>")
PAD_ID, START_ID, END_ID = 0, 1, 3


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which can encode any Unicode text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START_ID), ("<end>", END_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<pad>",
        model_max_length=MAX_TOKENS,
    )


def build_model(vocabulary_size: int) -> CLIPModel:
    """Return a CLIP of 1.3 million random parameters (ReLU is the fastest on a CPU)."""
    tower = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "hidden_act": "relu",
    }
    ids = {"pad_token_id": PAD_ID, "bos_token_id": START_ID, "eos_token_id": END_ID}
    vision = {"num_hidden_layers": 3, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
    text = {
        "num_hidden_layers": 2,
        "vocab_size": vocabulary_size,
        "max_position_embeddings": MAX_TOKENS,
    }
    config = CLIPConfig(
        text_config={**tower, **text, **ids}, vision_config={**tower, **vision}, projection_dim=128
    )
    model = CLIPModel(config)
    _init_positions(model)
    return model


def _init_positions(model: CLIPModel) -> None:
    """Initialise the position embeddings with 2D sinusoids, which saves the first epochs."""
    positions = model.vision_model.embeddings.position_embedding.weight
    side, width = IMAGE_SIZE // PATCH_SIZE, positions.shape[1] // 4
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = 10_000 ** (-torch.arange(width) / width)
    angles = [place.flatten()[:, None] * waves for place in (y, x)]
    with torch.no_grad():
        positions[1:] = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1) * 0.1


def build_processor() -> CLIPImageProcessorPil:
    """Return an image processor that resizes to a square without cropping the edges."""
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessorPil(
        size=size,
        do_center_crop=False,
        resample=2,  # bilinear
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
