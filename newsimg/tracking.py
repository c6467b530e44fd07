"""Runs in MLflow: single ones, and sweeps as a parent with a child for each job."""

import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import filelock

from newsimg.interfaces import Tracker

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

PARENT_RUN_VARIABLE = "NEWSIMG_PARENT_RUN_ID"
MAX_PARAM_LENGTH = 500  # longer values are read in the resolved config, among the artifacts
EXPERIMENT_KIND = "custom_model_development"  # the UI then opens on runs, not on chat traces
BATCH = 100  # MLflow takes no more params in one request


class MlflowTracker(Tracker):
    """Logs to an MLflow store: SQLite by default, or a tracking server.

    Args:
        uri: MLflow tracking URI, or None for `<folder>/mlflow.db`.
        folder: Where the SQLite store and its artifacts go.
    """

    def __init__(self, *, uri: str | None, folder: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.uri = uri or f"sqlite:///{self.folder / 'mlflow.db'}"
        self._run_id: str | None = None

    @contextmanager
    def track(
        self, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Iterator[None]:
        """See `Tracker.track`. A job of a sweep becomes a child of the sweep's run."""
        parent = os.environ.get(PARENT_RUN_VARIABLE)
        self._run_id = self._create_run(experiment, name, params, tags, parent)
        status, error = "FINISHED", ""
        try:
            yield
        except KeyboardInterrupt:
            status, error = "KILLED", "interrupted"
            raise
        except BaseException as exception:
            status, error = "FAILED", f"{type(exception).__name__}: {exception}"
            raise
        finally:
            if error:
                self._client.set_tag(self._run_id, "error", error[:5000])
            self._client.set_terminated(self._run_id, status)
            self._run_id = None

    def find_finished(self, config_hash: str) -> dict[str, float] | None:
        """See `Tracker.find_finished`."""
        found = self._search(
            f"tags.config_hash = '{config_hash}' and attributes.status = 'FINISHED'"
        )
        if not found:
            return None
        if parent := os.environ.get(PARENT_RUN_VARIABLE):  # the open sweep's table lists it, too
            self._client.set_tag(found[0].info.run_id, f"resumed_in.{parent}", "true")
        return dict(found[0].data.metrics)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """See `Tracker.log_metrics`."""
        self._log_metrics(self._open_run, metrics)

    def log_artifacts(self, output_dir: Path) -> None:
        """See `Tracker.log_artifacts`."""
        self._client.log_artifacts(self._open_run, str(output_dir))

    def open_sweep(self, experiment: str, name: str) -> None:
        """See `Tracker.open_sweep`."""
        parent = self._create_run(experiment, name, {}, {"sweep": "parent"}, None)
        os.environ[PARENT_RUN_VARIABLE] = parent

    def load_jobs(self) -> "pd.DataFrame":
        """See `Tracker.load_jobs`."""
        import pandas as pd

        parent = os.environ[PARENT_RUN_VARIABLE]
        runs = self._search(f"tags.`resumed_in.{parent}` = 'true'")
        runs += self._search(f"tags.`mlflow.parentRunId` = '{parent}'")
        return pd.DataFrame(
            [
                {
                    "name": run.info.run_name,
                    "status": run.info.status,
                    "link": f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
                }
                | {f"params.{key}": value for key, value in run.data.params.items()}
                | run.data.metrics
                for run in runs
                if "report" not in run.data.tags  # it is of a split that nothing is chosen on
            ]
        )

    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """See `Tracker.close_sweep`."""
        parent = os.environ.pop(PARENT_RUN_VARIABLE)
        self._log_metrics(parent, metrics)
        if output_dir is not None:
            self._client.log_artifacts(parent, str(output_dir))
        if note:
            self._client.set_tag(parent, "mlflow.note.content", note)
        self._client.set_terminated(parent, status)

    def describe(self) -> str | None:
        """See `Tracker.describe`."""
        if self._is_remote:
            return f"# runs are on {self.uri}"
        return shlex.join(["mlflow", "ui", "--backend-store-uri", self.uri])

    @property
    def _is_remote(self) -> bool:
        return urlparse(self.uri).scheme in ("http", "https")

    @property
    def _client(self) -> "MlflowClient":
        # Made anew each time: launchers pickle this object, and MLflow keeps the store itself.
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # they announce every table they create
            logging.getLogger(name).setLevel(logging.WARNING)
        return MlflowClient(self.uri)

    @property
    def _open_run(self) -> str:
        if self._run_id is None:
            raise ValueError("no run is open: log inside `track`")
        return self._run_id

    def _search(self, condition: str) -> list[Any]:
        client = self._client
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs: list[Any] = []
        token = None
        while True:
            page = client.search_runs(
                experiments,
                filter_string=condition,
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _create_run(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
    ) -> str:
        from mlflow.entities import Param

        experiment_id = self._get_or_create_experiment(experiment)
        client = self._client
        family = {"mlflow.parentRunId": parent} if parent else {}
        run_id = client.create_run(
            experiment_id, run_name=name, tags={**tags, **family, "mlflow.source.name": "newsimg"}
        ).info.run_id
        values = [Param(key, _shorten(value)) for key, value in params.items()]
        for start in range(0, len(values), BATCH):
            client.log_batch(run_id, params=values[start : start + BATCH])
        return run_id

    def _get_or_create_experiment(self, name: str) -> str:
        if self._is_remote:
            return self._find_experiment(name, None)
        # Processes that create the schema or an experiment at once would trip over each other.
        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder / ".mlflow.lock"):
            return self._find_experiment(name, (self.folder / "mlartifacts").as_uri())

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        client = self._client
        if found := client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return client.create_experiment(
                name, artifact_location=artifacts, tags={"mlflow.experimentKind": EXPERIMENT_KIND}
            )
        except MlflowException:
            if found := client.get_experiment_by_name(name):  # another process was first
                return found.experiment_id
            raise

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
        self._client.log_batch(run_id, metrics=values)


class NullTracker(Tracker):
    """Remembers nothing; the run's folder is all there is."""

    def find_finished(self, config_hash: str) -> dict[str, float] | None:
        """See `Tracker.find_finished`."""
        return None

    @contextmanager
    def track(
        self, experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Iterator[None]:
        """See `Tracker.track`."""
        yield

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """See `Tracker.log_metrics`."""

    def log_artifacts(self, output_dir: Path) -> None:
        """See `Tracker.log_artifacts`."""

    def open_sweep(self, experiment: str, name: str) -> None:
        """See `Tracker.open_sweep`."""

    def load_jobs(self) -> "pd.DataFrame":
        """See `Tracker.load_jobs`."""
        import pandas as pd

        return pd.DataFrame()

    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """See `Tracker.close_sweep`."""

    def describe(self) -> str | None:
        """See `Tracker.describe`."""
        return None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested config values into `group.name: value`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_PARAM_LENGTH else "long: see config.yaml among the artifacts"
