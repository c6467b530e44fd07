"""Picture towers compiled by torch."""

import logging
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from newsimg.storage.models.fit import ModelError
from newsimg.storage.progress import announce

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Features = Callable[[Mapping[str, "torch.Tensor"]], "torch.Tensor"]


def describe_compilation() -> dict[str, str]:
    """Return what compiled arithmetic depends on besides the model, for fingerprints."""
    return {"torch": version("torch")}


class CompiledTower:
    """A picture tower that torch compiles at the first batch, for batches of one size.

    Args:
        name: Name of the model, for messages.
        features: Returns the embeddings for the arguments of the model, not normalised.
    """

    def __init__(self, name: str, features: Features) -> None:
        import torch

        self.name = name
        self._compiled: Any = torch.compile(features, dynamic=False)
        self._sizes: set[int] = set()

    def __call__(self, inputs: Mapping[str, "torch.Tensor"], size: int) -> "torch.Tensor":
        """Return the embeddings of preprocessed pictures, (n_images, dim), not normalised.

        Args:
            inputs: Arguments of the model, of at most `size` pictures.
            size: Pictures of a full batch, to which others are padded.

        Raises:
            ModelError: If the model cannot be compiled.
        """
        n_images = len(next(iter(inputs.values())))
        padded = pad_rows(inputs, size)
        if size in self._sizes:
            return self._compiled(padded)[:n_images]
        announce(f"compiling {self.name}")
        start = time.monotonic()
        try:
            features: torch.Tensor = self._compiled(padded)[:n_images]
        except Exception as error:  # of many kinds, from the compiler's passes
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{self.name} cannot be compiled, add backbone.compile=false: {reason:.200}"
            ) from error
        log.info(
            "compiled       %s for batches of %d in %.0f s",
            *(self.name, size, time.monotonic() - start),
        )
        self._sizes.add(size)
        return features


def pad_rows(inputs: Mapping[str, "torch.Tensor"], size: int) -> "dict[str, torch.Tensor]":
    """Repeat the last row of each tensor until it has `size` rows."""
    import torch

    return {
        name: torch.cat([own, own[-1:].expand(size - len(own), *own.shape[1:])])
        for name, own in inputs.items()
    }
