"""Work that is begun before its turn."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], n_prefetch: int) -> Iterator[T]:
    """Yield `items` in their order, each after the `n_prefetch` next ones have been begun."""
    begun: deque[T] = deque()
    for item in items:
        begun.append(item)
        if len(begun) > n_prefetch:
            yield begun.popleft()
    yield from begun
