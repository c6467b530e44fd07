"""The entry point: open a job, instantiate its components, run its task, close it."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from newsimg.interfaces import Backbone, Components, Dataset, Index, Reranker, Task, Weight
from newsimg.launch.composed_before import reuse_configs
from newsimg.launch.errors.flags import check_flags
from newsimg.launch.errors.origin import mark_origin
from newsimg.launch.errors.report import report_errors
from newsimg.launch.job import open_job
from newsimg.launch.optuna.sweeper import OptunaSweeper
from newsimg.launch.presets import register_missing_launchers, register_plugin, was_refused
from newsimg.launch.ray_launcher import RayLauncher
from newsimg.launch.resolvers import register_resolvers
from newsimg.launch.sweep_callback import close_sweep, drop_sweep
from newsimg.launch.version import describe_versions
from newsimg.reporting.quoting import quote_headline
from newsimg.reporting.status import show_status
from newsimg.storage.files import CONF_DIR
from newsimg.tracking.background import allow_background
from newsimg.tracking.processes import leave_orphaned

register_resolvers()
# Imports create objects that stay; collecting after every 700 of them takes a tenth of a run.
GC_THRESHOLD = 50_000


def run(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job.

    Returns:
        The value of `objective` in a sweep, or several values, for Hydra's sweepers; otherwise
        None.

    Raises:
        ValueError: If a value of the config is invalid.
    """
    job = open_job(cfg)
    if (finished := job.find_finished()) is not None:
        return job.report(finished, finished_before=True)
    build, config = job.builder.build, job.config
    with job.track():
        dataset: Dataset = build(config["data"])
        backbone: Backbone = build(config["backbone"])
        index: Index = build(config["index"])
        reranker: Reranker = build(config["reranker"])
        weight: Weight = build(config["weight"])
        task: Task = build(config["task"])
        shared, top_k = job.builder.shared, config["top_k"]
        components = Components(dataset, backbone, index, reranker, weight, top_k, shared=shared)
        metrics = job.work(task, components)
    return job.report(metrics, finished_before=False)


def run_job(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job in the process of any launcher; see `run`."""
    try:
        return run(cfg)
    except Exception as error:
        mark_origin(error, cfg.trusted_packages)
        raise
    finally:
        leave_orphaned()


def main() -> None:
    """Run the command line."""
    if "--version" in sys.argv[1:]:
        print(describe_versions())
        return
    gc.set_threshold(GC_THRESHOLD)
    logging.captureWarnings(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # avoids a warning in forked processes
    # Model threads that busy-wait would slow down the decoding threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Schedulers send SIGTERM before they kill: runs are closed as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not {"-m", "--multirun"} & set(
        sys.argv
    ):  # in a sweep, commas may separate several headlines
        sys.argv[1:] = map(quote_headline, sys.argv[1:])
    register_missing_launchers()
    for plugin in (OptunaSweeper, RayLauncher):
        register_plugin(plugin)
    app = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(run_job)
    with allow_background(), reuse_configs():
        run_app(app)


def run_app(app: Callable[[], None]) -> None:
    """Run Hydra's application, and close the sweep if there is one."""
    status = "FAILED"
    try:
        with report_errors(), show_status(sys.argv[1:]):
            check_flags(sys.argv[1:])
            app()
    except KeyboardInterrupt:
        status = "KILLED"
        print("stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        if was_refused(sys.exc_info()[1]):
            drop_sweep()
        else:
            close_sweep(status)  # Hydra calls on_multirun_end only if no job failed


def search() -> None:
    """Run the command line with task=search, without tracking unless it is configured."""
    if not any(argument.startswith("tracking=") for argument in sys.argv[1:]):
        sys.argv.insert(1, "tracking=none")
    sys.argv.insert(1, "task=search")
    main()


def judge() -> None:
    """Run the command line with task=judge."""
    sys.argv.insert(1, "task=judge")
    main()


def ui() -> None:
    """Run the command line with task=ui; --no-browser means task.open=false."""
    options = {"--no-browser": "task.open=false"}
    sys.argv[1:] = ["task=ui", *(options.get(text, text) for text in sys.argv[1:])]
    main()


if __name__ == "__main__":
    main()
