"""What prompts begin with in common, and reading the next token behind it."""

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
    """Tokens that were run through a model once.

    Attributes:
        cache: Keys and values of every layer, for one row.
        n_tokens: How many tokens that are.
        offset: Where positions go on, less `n_tokens`: not 0 if a picture's tokens share positions.
    """

    cache: Any
    n_tokens: int
    offset: int


def can_be_repeated(cache: Any) -> bool:
    """Tell whether a cache can be repeated for several rows.

    Keys and values can. What recurrent layers keep (linear attention, state spaces) cannot, though
    some layers that have both have the method of those that can.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def read_cache(output: Any) -> Any:
    """Return the cache of a model's output, `past_key_values` before transformers 5.24."""
    return output["cache" if "cache" in output else "past_key_values"]


def name_cache(model: Any) -> str:
    """Return the name by which a model's forward takes a cache; see `read_cache`."""
    parameters = inspect.signature(model.forward).parameters
    return "cache" if "cache" in parameters else "past_key_values"


def extend_prefix(model: Any, prefix: Prefix, tokens: Sequence[int]) -> Prefix:
    """Run more tokens behind a prefix."""
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
    """Return the logits of the token after each row behind `prefix`: (n_rows, n_vocabulary).

    Rows are padded on the right, where padding comes after all that is read and changes nothing.
    """
    cache = copy.deepcopy(prefix.cache)
    cache.batch_repeat_interleave(len(rows))
    tokens, positions = _lay_out(model, prefix, rows)
    behind = {name_cache(model): cache}
    return read_last(
        model, rows, input_ids=tokens, position_ids=positions, use_cache=True, **behind
    )


def read_last(model: Any, rows: Sequence[Sequence[int]], **inputs: Any) -> "torch.Tensor":
    """Return the logits at the end of each row: (n_rows, n_vocabulary), float32."""
    import torch

    # The vocabulary is large: only the positions at which some row ends are projected on it.
    ends = sorted({len(row) - 1 for row in rows})
    kept = torch.tensor(ends, device=model.device)
    logits = model(**inputs, logits_to_keep=kept).logits
    where = torch.tensor([ends.index(len(row) - 1) for row in rows], device=logits.device)
    return logits[torch.arange(len(rows), device=logits.device), where].float()


def pad_right(rows: Sequence[Sequence[int]], device: Any) -> "torch.Tensor":
    """Lay rows out as (n_rows, n_tokens); a padded place repeats the row's last token."""
    import torch

    longest = max(map(len, rows))
    padded = [[*row, *[row[-1]] * (longest - len(row))] for row in rows]
    return torch.tensor(padded, device=device)


def pad_left(
    rows: Sequence[Sequence[int]], padding: int, device: Any
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Lay rows out as (n_rows, n_tokens), with the mask that leaves the padding out."""
    import torch

    longest = max(map(len, rows))
    tokens = [[padding] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def group_by_beginning(rows: Sequence[Sequence[int]]) -> list[tuple[list[int], int]]:
    """Group rows that begin alike, so that what they share can be run once.

    Two neighbours in sorted order belong together if they share at least half of the shorter one.

    Returns:
        For each group the positions of its rows and how many tokens they share, which leaves every
        row one token at least; 0 for the rows that share with none, which are one group.
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
        # Sorted rows between two that share a beginning have it as well.
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
    """Count the tokens that both begin with."""
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
