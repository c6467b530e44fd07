"""Pictures per second that the reading side feeds to a model.

    python tests/bench/bench_stream.py [--pictures 768] [--rounds 5] [--workers 2] [--model 10000]

The model only takes its time: by default it embeds 10,000 pictures per second, as a GPU would, and
leaves the cores to reading. Pictures are JPEGs of 500x375, preprocessed as for CLIP ViT-B/32, in
batches of 64. A speed is that of the pictures between a short and a long run, so that neither the
start of processes nor what is read ahead is in it. The methods alternate in one process.

The limit is decoding and resizing alone on one core, times the cores. DataLoader is torch's, with
the library's own image processor, as in its documentation. The first table has the CPU time of a
picture in one process, which other load on the machine affects less.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_embed import RULES, save_photograph
from PIL import Image as PILImage
from timing import time_in_turn
from torch.utils.data import DataLoader
from transformers import CLIPImageProcessorPil

from newsimg.backbone.pictures.preprocessing import find_preprocessor
from newsimg.datatypes import FloatArray, Image
from newsimg.engine.listing import Listing, write_listing
from newsimg.engine.reading import read_in_threads
from newsimg.engine.stream import embed_batches
from newsimg.engine.worker_processes import BatchReader, read_in_processes
from newsimg.interfaces import Backbone
from newsimg.reporting.console import print_table

BATCH = 64
N_FILES = 64  # distinct files, listed again and again


class TimedBackbone(Backbone):
    """A model that takes its time, with the preprocessing of CLIP."""

    query_template = "{title}"
    fingerprint = "timed"
    batch_size = BATCH
    is_asynchronous = True

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.pixels = find_preprocessor(CLIPImageProcessorPil())

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Not measured."""
        raise NotImplementedError

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """Take the time of a batch."""
        time.sleep(len(images) / self.speed)
        return np.ones((len(images), 1), np.float32)

    def preprocess(self, image: Image) -> Any:
        """Decode, resize and crop, as `DualEncoder` does."""
        from newsimg.storage.pictures.images import open_image

        assert self.pixels is not None
        return {"pixels": self.pixels(open_image(image))[np.newaxis]}


class PlainDataset:
    """Pictures with the library's processor, one at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.processor = CLIPImageProcessorPil()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        picture = PILImage.open(self.paths[number]).convert("RGB")
        pixels: torch.Tensor = self.processor(picture, return_tensors="pt")["pixel_values"][0]
        return pixels


def main() -> None:
    """Measure all methods, alternating."""
    parser = argparse.ArgumentParser(description=__doc__)
    n_cores = len(os.sched_getaffinity(0))
    parser.add_argument("--pictures", type=int, default=768, help="per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=n_cores)
    parser.add_argument("--model", type=float, default=10_000, help="pictures per second")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = TimedBackbone(options.model)
    with TemporaryDirectory() as folder:
        files = [save_photograph(Path(folder), (500, 375), i) for i in range(N_FILES)]
        n_short = 2 * BATCH * options.workers
        lengths = {"short": n_short, "long": n_short + options.pictures}
        methods: dict[str, Callable[[], object]] = {
            "one core": lambda: [backbone.preprocess(image) for image in files]
        }
        for length, n_pictures in lengths.items():
            images = [Image(f"{i:08}", files[i % N_FILES].path) for i in range(n_pictures)]
            listing = write_listing(images, Path(folder) / f"{length}.arrow", 8 * BATCH)
            runs = make_runs(images, listing, backbone, options)
            methods |= {f"{name}, {length}": run for name, run in runs.items()}
        costs = measure_cpu(images[:BATCH], listing, backbone, options.rounds)
        print_table(pd.DataFrame(costs), "CPU time in one process")
        table = measure(methods, list(runs), len(files), options)
    title = f"{options.workers} workers on {n_cores} cores, a model of {options.model:.0f}/s"
    print_table(pd.DataFrame(table), f"{title}, medians of {options.rounds}")


def measure_cpu(
    images: list[Image], listing: Listing, backbone: TimedBackbone, n_rounds: int
) -> list[dict[str, str]]:
    """Return the CPU time of a picture of the first batch, in what a reading process does."""
    reader = BatchReader(listing.path, 0, BATCH, backbone, RULES)
    plain = PlainDataset([image.path for image in images])
    works: dict[str, Callable[[], object]] = {
        "decoding and resizing alone": lambda: [backbone.preprocess(image) for image in images],
        "newsimg: read, hash, decode, stack": lambda: reader[0],
        "DataLoader + processor": lambda: torch.stack([plain[i] for i in range(BATCH)]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(n_rounds + 1):  # the first one warms up
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(own[1:]) for name, own in seconds.items()}
    alone = medians["decoding and resizing alone"]
    return [
        {
            "work": name,
            "ms per picture": f"{1000 * own / BATCH:.2f}",
            "of decoding alone": f"{alone / own:.2f}",
            "to DataLoader": f"{medians['DataLoader + processor'] / own:.2f}",
        }
        for name, own in medians.items()
    ]


def make_runs(
    images: list[Image], listing: Listing, backbone: TimedBackbone, options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """Return the methods that are compared."""
    return {
        "newsimg, threads": lambda: stream(listing, backbone, 0, options.workers),
        "newsimg, processes": lambda: stream(listing, backbone, options.workers, 1),
        "DataLoader + processor": lambda: load_plainly(images, options),
    }


def measure(
    methods: dict[str, Callable[[], object]],
    names: list[str],
    n_files: int,
    options: argparse.Namespace,
) -> list[dict[str, str]]:
    """Return the table."""
    for name, method in methods.items():  # warm-up
        if not name.endswith("long"):
            method()
    seconds = time_in_turn(methods, options.rounds)
    one_core = n_files / seconds["one core"]
    limit = min(one_core * options.workers, options.model)
    durations = {name: seconds[f"{name}, long"] - seconds[f"{name}, short"] for name in names}
    if min(durations.values()) <= 0:
        raise SystemExit("a long run took no longer than a short one: the machine is too busy")
    speeds = {name: options.pictures / duration for name, duration in durations.items()}
    n_short = 2 * BATCH * options.workers
    table = [
        {
            "method": name,
            "pictures/s": f"{speed:.0f}",
            "of cores x one core": f"{speed / limit:.2f}",
            "to DataLoader": f"{speed / speeds['DataLoader + processor']:.2f}",
            "start": f"{max(seconds[f'{name}, short'] - n_short / speed, 0):.1f} s",
        }
        for name, speed in speeds.items()
    ]
    return [*table, {"method": "one core", "pictures/s": f"{one_core:.0f}"}]


def stream(listing: Listing, backbone: Backbone, n_workers: int, n_threads: int) -> None:
    """Embed the listing with processes, or with threads if there are none."""
    if n_workers:
        batches = read_in_processes(listing, range(listing.n_chunks), backbone, RULES, n_workers)
    else:
        pictures = (one for i in range(listing.n_chunks) for one in listing.read_chunk(i))
        batches = read_in_threads(pictures, backbone, RULES, n_threads)
    for _ in embed_batches(batches, backbone):
        pass


def load_plainly(images: list[Image], options: argparse.Namespace) -> None:
    """Load batches with torch's DataLoader."""
    loader: Any = DataLoader(
        PlainDataset([image.path for image in images]),  # type: ignore[arg-type]
        batch_size=BATCH,
        num_workers=options.workers,
    )
    for batch in loader:
        time.sleep(len(batch) / options.model)


if __name__ == "__main__":
    main()
