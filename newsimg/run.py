"""The entry point: compose a config, instantiate its components, run the task, track it."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from newsimg.interfaces import (
    Backbone,
    Components,
    Dataset,
    Index,
    Reranker,
    Task,
    Weight,
)
from newsimg.launch.builder import check_shortcuts, get_builder
from newsimg.launch.gpus import VISIBLE
from newsimg.launch.job_folders import open_job_folder, open_sweep_folder
from newsimg.launch.job_hash import hash_config
from newsimg.launch.objectives import choose_objectives, list_objectives, unpack
from newsimg.launch.optuna_sweeper import OptunaSweeper
from newsimg.launch.presets import (
    check_plugins,
    fatal,
    register_plugin,
    rename_schemas,
    was_refused,
)
from newsimg.launch.ray_launcher import RayLauncher
from newsimg.launch.resolvers import (
    find_choice,
    is_sweeping,
    keep_own_weight,
    number_job,
    register_resolvers,
    resolve_what_can_be,
)
from newsimg.pipeline import forget
from newsimg.reporting.quoting import quote_headline
from newsimg.storage.files import CONF_DIR
from newsimg.tracking.base import Job, Tracker
from newsimg.tracking.params import list_params, name_run
from newsimg.tracking.processes import leave_orphaned, stop_with

if TYPE_CHECKING:
    from newsimg.reporting.sweep import OpenSweep

NO_TRACKING = {"_target_": "newsimg.tracking.none.NullTracker"}
NEEDED = "store/needed"  # measured where it is sought
PARTS = "data backbone index llm vlm prompt criteria engine reranker weight task tracking"
GROUPS = tuple(PARTS.split())
register_resolvers()


def run(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job.

    Returns:
        In a sweep the metric that `objective` names, or the metrics, for Hydra's sweepers;
        otherwise, and if it is null, None.

    Raises:
        ValueError: If a value of the config is not what its component expects.
    """
    from newsimg.reporting.console import muted, print_job, print_outcome

    keep_own_weight(cfg)
    config: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        cfg, resolve=True, throw_on_missing=True
    )
    builder = get_builder(tuple(config["trusted_packages"]), config["store"]["dir"])
    hydra_config = HydraConfig.get()
    sweeping = is_sweeping()
    # A single run looks for nothing.
    sought = list_objectives(config["objective"]) if sweeping else []
    output_dir = open_job_folder(hydra_config, config["folder"])
    choices = {group: find_choice(group) for group in GROUPS}
    check_shortcuts(config, choices["task"])
    if not isinstance(config["weight"]["value"], int | float):
        raise ValueError(f"weight.value must be in [0, 1], got {config['weight']['value']!r}")
    params, name = list_params(config, choices), name_run(config, choices)
    tags = {group: str(params[group]) for group in ("backbone", "reranker", "weight")}

    kind = builder.find_class(config["task"]["_target_"])
    tracked = getattr(kind, "tracked", True)
    tracker: Tracker = builder.build(config["tracking"] if tracked else NO_TRACKING)
    tags |= config["tags"] | {"config_hash": hash_config(config)} | number_job()
    if VISIBLE in hydra_config.job.env_set:
        tags["gpu"] = os.environ[VISIBLE]
    job = Job(config["data"]["name"], name, params, tags, output_dir)
    finished = tracker.find_finished(job) if config["resume"] else None
    if finished is not None:
        objectives = choose_objectives(finished, sought)
        print_job("finished before", objectives)
        return unpack(objectives)
    with tracker.track(*job):
        dataset: Dataset = builder.build(config["data"])
        backbone: Backbone = builder.build(config["backbone"])
        index: Index = builder.build(config["index"])
        reranker: Reranker = builder.build(config["reranker"])
        weight: Weight = builder.build(config["weight"])
        task: Task = builder.build(config["task"])
        components = Components(dataset, backbone, index, reranker, weight, config["top_k"])
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (output_dir / "config.yaml").write_text(text, encoding="utf-8")
        builder.release_unused()
        builder.store.reset_counts()
        if NEEDED in sought:
            forget()  # what the jobs before it hold in memory would not be asked for
        try:
            with muted(sweeping):
                metrics = task.run(components, output_dir) | builder.store.counts
        finally:
            tracker.log_artifacts(output_dir)  # also of a run that fails: it may say why
        if NEEDED in sought:
            metrics[NEEDED] = builder.store.n_needed
        builder.store.settle()
        counts = {n: f"{v:.0f}" for n, v in metrics.items() if n.startswith("data/")}
        tracker.log_metrics(metrics, counts)
        objectives = choose_objectives(metrics, sought)
    if sweeping:
        print_job(str(output_dir), objectives)
    else:
        print_outcome(output_dir, tracker.describe())
    return unpack(objectives)


