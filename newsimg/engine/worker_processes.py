"""Batches of pictures that are read in processes, by torch's DataLoader."""

import multiprocessing
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from newsimg.datatypes import Chunks, ValidationRules
from newsimg.engine.listing import Listing
from newsimg.engine.reading import ReadBatch, read_batch
from newsimg.engine.shared_memory import SHARED_MEMORY, count_fitting
from newsimg.interfaces import Backbone
from newsimg.storage.models.stacked import share_inputs

N_PREFETCH = 2  # batches per process that are read ahead of the model
# Imported once, in the process that the others are forked from.
PRELOADED = ["torch.utils.data", "newsimg.engine.worker_processes", "newsimg.storage.cached_models"]


@dataclass(frozen=True)
class BatchReader:
    """The batches of a listing, as a map-style dataset of torch: each item is a batch.

    Attributes:
        path: File of the listing.
        start: Position of the first picture.
        stop: Position after the last picture.
        backbone: Backbone, whose model is not used.
        rules: Rules for accepting pictures.
    """

    path: Path
    start: int
    stop: int
    backbone: Backbone
    rules: ValidationRules

    @cached_property
    def listing(self) -> Listing:
        """The listing, opened by the process that reads it."""
        return Listing(self.path)

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.backbone.batch_size)

    def __getitem__(self, number: int) -> ReadBatch | Exception:
        """Read a batch; an error is returned, which torch would raise with a traceback as text."""
        try:
            size = self.backbone.batch_size
            start = self.start + number * size
            pictures = self.listing.read_rows(start, min(start + size, self.stop))
            batch = read_batch(pictures, self.backbone, self.rules)
            if batch.inputs and all(isinstance(one, dict) for one in batch.inputs):
                batch = replace(batch, inputs=share_inputs(batch.inputs))
            return batch
        except Exception as error:
            return error


def read_in_processes(
    listing: Chunks, numbers: range, backbone: Backbone, rules: ValidationRules, n_workers: int
) -> Iterator[ReadBatch]:
    """Read pictures ahead of the model; see `read_in_threads`, which gives the same batches.

    Pixels come back in shared memory, of `N_PREFETCH` batches per process.

    Args:
        listing: The collection.
        numbers: Numbers of its chunks to read.
        backbone: Backbone that looks up and preprocesses pictures.
        rules: Rules for accepting pictures.
        n_workers: Number of processes.

    Raises:
        RuntimeError: If a process dies.
        ValueError: If shared memory has no room for the batches of the processes.
    """
    import torch
    from torch.utils.data import DataLoader

    backbone.load_preprocessing()
    start, stop = measure_range(listing, numbers)
    reader = BatchReader(listing.path, start, stop, backbone, rules)
    n_processes = min(n_workers, len(reader))
    n_fitting = count_fitting(backbone, N_PREFETCH)
    if n_fitting is not None and n_fitting < n_processes:
        threads = "" if n_fitting else " to read in threads"
        raise ValueError(
            f"engine.n_workers={n_workers}: {SHARED_MEMORY} has room for the batches of "
            f"{n_fitting} processes: add engine.n_workers={n_fitting}{threads}, choose a smaller "
            "backbone.batch_size, or give a container more (docker run --shm-size)"
        )
    context = multiprocessing.get_context("forkserver")  # a copy of this process has its threads
    context.set_forkserver_preload(PRELOADED)
    loader: Any = DataLoader(
        reader,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=n_processes,
        prefetch_factor=N_PREFETCH,
        multiprocessing_context=context,
        worker_init_fn=ignore_interrupts,
        pin_memory=backbone.is_asynchronous and torch.cuda.is_available(),
    )
    needs_main = b"__main__" in pickle.dumps(reader)  # a class of the script itself
    with nullcontext() if needs_main else hide_main():
        batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (RuntimeError, EOFError, OSError) as error:  # while it sends memory, the latter two
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise RuntimeError(
                f"engine.n_workers={n_workers}: a process that reads pictures was killed, possibly "
                "out of memory; the embeddings computed so far are cached: run the command again, "
                "with a smaller engine.n_workers, or 0 to read in threads "
                f"({str(error) or type(error).__name__:.120})"
            ) from error
        if isinstance(batch, Exception):
            raise batch
        yield batch


def measure_range(listing: Chunks, numbers: range) -> tuple[int, int]:
    """Return the positions of the first picture of some chunks, and after the last one."""
    size = listing.size_of(0)
    return numbers.start * size, (numbers.stop - 1) * size + listing.size_of(numbers.stop - 1)


def ignore_interrupts(_: int) -> None:
    """Leave Ctrl-C to the main process, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def hide_main() -> Iterator[None]:
    """Keep new processes from importing the main module, which may be a script without a guard."""
    main: Any = sys.modules["__main__"]
    hidden = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
    vars(main).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        vars(main).update(hidden)
