"""Shared prefixes of prompts: computed once, then extended by the rest of each prompt."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The cached states of the beginnings of prompts, one row each.

    Rows of different lengths are padded on the right, and the padding is masked in what follows.

    Attributes:
        cache: Keys and values of every layer.
        mask: (n_rows, n_tokens) 1 for tokens, 0 for padding.
        positions: (n_rows,) position of the next token. Less than the number of tokens if the
            tokens of a picture share positions.
    """

    cache: Any
    mask: "torch.Tensor"
    positions: "torch.Tensor"

    @property
    def n_tokens(self) -> int:
        """Tokens per row, with padding."""
        return self.mask.shape[1]

    @property
    def bytes_per_token(self) -> int:
        """Bytes of the keys and values of a token in all layers."""
        n_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)
        return n_bytes // self.mask.numel()

    def select(self, rows: Sequence[int]) -> "Prefixes":
        """Return a copy of some rows, each as often as it is given."""
        import torch

        cache = copy.copy(self.cache)  # layers replace their tensors and do not change them
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        if list(rows) == list(range(len(self.mask))):
            return Prefixes(cache, self.mask, self.positions)
        kept = torch.tensor(list(rows), device=self.mask.device)
        cache.batch_select_indices(kept)
        return Prefixes(cache, self.mask[kept], self.positions[kept])


def can_be_repeated(cache: Any) -> bool:
    """Return whether a cache can be repeated for several rows.

    Keys and values can; the state of recurrent layers (linear attention, state spaces) cannot,
    although some hybrid layers have the method.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def can_be_padded(model: Any) -> bool:
    """Return whether masked padding has no effect, which moves the window of sliding attention."""
    from transformers.cache_utils import DynamicCache

    return not any(
        getattr(layer, "is_sliding", False) for layer in DynamicCache(config=model.config).layers
    )


def read_cache(output: Any) -> Any:
    """Return the cache of a model's output, `past_key_values` before transformers 5.24."""
    return output["cache" if "cache" in output else "past_key_values"]


def name_cache(model: Any) -> str:
    """Return the name of the cache argument of a model's `forward`; see `read_cache`."""
    parameters = inspect.signature(model.forward).parameters
    return "cache" if "cache" in parameters else "past_key_values"


def extend_prefixes(model: Any, prefixes: Prefixes, rows: Sequence[Sequence[int]]) -> Prefixes:
    """Extend each row by further tokens; `prefixes` must not be used afterwards."""
    import torch

    behind, tokens = _follow(model, prefixes, rows)
    model(input_ids=tokens, use_cache=True, logits_to_keep=1, **behind)
    added = mask_right(rows, model.device)
    return Prefixes(
        prefixes.cache,
        torch.cat([prefixes.mask, added], dim=1),
        prefixes.positions + added.sum(dim=1),
    )


def read_after(model: Any, prefixes: Prefixes, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
    """Return the next-token logits of each row behind its prefix: (n_rows, n_vocabulary).

    Rows are padded on the right, after the positions that are read. `prefixes` must not be used
    afterwards.
    """
    behind, tokens = _follow(model, prefixes, rows)
    return read_last(model, rows, input_ids=tokens, use_cache=True, **behind)


def read_last(model: Any, rows: Sequence[Sequence[int]], **inputs: Any) -> "torch.Tensor":
    """Return the next-token logits of each row: (n_rows, n_vocabulary), float32."""
    import torch

    # The vocabulary is large: only the last positions of rows are projected.
    ends = sorted({len(row) - 1 for row in rows})
    kept = torch.tensor(ends, device=model.device)
    logits = model(**inputs, logits_to_keep=kept).logits
    where = torch.tensor([ends.index(len(row) - 1) for row in rows], device=logits.device)
    return logits[torch.arange(len(rows), device=logits.device), where].float()


def pad_right(
    rows: Sequence[Sequence[int]], device: Any, padding: int | None = None
) -> "torch.Tensor":
    """Pad rows to (n_rows, n_tokens) with a token, by default the last one of each row."""
    import torch

    longest = max(map(len, rows))
    padded = [
        [*row, *[row[-1] if padding is None else padding] * (longest - len(row))] for row in rows
    ]
    return torch.tensor(padded, device=device)


def mask_right(rows: Sequence[Sequence[int]], device: Any) -> "torch.Tensor":
    """Return the attention mask of rows that are padded on the right, (n_rows, n_tokens)."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor(
        [[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device
    )


def pad_left(
    rows: Sequence[Sequence[int]], padding: int, device: Any
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Pad rows to (n_rows, n_tokens) on the left, and return the attention mask."""
    import torch

    longest = max(map(len, rows))
    tokens = [[padding] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def group_by_beginning(rows: Sequence[Sequence[int]]) -> list[tuple[list[int], int]]:
    """Group rows with a common prefix, so that it can be computed once.

    Neighbours in sorted order are grouped if they share at least half of the shorter row.

    Returns:
        For each group the positions of its rows and the length of the common prefix, which leaves
        at least one token per row; 0 for the group of rows without a common prefix.
    """
    order = sorted(range(len(rows)), key=lambda i: list(rows[i]))
    groups = [order[:1]]
    for before, i in pairwise(order):
        shorter = min(len(rows[before]), len(rows[i]))
        if 2 * count_shared(rows[before], rows[i]) >= shorter:
            groups[-1].append(i)
        else:
            groups.append([i])
    together = [
        # Rows between two rows with a common prefix, in sorted order, have it as well.
        (
            group,
            min(count_shared(rows[group[0]], rows[group[-1]]), *(len(rows[i]) - 1 for i in group)),
        )
        for group in groups
        if len(group) > 1
    ]
    alone = [group[0] for group in groups if len(group) == 1]
    return together + ([(alone, 0)] if alone else [])


def count_shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the common prefix of two rows."""
    n_shared = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        n_shared += 1
    return n_shared


def _follow(
    model: Any, prefixes: Prefixes, rows: Sequence[Sequence[int]]
) -> tuple[dict[str, Any], "torch.Tensor"]:
    """Return the arguments of `forward` that place rows behind their prefixes, and their tokens."""
    import torch

    tokens = pad_right(rows, model.device)
    positions = torch.arange(tokens.shape[1], device=model.device) + prefixes.positions[:, None]
    behind: dict[str, Any] = {name_cache(model): prefixes.cache, "position_ids": positions}
    if not prefixes.mask.all():
        behind["attention_mask"] = torch.cat([prefixes.mask, torch.ones_like(tokens)], dim=1)
    return behind, tokens
