"""Several processes, on one machine or on many, through Ray Data."""

import logging
import pickle
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.engine.base import Engine
from newsimg.engine.listing import Listing
from newsimg.engine.ray_cluster import OnRay, Surroundings, look_around
from newsimg.engine.ray_watch import find_parts, watch_cluster
from newsimg.engine.stream import stream_embeddings
from newsimg.engine.validation import Accepted, Rejected, ValidationRules
from newsimg.interfaces import Backbone
from newsimg.storage.cached_models import CachedBackbone

MAX_DEATHS = 20  # of workers over one part: more are no accident
MAX_BLOCKS = 10_000  # that Ray keeps a record of, however many chunks there are
PARTS_EACH = 2  # at least, of every worker: one that is slower leaves some to the others


class RayEngine(OnRay, Engine):
    """Embeds in actors of Ray Data, each with a model of its own; a task is a part of a chunk.

    The pictures, the index's folder and the cache must be where every worker finds them under the
    same path. A worker that dies is started again, and its part is begun again: what it had
    embedded is in the cache. After `MAX_DEATHS` the job fails.
    """

    group = "engine"

    def embed(
        self,
        listing: Listing,
        numbers: range,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
    ) -> Iterator[Accepted | Rejected]:
        """See `Engine.embed`.

        Raises:
            ImportError: If Ray is not installed; says how to.
            ConnectionError: If there is no cluster, or it dies.
            RuntimeError: If Ray gives parts in another order, or workers die again and again.
        """
        if not numbers:
            return
        ray, joined = self.cluster.connect()
        starts = listing.path.with_suffix(".starts")
        shutil.rmtree(starts, ignore_errors=True)  # of a job that was killed
        worker = {"listing_path": listing.path, "backbone": backbone, "rules": rules}
        worker |= {"n_threads": n_threads, "surroundings": look_around()}
        worker |= {"starts": Starts(starts, MAX_DEATHS)}
        parts = self._divide(listing, numbers, backbone.batch_size)

        def map_parts() -> Iterator[dict[str, Any]]:
            yield from self._map_parts(parts, worker).iter_rows()

        try:
            rows = watch_cluster(self.group, map_parts(), find_parts())
            for part, row in zip(parts, rows, strict=True):
                if row["number"] != part.number or row["start"] != part.start:
                    raise RuntimeError(f"{part} was due, Ray gave {row['number']}, {row['start']}")
                done: Done = pickle.loads(row["done"])
                if done.error:
                    raise done.error
                if isinstance(backbone, CachedBackbone):
                    backbone.cache.add_counts(done.counts)
                yield from done.results
        except ray.exceptions.RayActorError as error:
            raise RuntimeError(
                f"engine=ray: a worker cannot be started again: {error}; what was embedded is kept"
            ) from error
        finally:
            shutil.rmtree(starts, ignore_errors=True)
            if joined:
                ray.shutdown()

    def _divide(self, listing: Listing, numbers: range, batch_size: int) -> list["Part"]:
        """Divide chunks, where they are few, so that all workers have about as much to do.

        Batches stay whole: they are the ones of an engine that divides nothing.
        """
        if len(numbers) >= PARTS_EACH * self.cluster.n_workers:
            return [Part(number, 0, listing.size_of(0)) for number in numbers]
        sizes = {number: listing.size_of(number) for number in numbers}
        share = -(-sum(sizes.values()) // (PARTS_EACH * self.cluster.n_workers))
        step = -(-share // batch_size) * batch_size
        return [
            Part(number, start, start + step)
            for number in numbers
            for start in range(0, sizes[number], step)
        ]

    def _map_parts(self, parts: list["Part"], worker: dict[str, Any]) -> Any:
        """Return the dataset of the parts' results, in order; nothing is computed yet."""
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        n_workers = self.cluster.n_workers
        # Of a few parts the worker that is ready first would else take those of the others, too.
        few = len(parts) <= 2 * PARTS_EACH * n_workers
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
    """Pictures of a chunk, what a worker does at a time."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Done:
    """What became of a part."""

    results: list[Accepted | Rejected]
    counts: dict[str, float]
    error: Exception | None


@dataclass(frozen=True)
class Starts:
    """Counts how often each part was begun, in files, since whoever begins it may die over it.

    Ray begins a part whose worker died again, without end.

    Attributes:
        folder: Where the files are, for all workers.
        max_deaths: After how many deaths over it a part is given up.
    """

    folder: Path
    max_deaths: int

    def begin(self, part: str) -> None:
        """Count one more start of a part.

        Raises:
            RuntimeError: If too many workers have died over it.
        """
        self.folder.mkdir(exist_ok=True)
        with (self.folder / part).open("ab") as file:
            file.write(b".")
            n_deaths = file.tell() - 1
        if n_deaths > self.max_deaths:
            raise RuntimeError(
                f"engine=ray: workers died {n_deaths} times over the same pictures, perhaps for "
                "want of memory; what they had embedded is kept"
            )

    def end(self, part: str) -> None:
        """Forget a part, which was done."""
        (self.folder / part).unlink(missing_ok=True)


class ChunkEmbedder:
    """What a worker does.

    Args:
        listing_path: The listing's file.
        backbone: Loads its model here.
        rules: What to take.
        n_threads: Threads that read and decode.
        surroundings: Of the process that it works for.
        starts: Gives up a chunk that kills its workers.
    """

    def __init__(
        self,
        listing_path: Path,
        backbone: Backbone,
        rules: ValidationRules,
        n_threads: int,
        surroundings: Surroundings,
        starts: Starts,
    ) -> None:
        surroundings.enter()
        self.starts = starts
        self.listing = Listing(listing_path)
        self.backbone = backbone
        self.rules = rules
        self.n_threads = n_threads

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Embed the pictures of the one part of a batch."""
        number, start, stop = (batch[name][0] for name in ("number", "start", "stop"))
        place = f"{number}-{start}"
        cached = self.backbone if isinstance(self.backbone, CachedBackbone) else None
        if cached:
            cached.cache.reset_counts()
        try:
            self.starts.begin(place)
            pictures = self.listing.read_chunk(int(number))[start:stop]
            results = list(stream_embeddings(pictures, self.backbone, self.rules, self.n_threads))
            if cached:
                cached.cache.compact()
            done = Done(results, cached.cache.counts if cached else {}, None)
            self.starts.end(place)
        except Exception as error:  # raised again where the results are awaited
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            done = Done([], {}, error)
        return batch | {"done": [pickle.dumps(done)]}
