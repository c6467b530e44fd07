"""Hydra callback for sweeps: the parent run of the jobs."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from newsimg.datatypes import MAX_COMPARED, Job
from newsimg.interfaces import Tracker
from newsimg.launch.builder import get_builder
from newsimg.launch.errors import report
from newsimg.launch.job import GROUPS, list_objectives
from newsimg.launch.job_folders import open_sweep_folder
from newsimg.launch.presets import check_plugins, fatal
from newsimg.launch.resolvers import (
    find_choice,
    find_swept,
    is_sweeping,
    list_swept,
    note_swept,
    number_job,
    resolve_what_can_be,
)
from newsimg.tracking.params import list_params, name_run
from newsimg.tracking.processes import stop_with

if TYPE_CHECKING:
    from newsimg.reporting.sweep import OpenSweep

# The open sweep. Hydra creates the callback without giving access to it, and calls
# `on_multirun_end` only if no job failed; else `run.main` closes the sweep through this variable.
_current: "ContextVar[OpenSweep | None]" = ContextVar("current_sweep", default=None)


class SweepCallback(Callback):
    """Opens the parent run before the first job and closes it after the last.

    Args:
        n_compared: Number of the best jobs on the sweep's `compare.html`; 0 for no such page.

    Raises:
        ValueError: If `n_compared` is out of range.
    """

    process = -1  # the launching process
    swept: tuple[str, ...] = ()  # names of the swept overrides

    def __init__(self, *, n_compared: int) -> None:
        if n_compared != 0 and not 2 <= n_compared <= MAX_COMPARED:
            raise ValueError(
                f"hydra.callbacks.sweep.n_compared must be 0 or in [2, {MAX_COMPARED}], "
                f"got {n_compared}"
            )
        self.n_compared = n_compared

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop a job when its launcher's process ends, or on SIGTERM."""
        stop_with(self.process)
        note_swept(self.swept)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Store the folder that Hydra writes to, for error messages."""
        report.current.folder = config.hydra.run.dir

    @fatal()
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the tracking store and the parent run, once, in the launching process."""
        from newsimg.reporting.sweep import OpenSweep

        self.process = os.getpid()
        report.current.folder = config.hydra.sweep.dir
        check_plugins(config.hydra)
        builder = get_builder(tuple(config.trusted_packages), config.cache.dir)
        self.tracker: Tracker = builder.build(OmegaConf.to_container(config.tracking, resolve=True))
        overrides = [text for text in config.hydra.overrides.task if "," in text or "(" in text]
        name = " ".join(overrides or config.hydra.overrides.task) or "sweep"
        sweep_dir = open_sweep_folder(config)
        task = config.hydra.runtime.choices.task
        objective = next(iter(list_objectives(config.objective, task)), None)
        self.swept = tuple(list_swept(config.hydra))
        self.tracker.open_sweep(config.data.name, name[:250], sweep_dir, objective, self.swept)
        _current.set(OpenSweep(self.tracker, objective, sweep_dir, self.n_compared))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record a job that failed before its run was opened."""
        if job_return.status is not JobStatus.FAILED:
            return
        job_return.__class__ = report.FailedJob
        if not is_sweeping():
            return
        error = job_return._return_value
        error.__dict__[report.JOB] = config.hydra.job.num
        if self.process == os.getpid():  # other processes are reported at the end
            report.current.tell(error)
        assert job_return.cfg is not None
        values = resolve_what_can_be(job_return.cfg)
        choices = {group: find_choice(group) for group in GROUPS}
        swept = find_swept()
        job = Job(
            str(values["data"].get("name")),
            name_run(values, choices, swept),
            list_params(values, choices, swept),
            number_job(),
            Path(config.hydra.runtime.output_dir),
        )
        self.tracker.add_failed(job, error)

    @fatal()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close the sweep after all jobs finished."""
        close_sweep("FINISHED")


def close_sweep(status: str) -> None:
    """Summarise the open sweep, if any, and close its run."""
    if sweep := _take_current():
        sweep.close(status)


def drop_sweep() -> None:
    """Delete the run of the open sweep, if any, which was rejected before its first job."""
    if sweep := _take_current():
        sweep.tracker.drop_sweep()


def _take_current() -> "OpenSweep | None":
    sweep = _current.get()
    _current.set(None)  # closed once, even on errors
    return sweep
