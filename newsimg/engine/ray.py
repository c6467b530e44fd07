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
from newsimg.engine.intake import Accepted, IntakeRules, Rejected
from newsimg.engine.listing import Listing
from newsimg.engine.ray_cluster import OnRay, Surroundings, look_around
from newsimg.engine.stream import stream_embeddings
from newsimg.interfaces import Backbone
from newsimg.storage.cached_models import StoredBackbone

MAX_DEATHS = 20  # of workers over one chunk: more are no accident
MAX_BLOCKS = 10_000  # that Ray keeps a record of, however many chunks there are


class RayEngine(OnRay, Engine):
    """Embeds in actors of Ray Data, each with a model of its own; a task is a chunk of pictures.

    The pictures, the index's folder and the store must be where every worker finds them under the
    same path. A worker that dies is started again, and its chunk is begun again: what it had
    embedded is in the store. After `MAX_DEATHS` the job fails.
    """

    group = "engine"

    def embed(
        self,
        listing: Listing,
        numbers: range,
        backbone: Backbone,
        rules: IntakeRules,
        n_threads: int,
    ) -> Iterator[Accepted | Rejected]:
        """See `Engine.embed`.

        Raises:
            ImportError: If Ray is not installed; says how to.
            RuntimeError: If Ray gives chunks in another order, or workers die again and again.
        """
        if not numbers:
            return
        ray, joined = self.cluster.connect()
        starts = listing.path.with_suffix(".starts")
        shutil.rmtree(starts, ignore_errors=True)  # of a job that was killed
        worker = {"listing_path": listing.path, "backbone": backbone, "rules": rules}
        worker |= {"n_threads": n_threads, "surroundings": look_around()}
        worker |= {"starts": Starts(starts, MAX_DEATHS)}
        try:
            chunks = self._map_chunks(numbers, worker).iter_rows()
            for number, chunk in zip(numbers, chunks, strict=True):
                if chunk["number"] != number:
                    raise RuntimeError(f"chunk {number} was due, Ray gave {chunk['number']}")
                done: Done = pickle.loads(chunk["done"])
                if done.error:
                    raise done.error
                if isinstance(backbone, StoredBackbone):
                    backbone.store.add_counts(done.counts)
                yield from done.results
        except ray.exceptions.RayActorError as error:
            raise RuntimeError(
                f"engine=ray: a worker cannot be started again: {error}; what was embedded is kept"
            ) from error
        finally:
            shutil.rmtree(starts, ignore_errors=True)
            if joined:
                ray.shutdown()

    def _map_chunks(self, numbers: range, worker: dict[str, Any]) -> Any:
        """Return the dataset of the chunks' results, in order; nothing is computed yet."""
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        chunks = ray.data.from_items(
            [{"number": number} for number in numbers],
            override_num_blocks=min(len(numbers), MAX_BLOCKS),
        )
        return chunks.map_batches(
            ChunkEmbedder,
            fn_constructor_kwargs=worker,
            compute=ray.data.ActorPoolStrategy(size=min(len(numbers), self.cluster.n_workers)),
            num_cpus=self.cluster.cpus_per_worker,
            num_gpus=self.cluster.gpus_per_worker,
            batch_size=1,
        )


@dataclass(frozen=True)
class Done:
    """What became of a chunk."""

    results: list[Accepted | Rejected]
    counts: dict[str, float]
    error: Exception | None


@dataclass(frozen=True)
class Starts:
    """Counts how often each chunk was begun, in files, since whoever begins it may die over it.

    Ray begins a chunk whose worker died again, without end.

    Attributes:
        folder: Where the files are, for all workers.
        max_deaths: After how many deaths over it a chunk is given up.
    """

    folder: Path
    max_deaths: int

    def begin(self, number: int) -> None:
        """Count one more start of a chunk.

        Raises:
            RuntimeError: If too many workers have died over it.
        """
        self.folder.mkdir(exist_ok=True)
        with (self.folder / str(number)).open("ab") as file:
            file.write(b".")
            n_deaths = file.tell() - 1
        if n_deaths > self.max_deaths:
            raise RuntimeError(
                f"engine=ray: workers died {n_deaths} times over the same pictures, perhaps for "
                "want of memory; what they had embedded is kept"
            )

    def end(self, number: int) -> None:
        """Forget a chunk, which was done."""
        (self.folder / str(number)).unlink(missing_ok=True)


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
        rules: IntakeRules,
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
        """Embed the pictures of the one chunk of a batch."""
        number = int(batch["number"][0])
        stored = self.backbone if isinstance(self.backbone, StoredBackbone) else None
        if stored:
            stored.store.reset_counts()
        try:
            self.starts.begin(number)
            pictures = self.listing.read_chunk(number)
            results = list(stream_embeddings(pictures, self.backbone, self.rules, self.n_threads))
            if stored:
                stored.store.settle()
            done = Done(results, stored.store.counts if stored else {}, None)
            self.starts.end(number)
        except Exception as error:  # raised again where the results are awaited
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            done = Done([], {}, error)
        return {"number": batch["number"], "done": [pickle.dumps(done)]}
