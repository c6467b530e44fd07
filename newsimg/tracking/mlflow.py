"""Runs in MLflow: single ones, and sweeps as a parent with a child for each job."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from newsimg.reporting.console import console
from newsimg.tracking.base import Tracker
from newsimg.tracking.params import shorten
from newsimg.tracking.processes import hold_interrupts
from newsimg.tracking.record import (
    RunRecord,
    create_record,
    edit_record,
    find_jobs,
    go_on,
    list_files,
    now,
    read_record,
    read_records,
    run_dir,
)
from newsimg.tracking.sender import RunSender
from newsimg.tracking.sync import close_dead_jobs, describe_error, send_all, send_each, tell_waiting
from newsimg.tracking.uri import check_address, check_no_password, hide_password

if TYPE_CHECKING:
    import pandas as pd

SWEEP_VARIABLE = "NEWSIMG_SWEEP_RECORD"  # tells the jobs of a sweep, in any process, of its run
PAUSE = 60.0  # seconds in which a sweep's jobs ask no store that did not answer
GRACE = 3.0  # seconds that the jobs of a sweep that was stopped may take to end with it


class MlflowTracker(Tracker):
    """Logs to an MLflow store: SQLite by default, or a tracking server.

    Every run is on disk, in its own folder, before any of it is sent, so that a store that fails
    stops no run and loses none: what it misses is sent at a sweep's end, or by `task=sync`.

    Args:
        uri: MLflow tracking URI, or None for MLFLOW_TRACKING_URI, and without it
            `<folder>/mlflow.db`.
        folder: Where runs are, and the SQLite store and its artifacts go.

    Raises:
        ValueError: If the URI is malformed, or `uri` holds a password, which would be written to
            the run's config.
    """

    def __init__(self, *, uri: str | None, folder: str) -> None:
        if uri is not None:
            check_no_password(uri)
        self.folder = Path(folder).expanduser().absolute()
        local = f"sqlite:///{self.folder / 'mlflow.db'}"
        self.uri: str = uri or os.environ.get("MLFLOW_TRACKING_URI") or local
        check_address(self.uri)
        self._sender = RunSender(uri=self.uri, folder=self.folder)
        self._record: Path | None = None
        self._warned = False
        self._known: dict[str, Path] | None = None

    @contextmanager
    def track(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        output_dir: Path,
    ) -> Iterator[None]:
        """See `Tracker.track`. A job of a sweep becomes a child of the sweep's run."""
        path = self._record = self._open(experiment, name, params, tags, output_dir)
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
            self._record = None
            with hold_interrupts() as held, edit_record(path) as record:
                record.end(status, now(), error)
            self._try(self._sender.send, path)
            if self._open_sweep is None:
                tell_waiting(self.folder, [path])
        if held:  # after the work was done, but before that was written down
            raise KeyboardInterrupt

    def find_finished(self, config_hash: str, output_dir: Path) -> dict[str, float] | None:
        """See `Tracker.find_finished`."""
        found = None if self._is_quiet else self._try_search(config_hash)
        record = found or self._search_disk(config_hash)
        if record is None:
            return None
        if self._sweep is not None:  # the open sweep's table lists it, too
            record.parent = os.path.relpath(self._sweep, output_dir)
            record.resumed = record.sent = True
            create_record(record, output_dir)
        return dict(record.metrics)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """See `Tracker.log_metrics`."""
        with edit_record(self._open_record) as record:
            _add_metrics(record, metrics)

    def log_artifacts(self, output_dir: Path) -> None:
        """See `Tracker.log_artifacts`."""
        with edit_record(self._open_record) as record:
            record.artifact_root = os.path.relpath(output_dir, run_dir(self._open_record))
            record.artifacts = list_files(output_dir)

    def open_sweep(self, experiment: str, name: str, output_dir: Path) -> None:
        """See `Tracker.open_sweep`."""
        path = self._open(experiment, name, {}, {"sweep": "parent"}, output_dir)
        os.environ[SWEEP_VARIABLE] = str(path)
        if self._warned:  # the jobs need not find it out again
            self._keep_quiet(path)

    def load_jobs(self) -> "pd.DataFrame":
        """See `Tracker.load_jobs`. Runs are known from their folders, whatever the store has."""
        import pandas as pd

        sweep = Path(os.environ[SWEEP_VARIABLE])
        close_dead_jobs(sweep, patience=0)
        return pd.DataFrame(
            [
                {"name": job.name, "status": job.status, "link": f"record:{job.record_id}"}
                | {f"params.{key}": value for key, value in job.params.items()}
                | job.metrics
                for _, job in find_jobs(sweep)
                if "report" not in job.tags  # it is of a split that nothing is chosen on
            ]
        )

    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """See `Tracker.close_sweep`. Sends what the store has missed of the jobs before.

        Jobs that run on, as those of a queue do, send themselves when they end.
        """
        sweep = Path(os.environ.pop(SWEEP_VARIABLE))
        with hold_interrupts(), edit_record(sweep) as record:  # which is about to end anyhow
            self._warned = self._warned or record.quiet_until > 0
            record.end(status, now(), "")
            _add_metrics(record, metrics)
            if output_dir is not None:
                record.artifact_root = os.path.relpath(output_dir, run_dir(sweep))
                record.artifacts = list_files(output_dir)
            if note:
                record.late_tags["mlflow.note.content"] = note
        n_running = close_dead_jobs(sweep, patience=0 if status == "FINISHED" else GRACE)
        jobs = find_jobs(sweep)
        waiting = [path for path, job in jobs if not job.sent and job.end_time] + [sweep]
        for _, _, error in send_each(self._sender, waiting):
            if error is not None:
                self._warn(error, None)
        tell_waiting(self.folder, waiting, n_running)

    def drop_sweep(self) -> None:
        """See `Tracker.drop_sweep`."""
        sweep = Path(os.environ[SWEEP_VARIABLE])
        if find_jobs(sweep) or not self._sender.delete(sweep):
            self.close_sweep("FAILED", {}, None, "")
        else:
            del os.environ[SWEEP_VARIABLE]
            sweep.unlink()

    def send_waiting(self) -> "pd.DataFrame":
        """See `Tracker.send_waiting`."""
        import pandas as pd

        rows = send_all(self._sender, self.folder)
        return pd.DataFrame(rows, columns=["name", "status", "folder", "outcome"])

    def describe(self) -> str | None:
        """See `Tracker.describe`."""
        if self._sender.is_remote:
            return f"# runs are on {hide_password(self.uri)}"
        return shlex.join(["mlflow", "ui", "--backend-store-uri", hide_password(self.uri)])

    @property
    def _open_record(self) -> Path:
        if self._record is None:
            raise ValueError("no run is open: log inside `track`")
        return self._record

    @property
    def _sweep(self) -> Path | None:
        sweep = os.environ.get(SWEEP_VARIABLE)
        return Path(sweep) if sweep else None

    @property
    def _open_sweep(self) -> RunRecord | None:
        """The record of the sweep that this is a job of, until it is closed."""
        record = read_record(self._sweep) if self._sweep else None
        return record if record and record.end_time is None else None

    @property
    def _is_quiet(self) -> bool:
        sweep = self._open_sweep  # after it nobody else sends what this one does not
        return sweep is not None and sweep.quiet_until > time.time()

    def _open(
        self,
        experiment: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        output_dir: Path,
    ) -> Path:
        record = RunRecord(
            experiment=experiment,
            name=name,
            params={key: shorten(value) for key, value in params.items()},
            tags=dict(tags),
            parent=os.path.relpath(self._sweep, output_dir) if self._sweep else None,
        )
        record.claim()
        path = go_on(record, output_dir, self._sweep) or create_record(record, output_dir)
        error = self._try(self._sender.open_run, path)
        if error is not None and self._sweep is None and not self._sender.is_outage(error):
            path.unlink()  # nothing has run yet: this is to be set right, not to be sent later
            raise self._refuse(error) from None
        return path

    def _try(self, send: Callable[[Path], object], path: Path) -> Exception | None:
        """Call `send` on a record; what comes of it is told and returned, and never raised."""
        if self._is_quiet:
            return None
        try:
            send(path)
        except Exception as error:
            if self._sender.is_outage(error) or self._sweep or read_record(path).end_time:
                self._warn(error, self._sweep)
            return error
        return None

    def _warn(self, error: Exception, sweep: Path | None) -> None:
        """Say once in a sweep, or else once, that runs are kept on disk for now."""
        told = self._warned
        if sweep is not None:
            told = self._keep_quiet(sweep) or told
        self._warned = True
        if not told:
            console.print(
                f"tracking: {hide_password(self.uri)} does not take runs now "
                f"({describe_error(error, self.uri)}); work goes on, runs are kept in their folders"
            )

    def _keep_quiet(self, sweep: Path) -> bool:
        """Let a sweep's jobs leave the store alone for a while; return whether they did before."""
        with edit_record(sweep) as record:
            before = record.quiet_until > 0
            record.quiet_until = time.time() + PAUSE
        return before

    def _refuse(self, error: Exception) -> ValueError:
        return ValueError(
            f"{hide_password(self.uri)} refuses runs: {describe_error(error, self.uri)}"
        )

    def _try_search(self, config_hash: str) -> RunRecord | None:
        try:
            return self._sender.find_finished(config_hash)
        except Exception as error:
            if self._sweep is None and not self._sender.is_outage(error):
                raise self._refuse(error) from None
            self._warn(error, self._sweep)
            return None

    def _search_disk(self, config_hash: str) -> RunRecord | None:
        """Find what the store did not tell of, as it does not answer or has not all of it."""
        if self._known is None:  # runs from before; those of this process are not looked for
            self._known = {
                record.tags["config_hash"]: path
                for path, record in read_records(self.folder)
                if record.status == "FINISHED"
                and "config_hash" in record.tags
                and not record.resumed
            }
        if config_hash not in self._known:
            return None
        path = self._known[config_hash]
        if not read_record(path).sent:
            self._try(self._sender.send, path)
        return read_record(path)


def _add_metrics(record: RunRecord, metrics: Mapping[str, float]) -> None:
    record.metrics |= {name: float(value) for name, value in metrics.items()}
    record.metrics_time = now()
