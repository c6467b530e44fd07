"""Train the CLIP in two steps: the vision tower on labels, then text and projections on pairs."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPModel, PreTrainedTokenizerFast

from newsimg.sample.scenes import COLOURS, DEFECTS, TIMES, VIEWS, WEATHERS, Scene
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.training.training_data import Pictures

FloatArray = NDArray[np.float32]
LABEL_BATCH, PAIR_BATCH = 64, 256
LABEL_RATE, PAIR_RATE = 1e-3, 1.5e-3
WARM_UP = 0.15  # share of warm-up steps
HEADLINE_WEIGHT = 0.5  # of headlines in the contrastive loss; the rest is that of alt texts

LABELS: dict[str, tuple[object, ...]] = {
    "subject": tuple(SUBJECTS),
    "count": (1, 2, 3, 4),
    "colour": COLOURS,
    "time": TIMES,
    "weather": WEATHERS,
    "view": VIEWS,
    "defect": ("none", *DEFECTS),
}


def fit_pictures(model: CLIPModel, pictures: Pictures, n_epochs: int, seed: int) -> None:
    """Train the vision tower in place to classify the factors of a picture.

    With a contrastive loss, training from random weights takes ten times as long; locked-image
    tuning likewise starts from an image classifier.

    Args:
        model: A CLIP with random weights.
        pictures: Training pictures.
        n_epochs: Number of epochs.
        seed: Seed of the order of pictures.
    """
    sizes = [len(values) for values in LABELS.values()]
    head = nn.Linear(model.config.vision_config.hidden_size, sum(sizes))
    labels = torch.tensor([_label(scene) for scene in pictures.scenes])
    parameters = [*model.vision_model.parameters(), *head.parameters()]
    optimizer, scheduler = make_optimizer(
        parameters, LABEL_RATE, n_epochs * (len(labels) // LABEL_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        for rows in draw_batches(len(labels), LABEL_BATCH, seed + epoch):
            logits = head(_encode_pixels(model, pictures.pixels[rows])).split(sizes, dim=1)
            loss = sum(cross_entropy(part, labels[rows, i]) for i, part in enumerate(logits))
            assert isinstance(loss, Tensor)
            take_step(loss, parameters, optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("labels", epoch, n_epochs, losses, start)


def fit_pairs(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Pictures,
    n_epochs: int,
    seed: int,
) -> None:
    """Train text tower and projections in place on (picture, alt text) and (picture, headline).

    The vision tower is frozen, so that every picture is encoded only once.

    Args:
        model: A CLIP with a trained vision tower.
        tokenizer: Its tokenizer.
        pictures: Training pictures; their texts are generated for every epoch.
        n_epochs: Number of epochs.
        seed: Seed of the order of pictures and of the texts.
    """
    with torch.inference_mode():
        chunks = [
            _encode_pixels(model, pictures.pixels[i : i + 200])
            for i in range(0, len(pictures.pixels), 200)
        ]
    features = torch.cat(chunks).clone()
    parts = (model.text_model, model.text_projection, model.visual_projection)
    parameters = [model.logit_scale, *(p for part in parts for p in part.parameters())]
    optimizer, scheduler = make_optimizer(
        parameters, PAIR_RATE, n_epochs * (len(features) // PAIR_BATCH), WARM_UP
    )
    for epoch in range(n_epochs):
        start, losses = time.perf_counter(), []
        kinds = pictures.alt_texts(seed + epoch), pictures.headlines(seed + epoch)
        for rows in draw_batches(len(features), PAIR_BATCH, seed + epoch):
            images = normalize(model.visual_projection(features[rows]), dim=-1)
            texts = [_encode_texts(model, tokenizer, [kind[i] for i in rows]) for kind in kinds]
            scale = model.logit_scale.exp().clamp(max=100)
            alt, headline = (_contrastive_loss(scale * text @ images.T) for text in texts)
            loss = alt * (1 - HEADLINE_WEIGHT) + headline * HEADLINE_WEIGHT
            take_step(loss, parameters, optimizer, scheduler)
            losses.append(loss.item())
        report_epoch("pairs", epoch, n_epochs, losses, start)


def embed_pictures(model: CLIPModel, pixels: NDArray[np.uint8]) -> FloatArray:
    """Return unit embeddings of pictures, (n_pictures, dim) float32."""
    with torch.inference_mode():
        chunks = [_encode_pixels(model, pixels[i : i + 200]) for i in range(0, len(pixels), 200)]
        return normalize(model.visual_projection(torch.cat(chunks)), dim=-1).numpy()


def embed_texts(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> FloatArray:
    """Return unit embeddings of texts, (n_texts, dim) float32."""
    with torch.inference_mode():
        chunks = [
            _encode_texts(model, tokenizer, texts[i : i + 200]) for i in range(0, len(texts), 200)
        ]
    return torch.cat(chunks).numpy()


def _label(scene: Scene) -> list[int]:
    found = {name: getattr(scene, name) for name in LABELS if name != "defect"}
    found["defect"] = scene.worst_defect if scene.is_poor else "none"
    return [values.index(found[name]) for name, values in LABELS.items()]


def _encode_pixels(model: CLIPModel, pixels: NDArray[np.uint8]) -> Tensor:
    scaled = torch.from_numpy(pixels).float() / 127.5 - 1
    pooled: Tensor = model.vision_model(pixel_values=scaled).pooler_output
    return pooled


def _encode_texts(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    output = model.get_text_features(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    )
    return normalize(output.pooler_output, dim=-1)


def _contrastive_loss(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def draw_batches(n: int, size: int, seed: int) -> Iterable[NDArray[np.int64]]:
    """Yield batches of `size` rows in random order; an incomplete batch is dropped."""
    order = np.random.default_rng([7, seed]).permutation(n)
    return (order[first : first + size] for first in range(0, n - size + 1, size))


def make_optimizer(
    parameters: list[nn.Parameter], rate: float, n_steps: int, warm_up: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and a one-cycle schedule with the share `warm_up` of increasing rates."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=n_steps, pct_start=warm_up
    )


def take_step(
    loss: Tensor,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Take an optimiser step with the gradient norm clipped to 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    scheduler.step()


def report_epoch(step: str, epoch: int, n_epochs: int, losses: list[float], start: float) -> None:
    """Print the mean loss and the duration of an epoch."""
    seconds = time.perf_counter() - start
    print(f"{step} {epoch + 1}/{n_epochs}: loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)
