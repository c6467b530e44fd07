"""Forward passes of as many items as fit into memory; their results are waited for afterwards."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from newsimg.datatypes import FloatArray
from newsimg.storage.models.batches import (
    BatchSize,
    ModelMemoryError,
    is_out_of_memory,
    release_memory,
)
from newsimg.storage.models.fit import ModelError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# An H100 embeds 25,400 pictures per second with ViT-B/32 at 256, 18,900 at 64; a CPU is as fast
# with any batch that keeps its cores busy.
AUTO_GPU, AUTO_CPU = 256, 32


class ForwardBatches:
    """Cuts items into batches, and halves them when memory runs out.

    The size that fits is kept for the process. Batches of another size change embeddings by
    rounding errors alone, because matrix products add up in another order.

    Args:
        group: The component's group, for messages.
        size: Items per forward pass, or "auto": 256 on a GPU, 32 on a CPU.

    Raises:
        ValueError: If `size` is not "auto" or at least 1.
    """

    def __init__(self, group: str, size: BatchSize) -> None:
        if size != "auto" and (isinstance(size, str) or size < 1):
            raise ValueError(f"{group}.batch_size must be auto or at least 1, got {size}")
        self.group = group
        self.size = size
        self.limit: int | None = None  # found when memory ran out

    def choose(self, find_device: Callable[[], str]) -> int:
        """Return the number of items per forward pass, regardless of memory."""
        if self.size != "auto":
            return self.size
        return AUTO_CPU if find_device() == "cpu" else AUTO_GPU

    def start(
        self,
        items: Sequence[Any],
        size: int,
        encode: Callable[[Sequence[Any], int], "torch.Tensor"],
    ) -> "list[PendingRows]":
        """Start the forward passes of some items, without waiting for a GPU.

        Args:
            items: What is embedded.
            size: Items per forward pass, if that many fit into memory.
            encode: Takes items and the number of items of a full batch; returns their embeddings.

        Raises:
            ModelMemoryError: If memory runs out with a single item.
            ModelError: If the GPU fails.
        """
        started: list[PendingRows] = []
        done = 0
        while done < len(items):
            full = min(size, self.limit or size)
            part = items[done : done + full]
            features = self._try(part, full, encode)
            if features is not None:
                started.append(PendingRows(self.group, features))
                done += len(part)
        return started

    def _try(
        self,
        part: Sequence[Any],
        full: int,
        encode: Callable[[Sequence[Any], int], "torch.Tensor"],
    ) -> "torch.Tensor | None":
        """Return the embeddings of a batch, or None after halving the size."""
        try:
            with name_failed_device(self.group):
                return encode(part, full)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if full == 1:
                raise ModelMemoryError(
                    f"{self.group}: memory runs out with a single item: a smaller "
                    f"{self.group}.model or {self.group}.dtype=bfloat16 needs less "
                    f"({str(error).splitlines()[0]:.120})"
                ) from error
        # After the except block, whose error keeps the tensors of the failed batch alive.
        release_memory()
        if self.limit is None:
            log.warning(
                "memory ran out with a batch of %d: batches are halved until they fit; "
                "%s.batch_size=%d avoids the failed attempt",
                *(full, self.group, full // 2),
            )
        self.limit = full // 2
        return None


class PendingRows:
    """Embeddings on their way from a GPU.

    Args:
        group: The component's group, for messages.
        features: (n_items, dim), on any device.
    """

    def __init__(self, group: str, features: "torch.Tensor") -> None:
        import torch

        self.group = group
        self._copied: Any = None
        features = features.float()
        if features.device.type == "cuda":
            self._copied = torch.cuda.Event(blocking=True)  # waits without using a core
            self.rows = features.to("cpu", non_blocking=True)
            self._copied.record(torch.cuda.current_stream(features.device))
        else:
            self.rows = features.cpu()

    def wait(self) -> FloatArray:
        """Return the embeddings: (n_items, dim) float32.

        Raises:
            ModelError: If the GPU fails.
        """
        if self._copied is not None:
            with name_failed_device(self.group):
                self._copied.synchronize()
        return np.asarray(self.rows.numpy())


@contextmanager
def name_failed_device(group: str) -> Iterator[None]:
    """Name the GPU in errors of its driver.

    Raises:
        ModelError: Instead of an error of the driver.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not is_device_error(error):
            raise
        raise ModelError(
            f"{group}.device: {describe_gpu()} failed ({str(error).splitlines()[0]:.120}); what "
            "was embedded before is cached: run the command again to continue"
        ) from error


def is_device_error(error: BaseException) -> bool:
    """Return whether an error is one of a GPU or its driver."""
    import torch

    kind = getattr(torch, "AcceleratorError", None)  # torch 2.8 and later
    return (kind is not None and isinstance(error, kind)) or "CUDA error" in str(error)


def describe_gpu() -> str:
    """Return number and name of the GPU in use, as far as the driver tells them."""
    import torch

    with suppress(Exception):
        number = torch.cuda.current_device()
        return f"the GPU cuda:{number} ({torch.cuda.get_device_name(number)})"
    return "the GPU"
