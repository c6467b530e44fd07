"""A tracker that does nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from newsimg.datatypes import Job
from newsimg.interfaces import Tracker

if TYPE_CHECKING:
    import pandas as pd


class NullTracker(Tracker):
    """Logs nothing; results are only in the run's folder."""

    def find_finished(self, job: Job) -> dict[str, float] | None:
        """See `Tracker.find_finished`."""
        return None

    def add_failed(self, job: Job, error: Exception) -> None:
        """See `Tracker.add_failed`."""

    @contextmanager
    def track(self, job: Job) -> Iterator[None]:
        """See `Tracker.track`."""
        yield

    def log_metrics(self, metrics: Mapping[str, float], tags: dict[str, str] | None = None) -> None:
        """See `Tracker.log_metrics`."""

    def log_artifacts(self, output_dir: Path) -> None:
        """See `Tracker.log_artifacts`."""

    def open_sweep(
        self,
        experiment: str,
        name: str,
        output_dir: Path,
        objective: str | None = None,
        swept: Sequence[str] = (),
    ) -> None:
        """See `Tracker.open_sweep`."""

    def load_jobs(self) -> "pd.DataFrame":
        """See `Tracker.load_jobs`."""
        import pandas as pd

        return pd.DataFrame()

    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """See `Tracker.close_sweep`."""

    def drop_sweep(self) -> None:
        """See `Tracker.drop_sweep`."""

    def send_waiting(self) -> "pd.DataFrame":
        """See `Tracker.send_waiting`."""
        raise ValueError("task=sync needs a tracking store, got tracking=none: add tracking=mlflow")

    def describe(self) -> dict[str, str]:
        """See `Tracker.describe`."""
        return {}

    def serve(self, port: int) -> AbstractContextManager[tuple[str, bool]]:
        """See `Tracker.serve`."""
        raise ValueError("tracking must name a store of runs to show, got tracking=none")
