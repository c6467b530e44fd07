"""Embedding in several processes, on one or more machines, with Ray Data."""

import logging
import pickle
import shutil
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import Accepted, Chunks, Rejected, ValidationRules
from newsimg.engine.listing import Listing
from newsimg.engine.ray_cluster import RayComponent, WorkerEnvironment, capture_environment
from newsimg.engine.ray_watch import find_services, watch_cluster
from newsimg.engine.stream import stream_embeddings
from newsimg.interfaces import Backbone, Engine
from newsimg.storage.files import name_full_disk

MAX_DEATHS = 20  # worker deaths while embedding the same part
MAX_BLOCKS = 10_000  # limits Ray's bookkeeping for many chunks
PARTS_PER_WORKER = 2  # at least, so that faster workers can take more


class RayEngine(RayComponent, Engine):
    """An engine that embeds in Ray actors, each with its own model; a task is a part of a chunk.

    The pictures, the index folder and the cache must have the same paths on all workers. A worker
    that dies is restarted and its part is embedded again, with the cached embeddings. The job fails
    after `MAX_DEATHS` deaths on the same part.
    """

    group = "engine"

    def embed(
        self,
        listing: Chunks,
        numbers: range,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
    ) -> Iterator[Accepted | Rejected]:
        """See `Engine.embed`.

        Raises:
            ImportError: If Ray is not installed; names the extra to install.
            ConnectionError: If there is no cluster, or it stops responding.
            RuntimeError: If Ray returns parts in another order, or workers die repeatedly.
        """
        if not numbers:
            return
        ray, joined = self.cluster.connect()
        starts = listing.path.with_suffix(".starts")
        shutil.rmtree(starts, ignore_errors=True)  # left by a killed job
        worker = {"listing_path": listing.path, "backbone": backbone, "rules": rules}
        worker |= {"n_threads": n_threads, "environment": capture_environment()}
        worker |= {"starts": StartCounter(starts, MAX_DEATHS)}
        parts = self._divide(listing, numbers, backbone.batch_size)

        def map_parts() -> Generator[dict[str, Any], None, None]:
            yield from self._map_parts(parts, worker).iter_rows()

        # Closed after an error, too, whose traceback would keep the workers running.
        try:
            with (
                closing(map_parts()) as items,
                closing(watch_cluster(self.group, items, find_services())) as rows,
            ):
                for part, row in zip(parts, rows, strict=True):
                    done = _open_result(part, row)
                    backbone.add_counts(done.counts)
                    yield from done.results
        except ray.exceptions.RayActorError as error:
            raise RuntimeError(
                f"engine=ray: a worker cannot be restarted: {error}; the embeddings computed so "
                "far are cached"
            ) from error
        finally:
            shutil.rmtree(starts, ignore_errors=True)
            if joined:
                ray.shutdown()

    def _divide(self, listing: Chunks, numbers: range, batch_size: int) -> list["Part"]:
        """Divide chunks, where they are few, so that all workers have about as much to do.

        Parts are multiples of the batch size, so that batches are the same as in `LocalEngine`.
        """
        if len(numbers) >= PARTS_PER_WORKER * self.cluster.n_workers:
            return [Part(number, 0, listing.size_of(0)) for number in numbers]
        sizes = {number: listing.size_of(number) for number in numbers}
        share = -(-sum(sizes.values()) // (PARTS_PER_WORKER * self.cluster.n_workers))
        step = -(-share // batch_size) * batch_size
        return [
            Part(number, start, start + step)
            for number in numbers
            for start in range(0, sizes[number], step)
        ]

    def _map_parts(self, parts: list["Part"], worker: dict[str, Any]) -> Any:
        """Return the lazy dataset of the parts' results, in order."""
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        n_workers = self.cluster.n_workers
        # Otherwise the first worker that is ready takes all of a few parts.
        few = len(parts) <= 2 * PARTS_PER_WORKER * n_workers
        pool = ray.data.ActorPoolStrategy(
            size=min(len(parts), n_workers), max_tasks_in_flight_per_actor=1 if few else None
        )
        items = ray.data.from_items(
            [vars(part) for part in parts],
            override_num_blocks=min(len(parts), MAX_BLOCKS),
        )
        return items.map_batches(
            ChunkEmbedder,
            fn_constructor_kwargs=worker,
            compute=pool,
            num_cpus=self.cluster.cpus_per_worker,
            num_gpus=self.cluster.gpus_per_worker,
            batch_size=1,
        )


@dataclass(frozen=True)
class Part:
    """A range of pictures of a chunk; the unit of work."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class PartResult:
    """The results of a part, or the error that stopped it."""

    results: list[Accepted | Rejected]
    counts: dict[str, float]
    error: Exception | None


def _open_result(part: Part, row: dict[str, Any]) -> PartResult:
    if row["number"] != part.number or row["start"] != part.start:
        found = f"{row['number']}, {row['start']}"
        raise RuntimeError(f"engine=ray: expected {part}, Ray returned {found}")
    done: PartResult = pickle.loads(row["done"])
    if done.error:
        raise done.error
    return done


@dataclass(frozen=True)
class StartCounter:
    """A counter of starts per part, kept in files because it must survive the worker.

    Ray restarts the part of a dead worker without limit.

    Attributes:
        folder: Shared folder of the files.
        max_deaths: Number of deaths on the same part after which an error is raised.
    """

    folder: Path
    max_deaths: int

    def begin(self, part: str) -> None:
        """Count a start of a part.

        Raises:
            RuntimeError: If too many workers have died while embedding it.
        """
        self.folder.mkdir(exist_ok=True)
        with name_full_disk(self.folder), (self.folder / part).open("ab") as file:
            file.write(b".")
            n_deaths = file.tell() - 1
        if n_deaths > self.max_deaths:
            raise RuntimeError(
                f"engine=ray: workers died {n_deaths} times on the same pictures, possibly out of "
                "memory; the embeddings computed so far are cached"
            )

    def end(self, part: str) -> None:
        """Delete the count of a completed part."""
        (self.folder / part).unlink(missing_ok=True)


class ChunkEmbedder:
    """The function of a Ray Data worker: embeds parts.

    Args:
        listing_path: File of the listing.
        backbone: Backbone, which loads its model in the worker.
        rules: Rules for accepting pictures.
        n_threads: Reading and decoding threads.
        environment: Working directory and environment variables of the driver.
        starts: Counter that limits restarts of a part.
    """

    def __init__(
        self,
        listing_path: Path,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
        environment: WorkerEnvironment,
        starts: StartCounter,
    ) -> None:
        environment.enter()
        self.starts = starts
        self.listing = Listing(listing_path)
        self.backbone = backbone
        self.rules = rules
        self.n_threads = n_threads

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Embed the part in a batch of one."""
        number, start, stop = (batch[name][0] for name in ("number", "start", "stop"))
        place = f"{number}-{start}"
        try:
            self.starts.begin(place)
            pictures = self.listing.read_chunk(int(number))[start:stop]
            results = list(stream_embeddings(pictures, self.backbone, self.rules, self.n_threads))
            done = PartResult(results, self.backbone.take_counts(), None)
            self.starts.end(place)
        except Exception as error:  # raised again in the driver
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            done = PartResult([], {}, error)
        return batch | {"done": [pickle.dumps(done)]}
