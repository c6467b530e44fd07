"""Encoded pictures with their questions."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.storage.pictures.images import open_image
from newsimg.storage.prefetch import prefetch

if TYPE_CHECKING:
    import torch

N_PREFETCH = 8  # pictures that are encoded while the model runs

Encoded = tuple[list[int], dict[str, "torch.Tensor"]]
Split = Callable[[str, str], tuple[list[int], list[int]]]


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture that a model is asked about.

    Attributes:
        number: Position of the picture among all.
        tokens: Tokens that stand for the picture.
        inputs: Arguments of the model's `forward` for the picture.
        heads: Tokens of each question's prompt before the picture.
        tails: Tokens of each question's prompt after the picture.
    """

    number: int
    tokens: list[int]
    inputs: dict[str, "torch.Tensor"]
    heads: list[list[int]]
    tails: list[list[int]]

    @property
    def head(self) -> list[int] | None:
        """The tokens before the picture, if they are the same for all questions."""
        return self.heads[0] if all(head == self.heads[0] for head in self.heads) else None

    @property
    def prompts(self) -> list[list[int]]:
        """The whole prompt of each question."""
        return [
            head + self.tokens + tail for head, tail in zip(self.heads, self.tails, strict=True)
        ]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs but for the first axis: where they are equal, they concatenate."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.inputs.values())


def show_pictures(
    images: Sequence[Image],
    questions: Sequence[Sequence[str]],
    encode: Callable[[PILImage.Image], Encoded],
    split: Split,
    ending: str,
) -> Iterator[Shown]:
    """Yield the pictures that have questions, encoded ahead in another thread.

    Args:
        images: The pictures.
        questions: Questions about each picture.
        encode: See `ChatVLM.encode`.
        split: Returns the tokens before and after the picture; see `PicturePrompts.split`.
        ending: Start of the answers.
    """
    asked = [i for i, texts in enumerate(questions) if texts]
    with ThreadPoolExecutor(1) as pool:
        waiting = (
            (i, pool.submit(lambda image: encode(open_image(image)), images[i])) for i in asked
        )
        for i, encoded in prefetch(waiting, N_PREFETCH):
            tokens, inputs = encoded.result()
            split_up = [split(text, ending) for text in questions[i]]
            yield Shown(i, tokens, inputs, *map(list, zip(*split_up, strict=True)))


def group_pictures(
    pictures: Sequence[Shown], equal_lengths: bool
) -> Iterator[tuple[list[Shown], bool]]:
    """Yield groups of pictures that one forward pass can take, and whether they have one head.

    Args:
        pictures: The pictures.
        equal_lengths: Whether those of a group must have the same number of tokens.
    """
    groups: dict[Any, list[Shown]] = {}
    for picture in pictures:
        head = None if picture.head is None else tuple(picture.head)
        length = len(picture.tokens) if equal_lengths else None
        groups.setdefault((picture.shapes, head, length), []).append(picture)
    for (_, head, _), group in groups.items():
        yield group, head is not None
