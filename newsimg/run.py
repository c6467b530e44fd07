"""The entry point: compose a config, instantiate its components, run the task, track it."""

import json
import logging
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from newsimg.interfaces import (
    Backbone,
    Components,
    Dataset,
    Index,
    Reranker,
    Task,
    VisionLanguageModel,
    Weight,
)
from newsimg.launch.allowed import check_arguments, check_component, check_package, check_shortcuts
from newsimg.launch.gpus import VISIBLE
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
from newsimg.launch.resolvers import is_sweeping, register_resolvers
from newsimg.pipeline import forget
from newsimg.reporting.quoting import quote_headline
from newsimg.storage.files import PACKAGE_DIR
from newsimg.tracking.base import Tracker
from newsimg.tracking.params import flatten
from newsimg.tracking.processes import leave_orphaned, stop_with

if TYPE_CHECKING:
    from newsimg.storage.cache import Store  # brings pyarrow, too slow for --help

NEEDED = "store/needed"  # measured where it is sought
# A wheel carries the configs inside the package; in a checkout they lie beside it.
CONF_DIR = PACKAGE_DIR / "conf" if (PACKAGE_DIR / "conf").is_dir() else PACKAGE_DIR.parent / "conf"
GROUPS = (
    "data",
    "backbone",
    "index",
    "llm",
    "vlm",
    "prompt",
    "criteria",
    "engine",
    "reranker",
    "weight",
    "task",
    "tracking",
)
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
    from newsimg.tracking.none import NullTracker

    config: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        cfg, resolve=True, throw_on_missing=True
    )
    builder = get_builder(tuple(config["trusted_packages"]), config["store"]["dir"])
    hydra_config = HydraConfig.get()
    sweeping = is_sweeping()
    # A single run looks for nothing.
    sought = list_objectives(config["objective"]) if sweeping else []
    output_dir = Path(hydra_config.runtime.output_dir)
    choices = {group: str(hydra_config.runtime.choices[group]) for group in GROUPS}
    check_shortcuts(config, choices["task"])
    weight_value = config["weight"]["value"]
    if not isinstance(weight_value, int | float):
        raise ValueError(f"weight.value must be in [0, 1], got {weight_value!r}")
    weight_value = float(weight_value)
    params = choices | {"weight": weight_value, "normalization": choices["weight"]}
    tags = {group: str(params[group]) for group in ("backbone", "reranker", "weight")}

    kind = builder.find_class(config["task"]["_target_"])
    tracked = getattr(kind, "tracked", True)
    tracker: Tracker = builder.build(config["tracking"]) if tracked else NullTracker()
    name = f"{choices['reranker']} w={weight_value:.2f}"
    if choices["task"] != "evaluate":
        name = choices["task"]
    tags |= config["tags"] | {"config_hash": hash_config(config)}
    if VISIBLE in hydra_config.job.env_set:
        tags["gpu"] = os.environ[VISIBLE]
    finished = tracker.find_finished(tags["config_hash"], output_dir) if config["resume"] else None
    if finished is not None:
        objectives = choose_objectives(finished, sought)
        print_job("finished before", objectives)
        return unpack(objectives)
    params |= flatten(config)
    with tracker.track(config["data"]["name"], name, params, tags, output_dir):
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
        tracker.log_metrics(metrics)
        objectives = choose_objectives(metrics, sought)
    if sweeping:
        print_job(str(output_dir), objectives)
    else:
        print_outcome(output_dir, tracker.describe())
    return unpack(objectives)


