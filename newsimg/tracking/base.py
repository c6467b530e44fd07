"""Base class of the trackers, which log runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

JOB_TAG = "job"  # tag with the number of a job in its sweep, from 0
# Metrics that restrict the comparability of a run -> usual value. Unusual values are also logged as
# tags, as tables of runs show tags first.
TAGGED = {"ground_truth_share": 1.0}


class Job(NamedTuple):
    """Arguments of `Tracker.track`."""

    experiment: str
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    output_dir: Path


def pick_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics that are also logged as tags."""
    return {
        name: f"{metrics[name]:.4g}"
        for name, usual in TAGGED.items()
        if metrics.get(name, usual) != usual
    }


class Tracker(ABC):
    """Logs runs, so that they can be compared."""

    @abstractmethod
    def track(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        output_dir: Path,
    ) -> AbstractContextManager[None]:
        """Open a run; on exit, close it as FINISHED, FAILED (exception) or KILLED (Ctrl-C).

        Raises:
            ValueError: If the store rejects the run; an unreachable store is not an error.
        """

    @abstractmethod
    def find_finished(self, job: Job) -> dict[str, float] | None:
        """Return the metrics of a finished run with the job's tag `config_hash`, or None.

        In an open sweep, a run is created for the job with the metrics, times and files of the
        finished one; the files are copied to the job's folder.
        """

    @abstractmethod
    def add_failed(self, job: Job, error: Exception) -> None:
        """Add a failed run to the open sweep for a job that failed before it called `track`."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], tags: dict[str, str] | None = None) -> None:
        """Add metrics and tags to the open run."""

    @abstractmethod
    def log_artifacts(self, output_dir: Path) -> None:
        """Add all files in `output_dir` to the open run, except those of nested runs."""

    @abstractmethod
    def open_sweep(self, experiment: str, name: str, output_dir: Path) -> None:
        """Open the parent run of a sweep, before its first job.

        Args:
            experiment: Experiment of the parent run.
            name: Name of the parent run.
            output_dir: Folder that contains the jobs' folders.
        """

    @abstractmethod
    def load_jobs(self) -> "pd.DataFrame":
        """Return the jobs of the open sweep, in order.

        Returns:
            Columns `name`, `status`, `error` (one line, empty without an error), `link` (a
            placeholder in the sweep's note, to be replaced by the link to the run), `params.*` and
            the metrics.
        """

    @abstractmethod
    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """Close the parent run as FINISHED, FAILED or KILLED, with metrics, files and a note."""

    @abstractmethod
    def drop_sweep(self) -> None:
        """Delete the open sweep, which was rejected before its first job."""

    @abstractmethod
    def send_waiting(self) -> "pd.DataFrame":
        """Compare all recorded runs with the store, and send missing data.

        Returns:
            Columns `name`, `status`, `folder` and `outcome`, without runs that were sent before and
            are complete. Outcomes are "sent", "already there", "running", "not there" (sent before,
            but not in the store), "not compared" and "waiting", with the reason after a colon.

        Raises:
            ValueError: If there is no store.
        """

    @abstractmethod
    def describe(self) -> str | None:
        """Return the command that shows the runs, if there is one."""
