"""Batches of rows of tokens that fit into memory."""

import gc
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from newsimg.storage.models.fit import ModelError

log = logging.getLogger(__name__)

BatchSize = int | Literal["auto"]
T = TypeVar("T")

AUTO_ROWS = 1024  # per forward pass, where there are no other limits
# Tokens per forward pass, with which a device runs at its full rate: an H100 needs about 3,000.
GPU_TOKENS, CPU_TOKENS = 8192, 1024
STATE_SHARE = 0.25  # of the free memory for cached keys and values, which are copied as they grow


class ModelMemoryError(ModelError):
    """Memory runs out with a single row."""


class TokenBatches:
    """Cuts rows of tokens into batches, and halves them when memory runs out.

    Rows of similar length are put together. A batch has at most `size` rows, at most `max_tokens`
    tokens with padding, and the cached states of its rows fit into a quarter of the free memory.

    Args:
        group: The component's group, for messages.
        size: Largest number of rows, or "auto" for one that depends on device and memory.

    Raises:
        ValueError: If `size` is not "auto" or at least 1.
    """

    def __init__(self, group: str, size: BatchSize) -> None:
        if size != "auto" and size < 1:
            raise ValueError(f"{group}.batch_size must be auto or at least 1, got {size}")
        self.group = group
        self.size = size
        self.share = 1.0  # of the limits, halved whenever memory runs out
        self._warned = False

    def run(
        self,
        lengths: Sequence[int],
        work: Callable[[list[int]], None],
        *,
        auto_rows: int = AUTO_ROWS,
        max_tokens: float = float("inf"),
        max_state_tokens: float = float("inf"),
        n_before: int = 0,
    ) -> None:
        """Call `work` with the positions of the rows of each batch.

        Args:
            lengths: Tokens of each row.
            work: Runs a batch; called again with fewer rows if memory runs out.
            auto_rows: Rows per batch if the size is "auto".
            max_tokens: Tokens per batch, with padding; a longer row is a batch of its own.
            max_state_tokens: Tokens per batch whose states are kept, including `n_before`.
            n_before: Tokens before each row, whose states are kept.

        Raises:
            ModelMemoryError: If memory runs out with a single row.
        """
        waiting = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while waiting:
            longest = lengths[waiting[0]]  # first, so that memory runs out early if it does
            limit = min(
                auto_rows if self.size == "auto" else self.size,
                max_tokens / max(longest, 1),
                max_state_tokens / max(longest + n_before, 1),
            )
            batch = waiting[: max(int(limit * self.share + 1e-9), 1)]
            if self._fits(work, batch, longest + n_before):
                del waiting[: len(batch)]
            else:
                self.share = len(batch) / 2 / limit

    def _fits(self, work: Callable[[list[int]], None], batch: list[int], n_tokens: int) -> bool:
        try:
            work(batch)
            return True
        except (RuntimeError, MemoryError, ModelMemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelMemoryError(
                    f"{self.group}: memory runs out with a single row of {n_tokens} tokens: a "
                    f"smaller {self.group}.model, {self.group}.dtype=bfloat16, or smaller pictures "
                    f"need less ({str(error).splitlines()[0]:.120})"
                ) from error
        # After the except block, whose error keeps the tensors of the failed batch alive.
        release_memory()
        if not self._warned:
            self._warned = True
            log.warning(
                "memory ran out with %d rows of up to %d tokens: batches are halved from here on; "
                "%s.batch_size=%d avoids the failed attempt",
                *(len(batch), n_tokens, self.group, max(len(batch) // 2, 1)),
            )
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a GPU or of the machine is exhausted."""
    import torch

    return isinstance(error, MemoryError | ModelMemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in str(error)
    )


def count_state_tokens(model: Any) -> float:
    """Return for how many tokens a quarter of the free memory holds keys and values."""
    config = model.config.get_text_config(decoder=True)
    n_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * n_heads * dim * model.dtype.itemsize
    return STATE_SHARE * find_free_memory(model.device) / bytes_per_token


def release_memory() -> None:
    """Return unused memory to the GPU's driver."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def find_free_memory(device: Any) -> int:
    """Return the free memory of a torch device in bytes."""
    import torch

    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def iterate_chunks(items: Iterable[T], weigh: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Yield lists of consecutive items of at most `limit` in weight, or of one heavier item."""
    chunk: list[T] = []
    weight = 0
    for item in items:
        if chunk and weight + weigh(item) > limit:
            yield chunk
            chunk, weight = [], 0
        chunk.append(item)
        weight += weigh(item)
    if chunk:
        yield chunk
