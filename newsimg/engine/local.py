"""Embedding on this machine, with pictures read in threads or in processes."""

import logging
import os
from collections.abc import Iterator
from typing import Literal

from newsimg.datatypes import Accepted, Chunks, Rejected, ValidationRules
from newsimg.engine.reading import read_in_threads
from newsimg.engine.shared_memory import SHARED_MEMORY, count_fitting
from newsimg.engine.stream import embed_batches
from newsimg.engine.worker_processes import N_PREFETCH, measure_range, read_in_processes
from newsimg.interfaces import Backbone, Engine

log = logging.getLogger(__name__)

# Pictures from which on processes, which take seconds to start, are faster than threads in front of
# a GPU: the threads of 16 cores read 1,490 pictures per second of 500x375, 16 processes 2,460.
MIN_PICTURES = 20_000


class LocalEngine(Engine):
    """An engine with one copy of the model, in this process.

    Args:
        n_workers: Processes that read and decode pictures; 0 for threads of this process; "auto"
            for a process per core in front of a GPU, and threads otherwise.

    Raises:
        ValueError: If it is neither "auto" nor at least 0.
    """

    def __init__(self, *, n_workers: int | Literal["auto"] = "auto") -> None:
        if n_workers != "auto" and (isinstance(n_workers, str) or n_workers < 0):
            raise ValueError(f"engine.n_workers must be auto or at least 0, got {n_workers}")
        self.n_workers = n_workers

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
            RuntimeError: If a process that reads pictures dies.
        """
        if not numbers:
            return iter(())
        start, stop = measure_range(listing, numbers)
        n_workers = self._choose(stop - start, backbone, n_threads)
        if n_workers:
            batches = read_in_processes(listing, numbers, backbone, rules, n_workers)
        else:
            pictures = (picture for number in numbers for picture in listing.read_chunk(number))
            batches = read_in_threads(pictures, backbone, rules, n_threads)
        return embed_batches(batches, backbone)

    def _choose(self, n_pictures: int, backbone: Backbone, n_threads: int) -> int:
        """Return the number of processes, and log what `auto` has chosen."""
        if self.n_workers != "auto":
            return int(self.n_workers)
        n_cores = len(os.sched_getaffinity(0))
        n_workers, reason = 0, "the model is on a CPU, which is slower than reading"
        if backbone.is_asynchronous and n_pictures < MIN_PICTURES:
            reason = f"{n_pictures} pictures are read before processes have started"
        elif backbone.is_asynchronous and n_cores == 1:
            reason = "there is one core"
        elif backbone.is_asynchronous:
            n_workers, reason = n_cores, f"one per core, for {n_pictures} pictures and a GPU"
            backbone.load_preprocessing()
            n_fitting = count_fitting(backbone, N_PREFETCH)
            if n_fitting is not None and n_fitting < n_workers:
                n_workers = n_fitting
                reason = f"{SHARED_MEMORY} has room for the batches of {n_fitting} processes"
        chosen = f"{n_workers} processes" if n_workers else f"{n_threads} threads"
        log.info("reading        %s (%s)", chosen, reason)
        return n_workers
