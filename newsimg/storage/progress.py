"""Progress of a run, reported by logging; the status line displays it."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Progress:
    """A step of a run, with an optional number of items.

    Args:
        label: Description of the step; empty for none.
        total: Number of items; None if they are not counted.
        unit: Unit of the items: "B" for bytes, or empty.
        done: Number of items that are already done.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = self.done_before = done
        self.start = self.changed = time.monotonic()
        self.is_closed = False
        if label:
            log.info("%s", label, extra={"progress": self})

    def update(self, n_items: int = 1) -> None:
        """Count completed items."""
        self.done += n_items
        self.changed = time.monotonic()

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count each when the next one is requested."""
        with self:
            for item in items:
                yield item
                self.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


def announce(label: str) -> None:
    """Report the start of a step."""
    Progress(label)
