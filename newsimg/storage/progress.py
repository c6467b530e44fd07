"""What a run is doing, told by logging: whoever has a console may show it."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Progress:
    """A step of a run, of which some share may be done.

    Args:
        label: What is done; empty for what is not worth telling.
        total: How many items there are; None if they are not counted.
        unit: What is counted: "B" for bytes, otherwise nothing needs to be said.
        done: How many of them are done already.
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
        """Count what was done."""
        self.done += n_items
        self.changed = time.monotonic()

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count each when the next one is asked for."""
        with self:
            for item in items:
                yield item
                self.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


def announce(label: str) -> None:
    """Tell what is done from now on."""
    Progress(label)
