"""Loading of data and models in the background, and its state for the pages."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from newsimg.app.session import Facts
from newsimg.storage import progress


class Loading:
    """Loads in a thread; pages show its step.

    Args:
        load: Loads what a search needs.
        warm: Loads the rest while searches are already answered; returns values to filter by.
    """

    def __init__(
        self, load: Callable[[], Facts], warm: Callable[[], Mapping[str, Sequence[str]]]
    ) -> None:
        self.failed = threading.Event()
        self.error: Exception | None = None
        self._load = load
        self._warm = warm
        self._facts: Facts | None = None
        self._values: Mapping[str, Sequence[str]] | None = None
        self._steps = LatestStep()

    @property
    def n_images(self) -> int:
        """Number of pictures; 0 if they are not loaded."""
        return self._facts.n_images if self._facts else 0

    def start(self) -> None:
        """Start to load."""
        threading.Thread(target=self._run, daemon=True).start()

    def describe(self) -> dict[str, Any]:
        """Return `state`: loading (with the `step`), ready (with the facts) or failed."""
        if self.error is not None:
            return {"state": "failed", "message": str(self.error)}
        if self._facts is None:
            return {"state": "loading", "step": self._steps.describe()}
        # Pages ask until they know the values: only then all headlines are sent.
        headlines = self._facts.headlines[: 1 if self._values is None else None]
        facts = {"n_images": self._facts.n_images, "headlines": headlines}
        return {"state": "ready", "values": self._values} | facts

    def _run(self) -> None:
        level = progress.log.level
        progress.log.addHandler(self._steps)
        progress.log.setLevel(logging.INFO)
        try:
            self._facts = self._load()
            self._values = self._warm()
        except Exception as error:
            self.error = error
            self.failed.set()
        finally:
            progress.log.removeHandler(self._steps)
            progress.log.setLevel(level)


class LatestStep(logging.Handler):
    """Keeps the latest step of a run, see `Progress`."""

    def __init__(self) -> None:
        super().__init__()
        self._step: progress.Progress | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the step of a record."""
        self._step = getattr(record, "progress", self._step)

    def describe(self) -> str:
        """Return the step and its number of items; empty if there is none."""
        step = self._step
        if step is None:
            return ""
        return (
            step.label if step.total is None else f"{step.label}: {step.done:,} of {step.total:,}"
        )
