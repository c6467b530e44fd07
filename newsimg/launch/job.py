"""One job: its name, tags, folder, tracker and results."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from newsimg.datatypes import Job, RunInfo, SharedResults
from newsimg.interfaces import Components, Task, Tracker
from newsimg.launch.builder import Builder, get_builder
from newsimg.launch.compose import resolve_config
from newsimg.launch.errors.checks import check_config
from newsimg.launch.gpus import VISIBLE
from newsimg.launch.job_folders import open_job_folder
from newsimg.launch.job_hash import hash_config
from newsimg.launch.resolvers import (
    find_choice,
    find_swept,
    is_sweeping,
    list_flags,
    number_job,
)
from newsimg.sample.toys import are_sample, describe_toys, is_sample_data
from newsimg.storage.files import name_full_disk, write_atomically
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice
from newsimg.tracking.params import list_params, name_run

NO_TRACKING = {"_target_": "newsimg.tracking.none.NullTracker"}
OBJECTIVE = "reranked/hits_at_1"  # default of sweeps over task=evaluate
NEEDED = "cache/needed"  # computed only if it is an objective
PARTS = "data backbone index llm vlm prompt criteria engine reranker weight rule task tracking"
GROUPS = tuple(PARTS.split())


@dataclass(frozen=True)
class OpenJob:
    """A job of one process, from its config to its metrics.

    Attributes:
        config: All values, resolved.
        builder: Instantiates components.
        tracker: Tracks the run.
        job: Description of the run for the tracker.
        sought: Objectives of the sweep; empty for a single run.
        sweeping: Whether it is a job of a sweep.
    """

    config: Mapping[str, Any]
    builder: Builder
    tracker: Tracker
    job: Job
    sought: list[str]
    sweeping: bool

    def find_finished(self) -> dict[str, float] | None:
        """With `resume=true`, return the metrics of an equal job that finished before."""
        return self.tracker.find_finished(self.job) if self.config["resume"] else None

    def track(self) -> AbstractContextManager[None]:
        """Open the run inside the block."""
        announce("opening the run")
        return self.tracker.track(self.job)

    def work(self, task: Task, components: Components) -> dict[str, float]:
        """Run the task, log its results and return the metrics."""
        from newsimg.reporting.console import muted

        output_dir, cache = self.job.output_dir, self.builder.cache
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        with write_atomically(output_dir / "config.yaml") as temporary:
            temporary.write_text(text, encoding="utf-8")
        self.builder.release_unused()
        cache.reset_counts()
        if NEEDED in self.sought:
            # What the jobs before it have in memory would not be asked for.
            components = replace(components, shared=SharedResults())
        components = self.introduce(task, components)
        try:
            with muted(self.sweeping), name_full_disk(output_dir):
                metrics = task.run(components, output_dir) | cache.counts
        finally:
            announce("keeping the run")
            self.tracker.log_artifacts(output_dir)  # also of failed runs, for their logs
        if NEEDED in self.sought:
            metrics[NEEDED] = cache.n_needed
        cache.compact()
        tags = {n: f"{v:.0f}" for n, v in metrics.items() if n.startswith("data/")}
        if components.info.warning or metrics.get("n_toy_runs"):
            tags["toy_model"] = "true"
        self.tracker.log_metrics(metrics, tags)
        choose_objectives(metrics, self.sought)  # a missing objective fails the job
        return metrics

    def introduce(self, task: Task, components: Components) -> Components:
        """Add the description of the run to the components, and warn about toy models."""
        from newsimg.reporting.console import warn_loudly

        choices = {group: find_choice(group) for group in GROUPS}
        typed = list_flags(), list(HydraConfig.get().overrides.task)
        info = describe_run(self.config, components, task.parts, choices, typed)
        if info.warning:
            sweep_dir = HydraConfig.get().sweep.dir  # one warning is enough for all of its jobs
            warn_loudly(info.warning, sweep_dir if self.sweeping else str(self.job.output_dir))
        return replace(components, info=info)

    def report(
        self, metrics: dict[str, float], finished_before: bool
    ) -> float | tuple[float, ...] | None:
        """Print the outcome; return the values of the objectives."""
        from newsimg.reporting.console import print_job, print_outcome, shorten_path

        objectives = choose_objectives(metrics, self.sought)
        if finished_before:
            print_job("finished before", objectives)
        elif self.sweeping:
            print_job(shorten_path(self.job.output_dir), objectives)
        else:
            print_outcome(self.job.output_dir, self.tracker.describe())
        return unpack(objectives)


def open_job(cfg: DictConfig) -> OpenJob:
    """Resolve a job's config, and find its folder, tracker, name, params and tags.

    Raises:
        ValueError: If a value of the config is invalid.
    """
    config = resolve_config(cfg)
    builder = get_builder(tuple(config["trusted_packages"]), config["cache"]["dir"])
    sweeping = is_sweeping()
    sought = list_objectives(config["objective"], find_choice("task")) if sweeping else []
    choices = {group: find_choice(group) for group in GROUPS}
    with suppress(Exception):  # raised below, after all else that is wrong with the config
        builder.build(config["tracking"])  # a process beside imports MLflow meanwhile
    check_config(config, builder, choices["task"])
    output_dir = open_job_folder(HydraConfig.get(), config["folder"])
    kind = builder.find_class(config["task"]["_target_"])
    tracked = getattr(kind, "tracked", True)
    tracker: Tracker = builder.build(config["tracking"] if tracked else NO_TRACKING)
    swept = find_swept()
    params = list_params(config, choices, swept)
    job = Job(
        config["data"]["name"],
        name_run(config, choices, swept),
        params,
        _describe(config, params),
        Path(output_dir),
    )
    return OpenJob(config, builder, tracker, job, sought, sweeping)


def _describe(config: dict[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a job."""
    tags = {group: str(params[group]) for group in ("backbone", "reranker", "weight")}
    tags |= config["tags"] | {"config_hash": hash_config(config)} | number_job()
    if VISIBLE in HydraConfig.get().job.env_set:
        tags["gpu"] = os.environ[VISIBLE]
    return tags


