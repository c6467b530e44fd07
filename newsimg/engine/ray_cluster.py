"""Ray, and what its workers have in common with the process that they work for."""

import errno
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newsimg.engine.ray_watch import quiet_but_patient

log = logging.getLogger(__name__)

FREE_MB = 100  # where Ray writes, before it starts
# What a run looks for in its environment; a cluster that was there before has another one.
SHARED = ("HF_", "MLFLOW_", "NEWSIMG_", "OPENAI_")


@dataclass(frozen=True)
class RayCluster:
    """Workers of one size.

    Args:
        group: Where the settings come from, for messages.
        address: "auto" or host:port of a cluster that is there; None starts one on this machine.
        n_workers: Processes, each of which loads its own model.
        cpus_per_worker: Also the number of a model's threads.
        gpus_per_worker: May be a fraction: 0.5 lets two workers share a GPU.
        object_store_mb: Shared memory of a cluster on this machine.

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
        """Join the cluster, or start it.

        Returns:
            ray: The library.
            joined: Whether this process was not in a cluster before.

        Raises:
            ImportError: If Ray is not installed; says how to.
            ConnectionError: If there is no cluster at the address.
            ValueError: If the cluster is too small for the workers, or this is one of Ray's.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its logs are in /tmp/ray
        try:
            import ray
        except ImportError as error:
            raise ImportError(f"{self.group}=ray needs: pip install newsimg[ray]") from error
        if ray.is_initialized():
            if ray.get_runtime_context().get_actor_id() is not None:  # may wait for itself
                raise ValueError(f"{self.group}=ray cannot be used in a worker of Ray")
            self._check_room(ray.cluster_resources(), ray.available_resources())
            return ray, False
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {"address": self.address}
        message = f"waiting for Ray's cluster at {self.group}.address={self.address}"
        if self.address is None:
            message = "waiting for Ray to start on this machine"
            self._check_disk()
            options = {
                "address": "local",
                # Ray counts what workers ask for, not what the machine has: there is room for all.
                "num_cpus": self.n_workers * self.cpus_per_worker,
                "object_store_memory": self.object_store_mb << 20,
                "include_dashboard": False,
            }
        try:
            with quiet_but_patient(message):
                ray.init(**options, log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray raises errors of all kinds, plain ones too
            raise ConnectionError(self._describe_failure(error)) from error
        self._check_room(ray.cluster_resources(), ray.available_resources())
        return ray, True

    def _check_disk(self) -> None:
        """Refuse what Ray would fail at half a minute later, without a word of the disk."""
        folder = find_ray_folder()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < FREE_MB << 20:
            raise OSError(
                errno.ENOSPC,
                f"{self.group}=ray needs {FREE_MB} MB for Ray's sockets and logs, {free >> 20} are "
                "free; set RAY_TMPDIR to another folder, of a short name",
                str(folder),
            )

    def _describe_failure(self, error: Exception) -> str:
        reason = f"({type(error).__name__}: {error})"
        if self.address is None:
            logs = find_ray_folder() / "ray" / "session_latest" / "logs"
            return f"{self.group}=ray: Ray does not start on this machine {reason}; see {logs}"
        return (
            f"{self.group}.address={self.address}: there is no cluster of Ray, or none with a node "
            f"that lives {reason}; `ray status` tells of one, `ray start --head` starts one"
        )

    def _check_room(self, resources: dict[str, float], available: dict[str, float]) -> None:
        """Refuse workers that would be waited for without an end; say what others wait for."""
        for name, each in (("CPU", self.cpus_per_worker), ("GPU", self.gpus_per_worker)):
            there = resources.get(name, 0)
            if each * self.n_workers > there:
                raise ValueError(
                    f"{self.group}.n_workers={self.n_workers} with {each} {name} each need "
                    f"{each * self.n_workers:g}, the cluster has {there:g}"
                )
            if each * self.n_workers > (free := available.get(name, 0)):
                log.warning(
                    "%s=ray: waiting for workers that need %g %s, of the cluster's %g are %g free",
                    *(self.group, each * self.n_workers, name, there, free),
                )


def find_ray_folder() -> Path:
    """Return the folder that Ray keeps its own in."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


@dataclass(frozen=True)
class Surroundings:
    """Where this process is, and what it finds in its environment."""

    folder: Path
    variables: dict[str, str]

    def enter(self) -> None:
        """Make this process find what the other one finds."""
        os.chdir(self.folder)
        os.environ.update(self.variables)


def look_around() -> Surroundings:
    """Return this process's surroundings, for its workers."""
    shared = {key: value for key, value in os.environ.items() if key.startswith(SHARED)}
    return Surroundings(Path.cwd(), shared)


class OnRay:
    """What runs in the workers of a Ray cluster.

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
    """Where its settings come from, for messages."""

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
