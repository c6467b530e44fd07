"""Fit the CLIP contrastively, and the aesthetics head by ridge regression."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPModel, PreTrainedTokenizerFast

from newsimg.sample.training_data import Pictures

FloatArray = NDArray[np.float32]
BATCH_SIZE = 128
LEARNING_RATE = 1.5e-3
HEADLINE_WEIGHT = 0.5  # the web has more captions than headlines


def fit_clip(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Pictures,
    n_epochs: int,
    seed: int,
) -> None:
    """Train the model in place on (picture, alt text) and (picture, headline) pairs.

    Args:
        model: A CLIP with random weights.
        tokenizer: Its tokenizer.
        pictures: What to learn from; every epoch words the texts anew.
        n_epochs: Passes over the pictures.
        seed: Seed of the order of pictures and of the texts.
    """
    n_steps = n_epochs * (len(pictures.scenes) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.1
    )
    model.train()
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        texts = pictures.alt_texts(seed + epoch), pictures.headlines(seed + epoch)
        order = np.random.default_rng([7, seed, epoch]).permutation(len(pictures.scenes))
        for first in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            loss = _contrast(model, tokenizer, pictures.pixels[rows], [[t[i] for i in rows] for t in texts])  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{n_epochs}: loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)


def _contrast(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    pixels: NDArray[np.uint8],
    texts: Sequence[list[str]],
) -> Tensor:
    """The symmetric contrastive loss of each kind of text against the same pictures."""
    images = _embed_pixels(model, pixels)
    both = _embed_tokens(model, tokenizer, [text for kind in texts for text in kind])
    scale = model.logit_scale.exp().clamp(max=100)
    target = torch.arange(len(images))
    losses = []
    for embeddings in both.split(len(images)):
        logits = scale * embeddings @ images.T
        losses.append((cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2)
    return losses[0] * (1 - HEADLINE_WEIGHT) + losses[1] * HEADLINE_WEIGHT


def embed_pictures(model: CLIPModel, pixels: NDArray[np.uint8]) -> FloatArray:
    """Unit embeddings of pictures, (n_pictures, dim) float32."""
    model.eval()
    with torch.inference_mode():
        parts = [_embed_pixels(model, pixels[i : i + 200]) for i in range(0, len(pixels), 200)]
    return torch.cat(parts).numpy()


def embed_texts(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> FloatArray:
    """Unit embeddings of texts, (n_texts, dim) float32."""
    model.eval()
    with torch.inference_mode():
        parts = [_embed_tokens(model, tokenizer, texts[i : i + 200]) for i in range(0, len(texts), 200)]
    return torch.cat(parts).numpy()


def _embed_pixels(model: CLIPModel, pixels: NDArray[np.uint8]) -> Tensor:
    scaled = torch.from_numpy(pixels).float() / 127.5 - 1
    return normalize(model.get_image_features(scaled).pooler_output, dim=-1)


def _embed_tokens(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    output = model.get_text_features(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    )
    return normalize(output.pooler_output, dim=-1)


def fit_head(embeddings: FloatArray, quality: FloatArray, ridge: float) -> tuple[FloatArray, float]:
    """Fit quality as a linear function of unit embeddings.

    Args:
        embeddings: (n_pictures, dim) unit rows.
        quality: (n_pictures,) target scores.
        ridge: Penalty on the squared weights, per picture.

    Returns:
        weight: (dim,) float32, and the bias.
    """
    mean, level = embeddings.mean(axis=0), float(quality.mean())
    centred = (embeddings - mean).astype(np.float64)
    gram = centred.T @ centred / len(centred) + ridge * np.eye(centred.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (quality - level) / len(centred)).astype(np.float32)
    return weight, level - float(weight @ mean)
