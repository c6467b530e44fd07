"""Shared prefixes of prompts: computed once, then extended by the rest of each prompt."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prefix:
    """The cached state of a common prefix.

    Attributes:
        cache: Keys and values of every layer, for one row.
        n_tokens: Number of tokens of the prefix.
        offset: Next position minus `n_tokens`; not 0 if the tokens of a picture share positions.
    """

    cache: Any
    n_tokens: int
    offset: int


def can_be_repeated(cache: Any) -> bool:
    """Return whether a cache can be repeated for several rows.

    Keys and values can; the state of recurrent layers (linear attention, state spaces) cannot,
    although some hybrid layers have the method.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def read_cache(output: Any) -> Any:
    """Return the cache of a model's output, `past_key_values` before transformers 5.24."""
    return output["cache" if "cache" in output else "past_key_values"]


def name_cache(model: Any) -> str:
    """Return the name of the cache argument of a model's `forward`; see `read_cache`."""
    parameters = inspect.signature(model.forward).parameters
    return "cache" if "cache" in parameters else "past_key_values"


def extend_prefix(model: Any, prefix: Prefix, tokens: Sequence[int]) -> Prefix:
    """Extend a prefix by further tokens."""
    cache = copy.deepcopy(prefix.cache)
    row, positions = _lay_out(model, prefix, [tokens])
    model(
        input_ids=row,
        position_ids=positions,
        **{name_cache(model): cache},
        use_cache=True,
        logits_to_keep=1,
    )
    return Prefix(cache, prefix.n_tokens + len(tokens), prefix.offset)


def read_after(model: Any, prefix: Prefix, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
    """Return the next-token logits of each row appended to `prefix`: (n_rows, n_vocabulary).

    Rows are padded on the right, after the positions that are read.
    """
    cache = copy.deepcopy(prefix.cache)
    cache.batch_repeat_interleave(len(rows))
    tokens, positions = _lay_out(model, prefix, rows)
    behind = {name_cache(model): cache}
    return read_last(
        model, rows, input_ids=tokens, position_ids=positions, use_cache=True, **behind
    )


def read_last(model: Any, rows: Sequence[Sequence[int]], **inputs: Any) -> "torch.Tensor":
    """Return the next-token logits of each row: (n_rows, n_vocabulary), float32."""
    import torch

    # The vocabulary is large: only the last positions of rows are projected.
    ends = sorted({len(row) - 1 for row in rows})
    kept = torch.tensor(ends, device=model.device)
    logits = model(**inputs, logits_to_keep=kept).logits
    where = torch.tensor([ends.index(len(row) - 1) for row in rows], device=logits.device)
    return logits[torch.arange(len(rows), device=logits.device), where].float()


def pad_right(rows: Sequence[Sequence[int]], device: Any) -> "torch.Tensor":
    """Pad rows to (n_rows, n_tokens) by repeating the last token of each row."""
    import torch

    longest = max(map(len, rows))
    padded = [[*row, *[row[-1]] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, device=device)


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


def _lay_out(
    model: Any, prefix: Prefix, rows: Sequence[Sequence[int]]
) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    tokens = pad_right(rows, model.device)
    start = prefix.n_tokens + prefix.offset
    positions = torch.arange(start, start + tokens.shape[1], device=model.device)
    return tokens, positions.expand(len(rows), -1)
