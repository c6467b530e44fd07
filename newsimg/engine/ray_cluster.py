"""Connection to a Ray cluster, and the environment of its workers."""

import errno
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newsimg.engine.ray_watch import silence_stderr

log = logging.getLogger(__name__)

FREE_MB = 100  # required in Ray's folder before it starts
# Prefixes of variables that are copied to workers; an existing cluster has another environment.
SHARED = ("HF_", "MLFLOW_", "NEWSIMG_", "OPENAI_")


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster and the resources of its workers.

    Args:
        group: Config group of the settings, for messages.
        address: "auto" or host:port of an existing cluster; None starts one on this machine.
        n_workers: Worker processes, each of which loads its own model.
        cpus_per_worker: CPUs, and threads of the model, per worker.
        gpus_per_worker: GPUs per worker; with 0.5 two workers share a GPU.
        object_store_mb: Shared memory of a cluster started on this machine, in MB.

    Raises:
        ValueError: If a number is out of range.
    """

    group: str
    address: str | None
    n_workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    object_store_mb: int

    def __post_init__(self) -> None:
        for name, least in (("n_workers", 1), ("cpus_per_worker", 1), ("object_store_mb", 80)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{self.group}.{name} must be at least {least}, got {getattr(self, name)}"
                )
        if self.gpus_per_worker < 0:
            raise ValueError(
                f"{self.group}.gpus_per_worker must be at least 0, got {self.gpus_per_worker}"
            )

    def connect(self) -> tuple[Any, bool]:
        """Connect to the cluster, or start it.

        Returns:
            ray: The module.
            joined: Whether this call connected, so that the caller must shut Ray down.

        Raises:
            ImportError: If Ray is not installed; names the extra to install.
            ConnectionError: If there is no cluster at the address.
            ValueError: If the cluster is too small for the workers, or this is a Ray worker.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the logs in /tmp/ray remain
        try:
            import ray
        except ImportError as error:
            raise ImportError(f"{self.group}=ray needs: pip install newsimg[ray]") from error
        if ray.is_initialized():
            if ray.get_runtime_context().get_actor_id() is not None:  # could deadlock
                raise ValueError(f"{self.group}=ray cannot be used in a Ray worker")
            self._check_room(ray.cluster_resources(), ray.available_resources())
            return ray, False
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {"address": self.address}
        message = f"waiting for the Ray cluster at {self.group}.address={self.address}"
        if self.address is None:
            message = "waiting for Ray to start on this machine"
            self._check_disk()
            options = {
                "address": "local",
                # Ray's CPUs are logical: enough for all workers, whatever the machine has.
                "num_cpus": self.n_workers * self.cpus_per_worker,
                "object_store_memory": self.object_store_mb << 20,
                "include_dashboard": False,
            }
        try:
            with silence_stderr(message):
                ray.init(**options, log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray raises many types, including Exception
            raise ConnectionError(self._describe_failure(error)) from error
        self._check_room(ray.cluster_resources(), ray.available_resources())
        return ray, True

    def _check_disk(self) -> None:
        """Check the free disk space, without which Ray fails late and without a reason."""
        folder = find_ray_folder()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < FREE_MB << 20:
            raise OSError(
                errno.ENOSPC,
                f"{self.group}=ray needs {FREE_MB} MB for Ray's sockets and logs, {free >> 20} MB "
                "are free; set RAY_TMPDIR to another folder with a short path",
                str(folder),
            )

    def _describe_failure(self, error: Exception) -> str:
        reason = f"({type(error).__name__}: {error})"
        if self.address is None:
            logs = find_ray_folder() / "ray" / "session_latest" / "logs"
            return f"{self.group}=ray: Ray cannot be started on this machine {reason}; see {logs}"
        return (
            f"{self.group}.address={self.address}: there is no running Ray cluster {reason}; "
            "`ray status` shows a cluster, `ray start --head` starts one"
        )

    def _check_room(self, resources: dict[str, float], available: dict[str, float]) -> None:
        """Check that the cluster has the resources of all workers; warn if they are in use."""
        for name, each in (("CPU", self.cpus_per_worker), ("GPU", self.gpus_per_worker)):
            total = resources.get(name, 0)
            if each * self.n_workers > total:
                raise ValueError(
                    f"{self.group}.n_workers={self.n_workers} with {each} {name} each need "
                    f"{each * self.n_workers:g}, the cluster has {total:g}"
                )
            if each * self.n_workers > (free := available.get(name, 0)):
                log.warning(
                    "%s=ray: waiting for workers that need %g %s; of the cluster's %g, %g are free",
                    *(self.group, each * self.n_workers, name, total, free),
                )


def find_ray_folder() -> Path:
    """Return the parent of Ray's temporary folder."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


@dataclass(frozen=True)
class WorkerEnvironment:
    """The working directory and environment variables that workers need."""

    folder: Path
    variables: dict[str, str]

    def enter(self) -> None:
        """Apply them to this process."""
        os.chdir(self.folder)
        os.environ.update(self.variables)


def capture_environment() -> WorkerEnvironment:
    """Return the working directory and shared variables of this process."""
    shared = {key: value for key, value in os.environ.items() if key.startswith(SHARED)}
    return WorkerEnvironment(Path.cwd(), shared)


class RayComponent:
    """A component that runs in the workers of a Ray cluster.

    Args:
        address: See `RayCluster`.
        n_workers: See `RayCluster`.
        cpus_per_worker: See `RayCluster`.
        gpus_per_worker: See `RayCluster`.
        object_store_mb: See `RayCluster`.

    Raises:
        ValueError: If a number is out of range.
    """

    group: str
    """Config group of the settings, for messages."""

    def __init__(
        self,
        *,
        address: str | None,
        n_workers: int,
        cpus_per_worker: int,
        gpus_per_worker: float,
        object_store_mb: int,
    ) -> None:
        self.cluster = RayCluster(
            self.group, address, n_workers, cpus_per_worker, gpus_per_worker, object_store_mb
        )
