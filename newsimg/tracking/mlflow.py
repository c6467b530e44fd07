"""Log runs to MLflow: single runs, and sweeps as a parent run with a child for each job."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from newsimg.datatypes import Job
from newsimg.interfaces import Tracker
from newsimg.reporting.console import console
from newsimg.tracking import ui
from newsimg.tracking.background import choose_sender
from newsimg.tracking.params import shorten
from newsimg.tracking.processes import hold_interrupts
from newsimg.tracking.record import (
    SWEEP_VARIABLE,
    RunRecord,
    close_dead,
    create_record,
    edit_record,
    find_jobs,
    find_parent,
    find_records,
    go_on,
    list_files,
    read_record,
    run_dir,
)
from newsimg.tracking.resume import adopt_finished, index_finished, locate_files
from newsimg.tracking.sync import (
    close_dead_jobs,
    close_killed,
    describe_error,
    note_closed,
    note_open,
    send_all,
    send_each,
    tell_waiting,
)
from newsimg.tracking.uri import choose_uri, hide_password

if TYPE_CHECKING:
    import pandas as pd

PAUSE = 60.0  # seconds in which a sweep's jobs do not contact a store that was unreachable
GRACE = 3.0  # seconds to wait for the jobs of an interrupted sweep to end


class MlflowTracker(Tracker):
    """Logs to an MLflow store: SQLite by default, or a tracking server.

    A run is recorded in its own folder before it is sent. A failing store therefore neither stops
    nor loses a run; missing data is sent at the end of a sweep or by `task=sync`.

    Args:
        uri: MLflow tracking URI; None for MLFLOW_TRACKING_URI or, if that is not set,
            `<folder>/mlflow.db`.
        folder: Folder of the runs, the SQLite store and its artifacts.

    Raises:
        ValueError: If the URI is malformed, or `uri` contains a password, which would be written to
            the run's config.
    """

    def __init__(self, *, uri: str | None, folder: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.uri = choose_uri(uri, self.folder)
        self._sender = choose_sender(self.uri, self.folder)
        self._opening: Future[None] | None = None  # while a process beside opens the run
        self._awaiting = False
        self._refusal: ValueError | None = None
        self._record: Path | None = None
        self._last: Path | None = None  # the run that was opened last, be it closed or not
        self._warned = False
        self._known: dict[str, Path] | None = None

    @contextmanager
    def track(self, job: Job) -> Iterator[None]:
        """See `Tracker.track`; a job of a sweep becomes a child of the sweep's run.

        Raises:
            ValueError: If the store rejects the run; an unreachable store is not an error.
        """
        path = self._record = self._open(job, beside=True)
        status, error = "FINISHED", ""
        try:
            yield
            self._await_opening()
        except BaseException as exception:
            with hold_interrupts(), suppress(ValueError):
                self._await_opening()
            if self._refusal is not None:  # which interrupted the job
                raise self._refusal from None
            status, error = "FAILED", f"{type(exception).__name__}: {exception}"
            if isinstance(exception, KeyboardInterrupt):
                status, error = "KILLED", "interrupted"
            raise
        finally:
            self._record = None
            if self._refusal is None:
                held = self._close(path, status, error)
        if held:  # interrupted after the task, while the end was recorded
            raise KeyboardInterrupt

    def _close(self, path: Path, status: str, error: str) -> list[int]:
        """Record the end of a run and send it; return the signals received meanwhile."""
        with hold_interrupts() as held:
            with edit_record(path) as record:
                record.end(status, error=error)
            note_closed(self.folder, path)
        sent = self._sender.submit(self._try, self._sender.send, path)
        if self._open_sweep is None:  # else `close_sweep` waits for it
            sent.result()
            tell_waiting(self.folder, [path])
        return held

    def find_finished(self, job: Job) -> dict[str, float] | None:
        """See `Tracker.find_finished`.

        In an open sweep, a run is created for the job with the metrics, times and files of the
        finished one; the files are copied to the job's folder.
        """
        found = self._search_disk(job.tags["config_hash"]) or self._search_store(job)
        if found is None:
            return None
        if self._sweep is not None:
            record = adopt_finished(found, self._describe(job), job.output_dir)
            self._try(self._sender.send, create_record(record, job.output_dir))
        return dict(found.metrics)

    def add_failed(self, job: Job, error: Exception) -> None:
        """See `Tracker.add_failed`."""
        own = find_records(job.output_dir)
        if not any(find_parent(path, read_record(path)) == self._sweep for path in own):
            with suppress(type(error)), self.track(job):
                raise error

    def log_metrics(self, metrics: Mapping[str, float], tags: dict[str, str] | None = None) -> None:
        """See `Tracker.log_metrics`."""
        with edit_record(self._open_record) as record:
            record.add_metrics(metrics)
            record.late_tags |= tags or {}

    def log_artifacts(self, output_dir: Path) -> None:
        """See `Tracker.log_artifacts`."""
        with edit_record(self._open_record) as record:
            record.artifact_root = os.path.relpath(output_dir, run_dir(self._open_record))
            record.artifacts = list_files(output_dir)

    def open_sweep(
        self,
        experiment: str,
        name: str,
        output_dir: Path,
        objective: str | None = None,
        swept: Sequence[str] = (),
    ) -> None:
        """See `Tracker.open_sweep`."""
        tags = {ui.SWEEP_TAG: "parent"}
        tags |= {ui.OBJECTIVE_TAG: objective} if objective else {}
        tags |= {ui.SWEPT_TAG: " ".join(swept)} if swept else {}
        path = self._open(Job(experiment, name, {}, tags, output_dir))
        os.environ[SWEEP_VARIABLE] = str(path)
        if self._warned:  # so that the jobs do not repeat the warning
            self._keep_quiet(path)

    def load_jobs(self) -> "pd.DataFrame":
        """See `Tracker.load_jobs`; reads the records in the jobs' folders, not the store.

        Returns:
            Columns `name`, `status`, `error` (one line, empty without an error), `link` (a
            placeholder in the sweep's note, to be replaced by the link to the run), `params.*` and
            the metrics.
        """
        import pandas as pd

        sweep = Path(os.environ[SWEEP_VARIABLE])
        close_dead_jobs(sweep, patience=0)
        return pd.DataFrame(
            [
                {"name": job.name, "status": job.status, "link": f"record:{job.record_id}"}
                | {"error": " ".join(job.late_tags.get("error", "").split())}
                | {f"params.{key}": value for key, value in job.params.items()}
                | job.metrics
                for _, job in find_jobs(sweep)
                if "report" not in job.tags  # a run on a split that is not used for selection
            ]
        )

    def close_sweep(
        self, status: str, metrics: Mapping[str, float], output_dir: Path | None, note: str
    ) -> None:
        """See `Tracker.close_sweep`; sends the missing data of the jobs first.

        Jobs that are still running, e.g. in a queue, are sent when they end.
        """
        self._sender.submit(bool).result()  # after the jobs
        sweep = self._last = Path(os.environ.pop(SWEEP_VARIABLE))
        with hold_interrupts(), edit_record(sweep) as record:  # the process is about to end
            self._warned = self._warned or record.quiet_until > 0
            record.end(status)
            record.add_metrics(metrics)
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
        note_closed(self.folder, sweep)
        tell_waiting(self.folder, waiting, n_running)

    def drop_sweep(self) -> None:
        """See `Tracker.drop_sweep`."""
        sweep = Path(os.environ[SWEEP_VARIABLE])
        if find_jobs(sweep) or not self._sender.delete(sweep):
            self.close_sweep("FAILED", {}, None, "")
        else:
            del os.environ[SWEEP_VARIABLE]
            note_closed(self.folder, sweep)
            sweep.unlink()

    def send_waiting(self) -> "pd.DataFrame":
        """Compare all recorded runs with the store, and send missing data.

        Returns:
            Columns `name`, `status`, `folder` and `outcome`, without runs that were sent before and
            are complete. Outcomes are "sent", "already there", "running", "not there" (sent before,
            but not in the store), "not compared" and "waiting", with the reason after a colon.
        """
        import pandas as pd

        self._prepare()
        rows = send_all(self._sender, self.folder)
        return pd.DataFrame(rows, columns=["name", "status", "folder", "outcome"])

    def describe(self) -> dict[str, str]:
        """See `Tracker.describe`."""
        return ui.describe_page(self._last, self.uri, self.folder)

    @contextmanager
    def serve(self, port: int) -> Iterator[tuple[str, bool]]:
        """See `Tracker.serve`. A tracking server is there already."""
        latest = ui.find_latest(self.folder)
        if self._sender.is_remote:
            yield ui.link_record(latest, self.uri, ""), False
            return
        if latest is None:
            raise ValueError(f"folder must hold runs to show, got {self.folder}, which holds none")
        self._prepare()
        with ui.serve(self.uri, self.folder, port) as address:
            yield ui.link_record(latest, self.uri, address), True

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
        sweep = self._open_sweep  # a closed sweep no longer sends the data of its jobs
        return sweep is not None and sweep.quiet_until > time.time()

    def _describe(self, job: Job) -> RunRecord:
        return RunRecord(
            experiment=job.experiment,
            name=job.name,
            params={key: shorten(value) for key, value in job.params.items()},
            tags=dict(job.tags),
            parent=os.path.relpath(self._sweep, job.output_dir) if self._sweep else None,
        )

    def _prepare(self) -> None:
        try:
            self._sender.prepare()
        except Exception as error:
            if not self._sender.is_outage(error):
                raise self._refuse(error) from None

    def _open(self, job: Job, beside: bool = False) -> Path:
        """Record a new run and create it in the store, if possible `beside` what follows."""
        record = self._describe(job)
        record.claim()
        path = go_on(record, job.output_dir, self._sweep) or create_record(record, job.output_dir)
        self._last = path
        note_open(self.folder, path)
        if beside and self._sender.is_beside:
            self._awaiting, self._refusal = False, None
            self._opening = self._sender.submit(self._open_beside, path)
            return path
        try:
            self._create(path)
        except KeyboardInterrupt:  # if the store has the run, the next run sends its end
            with edit_record(path) as record:
                record.end("KILLED", error="interrupted")
            raise
        return path

    def _create(self, path: Path) -> None:
        """Create the run of a record in the store.

        Raises:
            ValueError: If the store rejects the run, whose record is deleted then.
        """
        error = self._try(self._sender.open_run, path)
        if error is not None and self._sweep is None and not self._sender.is_outage(error):
            path.unlink()  # nothing was computed yet, so the user can fix it and start again
            raise self._refuse(error) from None
        if error is None and self._sweep is None:
            tell_waiting(self.folder, close_killed(self.folder, self._send_dead))

    def _open_beside(self, path: Path) -> None:
        """Create the run while the main thread works; interrupt it if the store rejects the run."""
        try:
            self._create(path)
        except ValueError as error:
            self._refusal = error
            if not self._awaiting:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _await_opening(self) -> None:
        """Wait until the run is opened.

        Raises:
            ValueError: If the store rejects it.
        """
        self._awaiting = True
        if self._opening is not None:
            self._opening.result()
        if self._refusal is not None:
            raise self._refusal

    def _send_dead(self, path: Path) -> None:
        close_dead(path)
        self._try(self._sender.send, path)

    def _try(self, send: Callable[[Path], object], path: Path) -> Exception | None:
        """Call `send` on a record; report and return an error instead of raising it."""
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
        """Print once per sweep or process that runs are only recorded on disk."""
        told = self._warned
        if sweep is not None:
            told = self._keep_quiet(sweep) or told
        self._warned = True
        if not told:
            console.print(
                f"tracking: cannot send runs to {hide_password(self.uri)} "
                f"({describe_error(error, self.uri)}); runs continue and are recorded in their "
                "folders"
            )

    def _keep_quiet(self, sweep: Path) -> bool:
        """Stop a sweep's jobs from contacting the store for `PAUSE` s; return if done before."""
        with edit_record(sweep) as record:
            before = record.quiet_until > 0
            record.quiet_until = time.time() + PAUSE
        return before

    def _refuse(self, error: Exception) -> ValueError:
        return ValueError(
            f"{hide_password(self.uri)} rejects runs: {describe_error(error, self.uri)}"
        )

    def _search_disk(self, config_hash: str) -> RunRecord | None:
        """Find a finished run in the folder of runs, and send it if necessary."""
        if self._known is None:  # only runs finished before this process started
            self._known = index_finished(self.folder)
        path = self._known.get(config_hash)
        if path is None:
            return None
        self._try(self._sender.send, path)  # does nothing if the store is complete
        return locate_files(read_record(path), path)

    def _search_store(self, job: Job) -> RunRecord | None:
        """Find a finished run in the store; in a sweep, download its files to the job's folder."""
        if self._is_quiet:
            return None
        try:
            found = self._sender.find_finished(job.tags["config_hash"])
            if found is not None and self._sweep is not None:
                found.artifact_root = str(job.output_dir)
                found.artifacts = self._sender.fetch_files(str(found.run_id), job.output_dir)
            return found
        except Exception as error:
            if self._sweep is None and not self._sender.is_outage(error):
                raise self._refuse(error) from None
            self._warn(error, self._sweep)
            return None