class Builder:
    """Instantiates configs from the inside out; in one process equal configs become one object.

    So the jobs of a sweep share their models, and a reranker that is configured with the run's own
    backbone has the very same one. Every model asks the store before it computes.

    Args:
        trusted: Packages that a `_target_` may come from.
        store: What models have computed before.
    """

    def __init__(self, trusted: list[str], store: "Store") -> None:
        self.trusted = trusted
        self.store = store
        self._built: dict[str, Any] = {}
        self._used: set[str] = set()

    def build(self, config: Any) -> Any:
        """Turn every mapping with a `_target_` into an object of that class.

        Raises:
            ValueError: If a `_target_` is not a component of a trusted package, or its arguments
                are not what it expects.
        """
        if isinstance(config, list):
            return [self.build(item) for item in config]
        if not isinstance(config, dict):
            return config
        if "_target_" not in config:
            return {key: self.build(value) for key, value in config.items()}
        identity = json.dumps(config, sort_keys=True, default=str)
        # The parts of what is built already are in use as well.
        parts = {key: self.build(value) for key, value in config.items() if key != "_target_"}
        if identity not in self._built:
            self._built[identity] = self._instantiate(config["_target_"], parts)
        self._used.add(identity)
        return self._built[identity]

    def find_class(self, target: str) -> type:
        """Return the class that a `_target_` names.

        Raises:
            ValueError: If it is not a component of a trusted package.
        """
        check_package(target, self.trusted)
        return check_component(get_class(target))

    def release_unused(self) -> None:
        """Forget what was not built again since the last call: a sweep has moved on to others."""
        self._built = {key: value for key, value in self._built.items() if key in self._used}
        self._used.clear()

    def _instantiate(self, target: str, arguments: dict[str, Any]) -> Any:
        check_arguments(self.find_class(target), arguments)
        # Not by Hydra's `instantiate`, which would look for ${...} in headlines and paths again.
        component = self.find_class(target)(**arguments)
        from newsimg.storage.cached_models import StoredBackbone, StoredVLM

        if isinstance(component, Backbone):
            return StoredBackbone(component, self.store)
        if isinstance(component, VisionLanguageModel):
            return StoredVLM(component, self.store)
        return component


@cache
def get_builder(trusted: tuple[str, ...], store_dir: str | None) -> Builder:
    """Return this process's builder."""
    from newsimg.storage.cache import Store, find_store

    return Builder(list(trusted), Store(find_store(store_dir)))


def run_job(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job, in any process that a launcher has it run in; see `run`."""
    try:
        return run(cfg)
    finally:
        leave_orphaned()


class SweepCallback(Callback):
    """Opens a sweep's run before its first job, and summarises the jobs after the last."""

    process = -1  # that the jobs come from

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let a job end as its launcher's process does, or when a scheduler wants it to."""
        stop_with(self.process)

    @fatal()
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the store and the parent run, once, in the process that all jobs come from."""
        global OPEN_SWEEP
        self.process = os.getpid()
        check_plugins(config.hydra)
        builder = get_builder(tuple(config.trusted_packages), config.store.dir)
        self.tracker: Tracker = builder.build(OmegaConf.to_container(config.tracking, resolve=True))
        overrides = [text for text in config.hydra.overrides.task if "," in text or "(" in text]
        name = " ".join(overrides or config.hydra.overrides.task) or "sweep"
        sweep_dir = Path(config.hydra.sweep.dir).absolute()
        self.tracker.open_sweep(config.data.name, name[:250], sweep_dir)
        OPEN_SWEEP = self.tracker

    @fatal()
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the table and the plot, and close the parent run."""
        global OPEN_SWEEP
        from newsimg.reporting.console import print_outcome
        from newsimg.reporting.sweep import describe_jobs, summarize_sweep

        output_dir = Path(config.hydra.sweep.dir).absolute() / "summary"
        output_dir.mkdir(parents=True, exist_ok=True)
        jobs = self.tracker.load_jobs()
        metrics, note = {}, ""
        if len(jobs):
            objective = next(iter(list_objectives(config.objective)), None)
            metrics = summarize_sweep(jobs, objective, output_dir)
            note = describe_jobs(jobs, objective)
        OPEN_SWEEP = None  # Ctrl-C from here on changes nothing about it
        self.tracker.close_sweep("FINISHED", metrics, output_dir, note)
        print_outcome(output_dir, self.tracker.describe())


OPEN_SWEEP: Tracker | None = None


def main() -> None:
    """Run the command line."""
    global OPEN_SWEEP
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
        # Hydra ends a sweep by its callback only if no job failed.
        if OPEN_SWEEP is not None:
            sweep, OPEN_SWEEP = OPEN_SWEEP, None
            if was_refused(sys.exc_info()[1]):
                sweep.drop_sweep()
            else:
                sweep.close_sweep(status, {}, None, "")


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
