"""Preprocessed pictures of a batch in few tensors, as they travel between processes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, NDArray[Any]]


class StackedInputs(Sequence[Arrays]):
    """A sequence of the inputs of pictures, each a mapping of names to arrays, (1, ...).

    Args:
        tensors: Name -> (n_pictures, ...).
    """

    def __init__(self, tensors: Mapping[str, "torch.Tensor"]) -> None:
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @overload
    def __getitem__(self, place: int) -> Arrays: ...
    @overload
    def __getitem__(self, place: slice) -> "StackedInputs": ...
    def __getitem__(self, place: int | slice) -> "Arrays | StackedInputs":
        if isinstance(place, slice):
            return StackedInputs({name: own[place] for name, own in self.tensors.items()})
        place = range(len(self))[place]  # raises IndexError at the end, where iteration stops
        return {name: own[place : place + 1].numpy() for name, own in self.tensors.items()}

    def pin_memory(self) -> "StackedInputs":
        """Return a copy in memory that a GPU reads by itself; called by torch's DataLoader."""
        return StackedInputs({name: own.pin_memory() for name, own in self.tensors.items()})


class JoinedInputs(Sequence[Arrays]):
    """A sequence of the inputs of pictures, whose arrays have any shapes, in one tensor.

    Args:
        inputs: Mappings of names to arrays.
    """

    def __init__(self, inputs: Sequence[Arrays]) -> None:
        import torch

        n_bytes = sum(array.nbytes for own in inputs for array in own.values())
        self.data = torch.empty(n_bytes, dtype=torch.uint8).share_memory_()
        self.parts: list[dict[str, tuple[slice, np.dtype[Any], tuple[int, ...]]]] = []
        content, start = self.data.numpy(), 0
        for own in inputs:
            self.parts.append({})
            for name, array in own.items():
                part = slice(start, start + array.nbytes)
                content[part] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                self.parts[-1][name] = part, array.dtype, array.shape
                start = part.stop

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, place: int) -> Arrays: ...
    @overload
    def __getitem__(self, place: slice) -> "Sequence[Arrays]": ...
    def __getitem__(self, place: int | slice) -> "Arrays | Sequence[Arrays]":
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        content = self.data.numpy()
        return {
            name: content[part].view(dtype).reshape(shape)
            for name, (part, dtype, shape) in self.parts[place].items()
        }


def share_inputs(inputs: Sequence[Arrays]) -> Sequence[Arrays]:
    """Put the inputs of pictures into memory that other processes can read."""
    kinds = {tuple((name, one[name].shape[1:]) for name in one) for one in inputs}
    return stack_inputs(inputs, shared=True) if len(kinds) == 1 else JoinedInputs(inputs)


def stack_inputs(inputs: Sequence[Arrays], *, shared: bool = False) -> StackedInputs:
    """Stack the inputs of pictures, each array once.

    Args:
        inputs: At least one; of all pictures the same names, and shapes after the first.
        shared: Whether the tensors are in memory that other processes can read.
    """
    if isinstance(inputs, StackedInputs):
        return inputs
    import torch

    tensors = {}
    for name, first in inputs[0].items():
        n_rows = sum(len(one[name]) for one in inputs)
        tensor = torch.from_numpy(np.empty((0,), first.dtype)).new_empty(n_rows, *first.shape[1:])
        tensor = tensor.share_memory_() if shared else tensor
        np.concatenate([one[name] for one in inputs], out=tensor.numpy())
        tensors[name] = tensor
    return StackedInputs(tensors)


def select_inputs(inputs: Sequence[Any], positions: Sequence[int]) -> Sequence[Any]:
    """Return some inputs; all of them as they are, without a copy."""
    whole = list(positions) == list(range(len(inputs)))
    return inputs if whole else [inputs[i] for i in positions]
