"""Aesthetic quality of a picture, predicted by a linear head on CLIP embeddings."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, FusedArray, Query, RerankScores
from newsimg.interfaces import Backbone, Reranker
from newsimg.storage.files import fetch_file


class AestheticsReranker(Reranker):
    """Scores a picture by an aesthetic predictor: a linear head on its unit embedding.

    The heads were trained on human ratings from 1 to 10; predictions may exceed that range
    (LAION-AI/aesthetic-predictor for CLIP ViT-B/32 and ViT-L/14; improved-aesthetic-predictor by
    C. Schuhmann for ViT-L/14; aesthetic-predictor-v2-5 by discus0434 for SigLIP so400m). The latter
    two have several layers and no activations between them.

    Args:
        backbone: Model that the head was trained on; with the run's own backbone, cached
            embeddings are reused.
        head: Local path or URL of the head, `.safetensors` or a `.pth` state dict, with `weight`
            (1, dim) and `bias` (1,), or those of several layers such as `layers.0.weight`.
        sha256: Expected SHA-256 of the file; required for a URL.
    """

    def __init__(self, *, backbone: Backbone, head: str, sha256: str | None = None) -> None:
        self.backbone = backbone
        self.head = head
        self.sha256 = sha256

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`. Each distinct picture is embedded and rated once.

        Raises:
            ValueError: If the head does not fit the backbone's embeddings.
        """
        weight, bias = load_head(fetch_file(self.head, self.sha256))
        rows, where = np.unique(candidates.rows, return_inverse=True)
        embeddings = self.backbone.embed_images([candidates.images[row] for row in rows])
        if weight.shape[0] != embeddings.shape[1]:
            raise ValueError(
                f"{self.head} is a head for dim {weight.shape[0]}, "
                f"but its backbone embeds in dim {embeddings.shape[1]}"
            )
        ratings = embeddings @ weight + bias
        return RerankScores(ratings[where].reshape(candidates.rows.shape))


def load_head(path: Path) -> tuple[FloatArray, np.float32]:
    """Read a linear head: weight (dim,) and bias, float32.

    Several linear layers without activations between them are one, their product.

    Raises:
        ValueError: If the file is not of linear layers with one output, or has objects other than
            tensors.
    """
    state: dict[str, Any]
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if "BF16" in dtypes:  # not a numpy type
            from safetensors.torch import load_file as load
        else:  # importing torch would take longer than the rest of a warm run
            from safetensors.numpy import load_file as load  # type: ignore[assignment]
        state = load(path)
    else:
        import torch

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            raise ValueError(f"{path} must hold tensors alone; it is not loaded") from error
    layers = _list_layers(path, state)
    weight, bias = np.eye(layers[0][0].shape[1]), np.zeros(layers[0][0].shape[1])
    for own_weight, own_bias in layers:
        weight, bias = own_weight @ weight, own_weight @ bias + own_bias
    return weight[0].astype(np.float32), np.float32(bias[0])


def _list_layers(path: Path, state: Mapping[str, Any]) -> list[tuple[FusedArray, FusedArray]]:
    """Return weight (n_out, n_in) and bias (n_out,) of each layer, in order."""
    names = [name.removesuffix("weight") for name in state if name.endswith("weight")]
    names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    widths = [shapes[f"{name}weight"] for name in names]
    if (
        set(state) != {f"{name}{part}" for name in names for part in ("weight", "bias")}
        or any(len(width) != 2 for width in widths)
        or any(
            shapes[f"{name}bias"] != width[:1] for name, width in zip(names, widths, strict=True)
        )
        or [width[0] for width in widths] != [*(width[1] for width in widths[1:]), 1]
    ):
        raise ValueError(
            f"{path} must hold weight (1, dim) and bias (1,), or linear layers that end in one "
            f"output, got {shapes}"
        )
    arrays = {name: np.array(value.tolist(), np.float64) for name, value in state.items()}
    return [(arrays[f"{name}weight"], arrays[f"{name}bias"]) for name in names]
