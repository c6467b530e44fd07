"""Questions that are asked together, and answers that are passed on and kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import FloatArray

MAX_MASS = 1.02  # of rounded probabilities
_T = TypeVar("_T")
_Answer = TypeVar("_Answer", covariant=True)


class Answers(Protocol[_Answer]):
    """Answers by position: a mapping or an array."""

    def __getitem__(self, position: int, /) -> _Answer:
        """Return the answer at a position."""


def group_by_picture(
    pairs: Sequence[tuple[int, str]], positions: Sequence[int]
) -> tuple[list[int], list[list[int]], list[list[str]]]:
    """Return the pictures of some pairs of picture and question, each one's positions and texts."""
    asked: dict[int, list[int]] = {}
    for position in positions:
        asked.setdefault(pairs[position][0], []).append(position)
    groups = list(asked.values())
    return list(asked), groups, [[pairs[position][1] for position in group] for group in groups]


def keep_all(
    found: Sequence[Iterable[_T]], keep: Callable[[int, Mapping[int, _T]], None] | None
) -> None:
    """Pass the answers about each picture to `keep`."""
    if keep:
        for picture, own in enumerate(found):
            keep(picture, dict(enumerate(own)))


def keep_first(
    found: list[_T], keep: Callable[[int, _T], None] | None
) -> Callable[[int, Answers[_T]], None]:
    """Return a function that takes a number and answers, of which the first is put in `found`."""

    def keep_found(number: int, answers: Answers[_T]) -> None:
        found[number] = answers[0]
        if keep:
            keep(number, found[number])

    return keep_found


def is_number(rows: FloatArray) -> NDArray[np.bool_]:
    """Return a mask of the finite rows: (n_rows,)."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def is_answer(rows: FloatArray) -> NDArray[np.bool_]:
    """Return a mask of the rows that are valid probabilities and not all 0: (n_rows,)."""
    return is_number(rows) & (rows > 0).any(axis=1) & (rows.sum(axis=1) <= MAX_MASS)
