"""Work that is begun before its turn."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def run_ahead(items: Iterable[T], n_ahead: int) -> Iterator[T]:
    """Yield `items` in their order, each after the `n_ahead` next ones have been begun."""
    begun: deque[T] = deque()
    for item in items:
        begun.append(item)
        if len(begun) > n_ahead:
            yield begun.popleft()
    yield from begun
