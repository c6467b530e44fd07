"""Prefetching."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], n_prefetch: int) -> Iterator[T]:
    """Yield `items` in order, `n_prefetch` of them ahead of the consumer."""
    started: deque[T] = deque()
    for item in items:
        started.append(item)
        if len(started) > n_prefetch:
            yield started.popleft()
    yield from started
