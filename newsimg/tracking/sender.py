"""Send records of runs to MLflow; repeated attempts create each run exactly once."""

import logging
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import filelock

from newsimg.tracking.database import prepare_database
from newsimg.tracking.difference import has_end, has_stale_error, has_values, list_artifacts
from newsimg.tracking.record import (
    RECORDS,
    RunRecord,
    edit_record,
    find_jobs,
    find_parent,
    read_record,
    run_dir,
)
from newsimg.tracking.resume import check_inside, is_own
from newsimg.tracking.ui import SWEEP_TAG, delete_view, share_view
from newsimg.tracking.uri import hide_password, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)
T = TypeVar("T")

RECORD_TAG = "newsimg.record"  # identifies a run if the response to its creation was lost
EXPERIMENT_KIND = "custom_model_development"  # the UI then opens on runs, not on chat traces
BATCH = 100  # MLflow's limit of params per request
# MLflow's own retries may create a run twice and by default take minutes; unsent data is kept on
# disk and sent later instead.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the URL contains the password
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would contact another host in every run
}
for name, value in SETTINGS.items():  # MLflow reads them when it is imported
    os.environ.setdefault(name, value)
OUTAGES = (408, 429)  # and from 500: retryable status codes


class RunSender:
    """Completes the runs in an MLflow store from their records on disk.

    Args:
        uri: URI of the store, a tracking server or a database.
        folder: Folder of the artifacts, if the store is a database.
    """

    def __init__(self, *, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self._prepared_in = 0  # launchers pickle this object

    is_beside = False
    """Whether `submit` returns before the function has ended."""

    def submit(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """Call a function that sends runs, after earlier ones; its errors are raised here."""
        future: Future[T] = Future()
        future.set_result(function(*args))
        return future

    @property
    def is_remote(self) -> bool:
        """Whether the store is a server."""
        return is_server(self.uri)

    def prepare(self) -> None:
        """Configure MLflow's logging, and prepare the database if the store is one.

        Raises:
            ValueError: If the file is not a database, or the server rejects the login.
            sqlalchemy.exc.OperationalError: If the server does not respond.
        """
        if self._prepared_in == os.getpid():
            return
        import mlflow  # noqa: F401  # sets the log levels that are changed below

        # They log every created table and every failed request.
        for name, level in (("mlflow", logging.CRITICAL), ("alembic", logging.WARNING)):
            logging.getLogger(name).setLevel(level)
        if not self.is_remote:
            prepare_database(self.uri, self.folder / "mlartifacts")
        self._prepared_in = os.getpid()

    def open_run(self, path: Path) -> None:
        """Create the run of a record with its params, or reopen it."""
        with edit_record(path) as record:
            known = record.run_id is not None
            run_id = self._ensure_run(path, record)
            if known:
                self._client.update_run(run_id, status=record.status)

    def send(self, path: Path) -> bool:
        """Send the data of a record that is missing in the store, regardless of earlier attempts.

        A run that has not ended is only created.

        Returns:
            Whether data was missing.
        """
        with edit_record(path) as record:
            run_id = self._ensure_run(path, record)
            if record.end_time is None:
                return False
            run = self._client.get_run(run_id)
            if run.info.lifecycle_stage == "deleted":
                if not record.sent:
                    command = ["runs", "restore", "--run-id", run_id]
                    self._refuse_deleted(f"run {record.name!r}", command)
                return False  # a user deleted the complete run
            missing = set(record.artifacts)
            if has_end(run, record):  # sent last, so the files are complete
                missing -= list_artifacts(self._client, run_id)
                if not missing and has_values(run, record):
                    record.sent = True
                    return False
            self._complete(path, record, run, sorted(missing))
            record.sent = True
            return True

    def answers(self) -> bool:
        """Return whether the store responds, as some errors concern a single run."""
        try:
            self._client.search_experiments(max_results=1)
        except Exception:
            return False
        return True

    def delete(self, path: Path) -> bool:
        """Delete the run of a record in the store; return whether it is certainly deleted."""
        record = read_record(path)
        try:
            if record.run_id is not None:
                self._client.delete_run(record.run_id)
                if SWEEP_TAG in record.tags:
                    delete_view(self._client, str(record.experiment_id), record.run_id)
        except Exception:
            return False
        return record.run_id is not None or not record.attempted

    def search(self, condition: str) -> list[Any]:
        """Return the runs of all experiments that match a filter, oldest first."""
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

    def find_finished(self, config_hash: str) -> RunRecord | None:
        """Return the oldest finished run with the tag `config_hash`, or None."""
        found = self.search(
            f"tags.config_hash = '{config_hash}' and attributes.status = 'FINISHED'"
        )
        if not found:
            return None
        info, data = found[0].info, found[0].data
        return RunRecord(
            experiment="",
            name=info.run_name,
            params=dict(data.params),
            tags=dict(data.tags),
            metrics=dict(data.metrics),
            status=info.status,
            start_time=info.start_time,
            end_time=info.end_time,
            metrics_time=info.end_time,
            experiment_id=info.experiment_id,
            run_id=info.run_id,
            sent=True,
        )

    def fetch_files(self, run_id: str, folder: Path) -> list[str]:
        """Download a run's files to a job's folder, but for `is_own`; return their paths."""
        from mlflow.artifacts import download_artifacts

        client, waiting = self._client, [""]
        names: list[str] = []
        while waiting:
            for entry in client.list_artifacts(run_id, waiting.pop()):
                (waiting if entry.is_dir else names).append(entry.path)
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder / RECORDS) as whole:
            for name in names:
                check_inside(folder, name)
                if not is_own(folder, name):
                    found = download_artifacts(  # written without the folders of its name
                        run_id=run_id, artifact_path=name, dst_path=whole, tracking_uri=self.uri
                    )
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    Path(found).replace(folder / name)
        return names

    def is_outage(self, error: BaseException) -> bool:
        """Return whether an error is an outage of the store, not a rejected request."""
        import requests
        from mlflow.exceptions import InvalidUrlException, MlflowException
        from sqlalchemy.exc import OperationalError

        if isinstance(error, InvalidUrlException):
            return False
        if isinstance(error, MlflowException):
            status = error.get_http_status_code()
            # Without a server, 500 is used for any other error, such as an unknown scheme.
            return status in OUTAGES or (status >= 500 and self.is_remote) or status == 503
        if isinstance(error, requests.HTTPError) and error.response is not None:
            status = error.response.status_code
            return status in OUTAGES or status >= 500
        return isinstance(error, requests.RequestException | OperationalError)

    def is_missing(self, error: BaseException) -> bool:
        """Return whether an error means that the store does not have the run."""
        return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"

    def _ensure_run(self, path: Path, record: RunRecord) -> str:
        if record.run_id is None:
            record.run_id = self._create_run(path, record)
        if not record.described:
            self._log_params(record.run_id, record.params)
            if SWEEP_TAG in record.tags:
                share_view(self._client, str(record.experiment_id), record.run_id, record.tags)
            record.described = True
        return record.run_id

    def _create_run(self, path: Path, record: RunRecord) -> str:
        family = {}
        if sweep := find_parent(path, record):
            with edit_record(sweep) as parent:
                family["mlflow.parentRunId"] = self._ensure_run(sweep, parent)
        record.experiment_id = self._get_or_create_experiment(record.experiment)
        if record.attempted:
            found = self.search(f"tags.`{RECORD_TAG}` = '{record.record_id}'")
            if found:
                return found[0].info.run_id
        record.attempted = True
        tags = family | {RECORD_TAG: record.record_id, "mlflow.source.name": "newsimg"}
        return self._client.create_run(
            record.experiment_id,
            start_time=record.start_time,
            run_name=record.name,
            tags=record.tags | tags,
        ).info.run_id

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        client = self._client
        values = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(values), BATCH):
            client.log_batch(run_id, params=values[start : start + BATCH])

    def _complete(
        self, path: Path, record: RunRecord, run: "Run", artifacts: Sequence[str]
    ) -> None:
        """Send data that can be sent repeatedly, and the run's final status last."""
        from mlflow.entities import Metric

        client, run_id = self._client, str(record.run_id)
        if not set(record.params) <= set(run.data.params):
            self._log_params(run_id, record.params)
        # With the same timestamp, repeated values are stored once.
        metrics = [
            Metric(key, value, record.metrics_time, 0) for key, value in record.metrics.items()
        ]
        client.log_batch(run_id, metrics=metrics)
        root = run_dir(path) / record.artifact_root
        for name in artifacts:
            if not (root / name).exists():
                log.warning("%s was deleted and is not sent", root / name)
                record.artifacts = [known for known in record.artifacts if known != name]
                continue
            folder = Path(name).parent.as_posix()
            client.log_artifact(run_id, str(root / name), None if folder == "." else folder)
        there = run.data.tags
        for key, text in (record.tags | record.late_tags).items():
            # Tags of a run with a final status may have been edited by a user.
            if key not in there or (there[key] != text and not has_end(run, record)):
                client.set_tag(run_id, key, link_runs(text, path))
        if has_stale_error(run, record):
            client.delete_tag(run_id, "error")
        client.set_terminated(run_id, record.status, record.end_time)

    def _get_or_create_experiment(self, name: str) -> str:
        if self.is_remote:
            return self._find_experiment(name, None)
        # Processes that create the schema or an experiment at the same time would conflict.
        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder / ".mlflow.lock"):
            return self._find_experiment(name, (self.folder / "mlartifacts").as_uri())

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        client = self._client
        if found := client.get_experiment_by_name(name):
            if found.lifecycle_stage == "deleted":
                command = ["experiments", "restore", "--experiment-id", found.experiment_id]
                self._refuse_deleted(f"experiment {name!r}", command)
            return found.experiment_id
        try:
            return client.create_experiment(
                name, artifact_location=artifacts, tags={"mlflow.experimentKind": EXPERIMENT_KIND}
            )
        except MlflowException:
            if found := client.get_experiment_by_name(name):  # created by another process
                return found.experiment_id
            raise

    @property
    def _client(self) -> "MlflowClient":
        self.prepare()
        from mlflow import MlflowClient

        # Created on each access, as this object is pickled; MLflow caches the store.
        return MlflowClient(self.uri)

    def _refuse_deleted(self, what: str, command: list[str]) -> None:
        where = shlex.quote(hide_password(self.uri))
        restore = f"MLFLOW_TRACKING_URI={where} mlflow {shlex.join(command)}"
        raise ValueError(f"the {what} was deleted in MLflow; to restore it: {restore}")


def link_runs(text: str, sweep: Path) -> str:
    """Replace every `record:ID` by the link to the job's run in MLflow's UI."""
    if "record:" not in text:
        return text
    links = {
        job.record_id: f"#/experiments/{job.experiment_id}/runs/{job.run_id}"
        for _, job in find_jobs(sweep)
        if job.run_id
    }
    return re.sub(r"record:([0-9a-f]{32})", lambda match: links.get(match[1], ""), text)


def explain(error: BaseException | str) -> str:
    """Return an error as one short line; responses of a server may be HTML pages."""
    text = " ".join(re.sub(r"<[^<>]*>", " ", str(error)).split())
    if "Connection refused" in text:
        return "connection refused"
    if "timed out" in text.lower():
        return "no answer in time"
    # Drop the SQL and the link to the documentation, and keep the cause that libraries name.
    text = text.partition("[SQL:")[0].partition("(Background on this error")[0].strip()
    if cause := re.search(r"""Caused by \w+\((["'])(.*)\1""", text):
        text = cause[2]
    return text if len(text) <= 600 else f"{text[:300]} ... {text[-290:]}"
