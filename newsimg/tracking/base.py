"""What remembers runs, whatever it keeps them in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Tracker(ABC):
    """Remembers runs, so that they can be compared."""

    @abstractmethod
    def track(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        output_dir: Path,
    ) -> AbstractContextManager[None]:
        """Open a run; on leaving, close it as finished, failed (exception) or killed (Ctrl-C).

        Raises:
            ValueError: If the store refuses it; one that only does not answer stops no run.
        """

    @abstractmethod
    def find_finished(self, config_hash: str, output_dir: Path) -> dict[str, float] | None:
        """Return the metrics of a finished run with the tag `config_hash`, if there is one.

        An open sweep counts it among its jobs, as the one with the folder `output_dir`.
        """

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add metrics to the open run."""

    @abstractmethod
    def log_artifacts(self, output_dir: Path) -> None:
        """Add every file below `output_dir` to the open run."""

    @abstractmethod
    def open_sweep(self, experiment: str, name: str, output_dir: Path) -> None:
        """Open the run that the jobs of a sweep become children of, before the first of them.

        Args:
            experiment: The experiment of the sweep's run.
            name: The name of the sweep's run.
            output_dir: The folder that the jobs' folders lie in.
        """

    @abstractmethod
    def load_jobs(self) -> "pd.DataFrame":
        """Return the open sweep's jobs, oldest first.

        Returns:
            Columns `name`, `status`, `link` (for the sweep's text, where it becomes the place that
            shows the run), `params.*` and the metrics.
        """

    @abstractmethod
    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """Close the sweep's run as FINISHED, FAILED or KILLED, with metrics, files and a text."""

    @abstractmethod
    def drop_sweep(self) -> None:
        """Forget the open sweep, which was refused before it began a job."""

    @abstractmethod
    def send_waiting(self) -> "pd.DataFrame":
        """Compare all runs with what the store has of them, and send what it has missed.

        Returns:
            Columns `name`, `status`, `folder` and `outcome`, without the runs that were sent before
            and are there: "sent", "already there", "running", "not there" (it was sent before),
            "not compared" or "waiting"; after a colon, why.

        Raises:
            ValueError: If there is no store.
        """

    @abstractmethod
    def describe(self) -> str | None:
        """Return the command that shows the runs, if there is one."""
