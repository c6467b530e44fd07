"""Aesthetic quality of a picture, predicted by a linear head on CLIP embeddings."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, Query, RerankScores
from newsimg.interfaces import Backbone, Reranker
from newsimg.storage.files import fetch_file


class AestheticsReranker(Reranker):
    """Scores a picture by LAION's aesthetic predictor: one linear layer on its unit CLIP embedding.

    The head was trained on human ratings from 1 to 10; predictions may exceed that range
    (LAION-AI/aesthetic-predictor, heads for ViT-B/32 and ViT-L/14).

    Args:
        backbone: CLIP model that the head was trained on; with the run's own backbone, cached
            embeddings are reused.
        head: Local path or URL of the head, `.safetensors` or a `.pth` state dict, with `weight`
            (1, dim) and `bias` (1,).
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
    """Read a linear layer: weight (dim,) and bias, float32.

    Raises:
        ValueError: If the file is not a linear layer with one output, or has objects other than
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
            state = torch.load(path, weights_only=True)
        except UnpicklingError as error:
            raise ValueError(f"{path} must hold tensors alone; it is not loaded") from error
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if set(shapes) != {"weight", "bias"} or shapes["weight"][:-1] != (1,) or shapes["bias"] != (1,):
        raise ValueError(f"{path} must hold weight (1, dim) and bias (1,), got {shapes}")
    weight, bias = state["weight"][0], state["bias"][0]
    weight = np.array(weight.tolist(), dtype=np.float32)  # of numpy or torch, of any dtype
    return weight, np.float32(bias.item())