def describe_run(
    config: Mapping[str, Any],
    components: Components,
    parts: Sequence[str],
    choices: Mapping[str, str],
    typed: tuple[Sequence[str], Sequence[str]],
) -> RunInfo:
    """Return the description of a run.

    Args:
        config: All values, resolved.
        components: Components of the run.
        parts: Groups used by the task; see `Task.parts`.
        choices: Group -> option.
        typed: Flags and overrides.
    """
    data = config["data"]
    is_sample = components.dataset.is_sample or is_sample_data(data)
    images = components.index.images if "index" in parts else None
    if images is not None:
        is_sample = are_sample(images)
    used = [part for part in (*parts, "task") if part != "index"]
    return RunInfo(
        " ".join(filter(None, (data["name"], data.get("split")))),
        choices["reranker"],
        choices["weight"],
        *typed,
        is_sample,
        "" if is_sample else describe_toys(config, used, images is not None),
    )


def list_objectives(objective: str | list[str] | None, task: str) -> list[str]:
    """Return the names of the metrics that a sweep of a task maximises."""
    if objective == "auto":
        return [OBJECTIVE] if task == "evaluate" else []
    return [objective] if isinstance(objective, str) else list(objective or [])


def choose_objectives(metrics: dict[str, float], sought: list[str]) -> dict[str, float]:
    """Return the values of the objectives.

    Raises:
        ValueError: If the task did not return an objective.
    """
    for name in sought:
        check_choice("objective", name, metrics)
    return {name: metrics[name] for name in sought}


def unpack(objectives: dict[str, float]) -> float | tuple[float, ...] | None:
    """Return the values as sweepers expect them: nothing, a number or several."""
    values = tuple(objectives.values())
    return values if len(values) > 1 else values[0] if values else None
