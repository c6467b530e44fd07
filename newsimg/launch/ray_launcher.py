"""A launcher that runs the jobs of a sweep on a Ray cluster."""

import io
import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from newsimg.engine.ray_cluster import RayComponent, WorkerEnvironment, capture_environment
from newsimg.engine.ray_watch import find_services, watch_cluster
from newsimg.tracking.processes import mark_ended, name_process

log = logging.getLogger(__name__)


class RayLauncher(RayComponent, Launcher):
    """Runs jobs in Ray actors.

    Hydra's plugin for Ray (1.2.2) is not used: it needs cloudpickle below 3, which conflicts with
    joblib 1.6; after Ctrl-C the records of its jobs have no end, and a job whose worker is killed
    is silently repeated.

    A worker runs its jobs in one process, so that models are loaded once. If a worker dies, the
    sweep ends, as with Hydra's other launchers; `resume=true` continues it.
    """

    group = "hydra/launcher"
    _pool: Any = None
    _workers: Sequence[Any] = ()
    _names: Sequence[Any] = ()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See Hydra's `Launcher.setup`."""
        self.config = config
        self._job = (hydra_context, task_function)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """See Hydra's `Launcher.launch`."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        log.info(f"{len(job_overrides)} jobs on {self.cluster.n_workers} workers of Ray")
        jobs = list(enumerate(job_overrides, initial_job_idx))
        for number, overrides in jobs:
            log.info(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
        # Kept until exit, as a sweeper may launch again and the models are loaded.
        self._pool = self._pool or self._start_workers()
        returned = []
        try:
            done = self._pool.map(lambda worker, j: worker.run.remote(*j), jobs)
            for job, printed, warned in watch_cluster(self.group, done, find_services()):
                sys.stdout.write(printed)
                sys.stderr.write(warned)
                returned.append(job)
        except BaseException:  # Ctrl-C or a dead worker: stop the others
            self._stop_workers()
            raise
        return returned

    def _start_workers(self) -> Any:
        ray, _ = self.cluster.connect()
        from ray.util import ActorPool  # after connect, which reports a missing package

        worker = ray.remote(JobWorker).options(
            num_cpus=self.cluster.cpus_per_worker, num_gpus=self.cluster.gpus_per_worker
        )
        shared = ray.put((*self._job, self.config, Singleton.get_state(), capture_environment()))
        self._workers = [worker.remote(shared) for _ in range(self.cluster.n_workers)]
        self._names = [worker.name.remote() for worker in self._workers]
        return ActorPool(self._workers)

    def _stop_workers(self) -> None:
        import ray

        self._pool = None
        # Workers that have not started have no name and no job.
        begun, _ = ray.wait(self._names, num_returns=len(self._names), timeout=0)
        for worker in self._workers:
            ray.kill(worker)
        for name in begun:
            with suppress(ray.exceptions.RayError):  # the worker died before
                mark_ended(ray.get(name))


class JobWorker:
    """A worker process that runs jobs and keeps models loaded."""

    def __init__(
        self, shared: tuple[HydraContext, TaskFunction, DictConfig, Any, WorkerEnvironment]
    ) -> None:
        self.hydra_context, self.task_function, self.config, state, environment = shared
        environment.enter()
        setup_globals()
        Singleton.set_state(state)

    def name(self) -> str:
        """Return the name of the worker process."""
        return name_process()

    def run(self, number: int, overrides: list[str]) -> tuple[JobReturn, str, str]:
        """Run a job; return its result and console output."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()) as warned:
            job = run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        return job, printed.getvalue(), warned.getvalue()