def run_job(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job, in any process that a launcher has it run in; see `run`."""
    try:
        return run(cfg)
    finally:
        leave_orphaned()


class SweepCallback(Callback):
    """Opens a sweep's run before its first job, and closes it after the last."""

    process = -1  # that the jobs come from

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let a job end as its launcher's process does, or when a scheduler wants it to."""
        stop_with(self.process)

    @fatal()
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the store and the parent run, once, in the process that all jobs come from."""
        global OPEN_SWEEP
        from newsimg.reporting.sweep import OpenSweep

        self.process = os.getpid()
        check_plugins(config.hydra)
        builder = get_builder(tuple(config.trusted_packages), config.store.dir)
        self.tracker: Tracker = builder.build(OmegaConf.to_container(config.tracking, resolve=True))
        overrides = [text for text in config.hydra.overrides.task if "," in text or "(" in text]
        name = " ".join(overrides or config.hydra.overrides.task) or "sweep"
        sweep_dir = open_sweep_folder(config)
        self.tracker.open_sweep(config.data.name, name[:250], sweep_dir)
        objective = next(iter(list_objectives(config.objective)), None)
        OPEN_SWEEP = OpenSweep(self.tracker, objective, sweep_dir)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Count a job of a sweep that failed before its run was opened, in the job's process."""
        if job_return.status is not JobStatus.FAILED or not is_sweeping():
            return
        assert job_return.cfg is not None
        values = resolve_what_can_be(job_return.cfg)
        choices = {group: find_choice(group) for group in GROUPS}
        job = Job(
            str(values["data"].get("name")),
            name_run(values, choices),
            list_params(values, choices),
            number_job(),
            Path(config.hydra.runtime.output_dir),
        )
        self.tracker.add_failed(job, job_return._return_value)

    @fatal()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close the sweep whose jobs have all finished."""
        close_sweep("FINISHED")


OPEN_SWEEP: "OpenSweep | None" = None


def close_sweep(status: str) -> None:
    """Write the summary of the sweep that is open, if one is, and close its run."""
    global OPEN_SWEEP
    sweep, OPEN_SWEEP = OPEN_SWEEP, None
    if sweep is not None:
        sweep.close(status)


def drop_sweep() -> None:
    """Let the sweep that is open leave no run: it was refused before its first job."""
    global OPEN_SWEEP
    sweep, OPEN_SWEEP = OPEN_SWEEP, None
    if sweep is not None:
        sweep.tracker.drop_sweep()


def main() -> None:
    """Run the command line."""
    logging.captureWarnings(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forking launchers would be warned
    # Threads of the model that wait by spinning would take the cores from those that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What a scheduler sends before it kills: runs are closed as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not {"-m", "--multirun"} & set(sys.argv):  # a sweep may be over several headlines
        sys.argv[1:] = map(quote_headline, sys.argv[1:])
    for plugin in (OptunaSweeper, RayLauncher):
        register_plugin(plugin)
    rename_schemas(CONF_DIR)
    app = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(run_job)
    status = "FAILED"
    try:
        app()
    except KeyboardInterrupt:
        status = "KILLED"
        print("stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        if was_refused(sys.exc_info()[1]):
            drop_sweep()
        else:
            close_sweep(status)  # Hydra ends a sweep by its callback only if no job failed


def search() -> None:
    """Run the command line with task=search, which keeps no run unless it is told to."""
    if not any(argument.startswith("tracking=") for argument in sys.argv[1:]):
        sys.argv.insert(1, "tracking=none")
    sys.argv.insert(1, "task=search")
    main()


if __name__ == "__main__":
    # The sweep's callback imports this module by its name, and would else see another OPEN_SWEEP.
    from newsimg.run import main as main_of_module

    main_of_module()
