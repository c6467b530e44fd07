"""What remembers runs, whatever it keeps them in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

JOB_TAG = "job"  # the tag that tells which job of its sweep a run is, counted from 0
# Metrics that say how far the others can be compared -> what goes without saying. They become tags,
# too, for tables of runs show tags first.
TAGGED = {"ground_truth_share": 1.0}


class Job(NamedTuple):
    """What `Tracker.track` is told of a run."""

    experiment: str
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    output_dir: Path


def pick_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that are tags as well."""
    return {
        name: f"{metrics[name]:.4g}"
        for name, usual in TAGGED.items()
        if metrics.get(name, usual) != usual
    }


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
    def find_finished(self, job: Job) -> dict[str, float] | None:
        """Return the metrics of a finished run with the job's tag `config_hash`, if there is one.

        An open sweep gets a run of its own for the job, with the metrics, times and files of the
        finished one; the files are copied to the job's folder.
        """

    @abstractmethod
    def add_failed(self, job: Job, error: Exception) -> None:
        """Give the open sweep a failed run for a job that failed before it called `track`."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], tags: dict[str, str] | None = None) -> None:
        """Add metrics to the open run, and tags that are known only now."""

    @abstractmethod
    def log_artifacts(self, output_dir: Path) -> None:
        """Add every file below `output_dir` to the open run, but for those of runs in it."""

    @abstractmethod
    def open_sweep(
        self,
        experiment: str,
        name: str,
        output_dir: Path,
        objective: str | None = None,
        swept: Sequence[str] = (),
    ) -> None:
        """Open the run that the jobs of a sweep become children of, before the first of them.

        Args:
            experiment: The experiment of the sweep's run.
            name: The name of the sweep's run.
            output_dir: The folder that the jobs' folders lie in.
            objective: The metric that the sweep looks for the largest value of, if there is one.
            swept: Overrides that the jobs differ in.
        """

    @abstractmethod
    def load_jobs(self) -> "pd.DataFrame":
        """Return the open sweep's jobs, in their order.

        Returns:
            Columns `name`, `status`, `error` (in one line; empty if there was none), `link` (for
            the sweep's text, where it becomes the place that shows the run), `params.*` and the
            metrics.
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
    def describe(self) -> dict[str, str]:
        """Return what shows the last run: the page's address, and the command that serves it.

        Returns:
            Label -> text; nothing if there is no such page.
        """

    @abstractmethod
    def serve(self, port: int) -> AbstractContextManager[tuple[str, bool]]:
        """Serve the pages of runs until the block is left, unless a server does so already.

        Args:
            port: Where a server that is started listens, on this machine alone.

        Yields:
            The address of the latest run or sweep, and whether it is there for the block only.

        Raises:
            ValueError: If no runs are kept, or the port is in use.
        """
