"""Recall, search time, size and build time of each index option on a million clustered vectors.

    python tests/bench/bench_index.py --folder FOLDER --options flat,ivf_flat [--n 1000000]

The vectors and the rows of the table are saved in FOLDER, so that the options can be measured one
at a time. The time of an exact search is measured again with each option, alternating query by
query.

The vectors resemble those of an image encoder: the variance of their dimensions decreases as 1/i in
a random basis (most of it is in about thirty dimensions), images are clustered around 5,000 topics
of unequal popularity, half of the variance is between topics, and a third of an image's length is
common to all. Queries are drawn from the same distribution and are not in the index.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tqdm import tqdm

from newsimg.datatypes import FloatArray
from newsimg.index.base import GrowingIndex
from newsimg.index.building.quality import measure_quality, single_thread, split_blocks
from newsimg.reporting.console import console, print_table
from newsimg.run import CONF_DIR

SEED = 28
TOP_K = 25
BLOCK = 50_000
OPTIONS = "flat,flat_fp16,ivf_flat,ivf_sq8,ivf_pq,ivf_pq_refined,hnsw"


def main() -> None:
    """Measure the given options, and print the table of all options measured in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--options", default=OPTIONS)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    arguments, overrides = parser.parse_known_args()
    size = f"{arguments.n}x{arguments.dim}"
    rows_path = arguments.folder / f"rows-{size}.jsonl"
    vectors = draw_vectors(
        arguments.folder / f"vectors-{size}.npy", arguments.n + arguments.queries, arguments.dim
    )
    for option in filter(None, arguments.options.split(",")):
        row = measure(option, vectors[: arguments.n], vectors[arguments.n :], overrides)
        with rows_path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    rows = pd.read_json(rows_path, lines=True).drop_duplicates("option", keep="last")
    print_table(
        rows.drop(columns=["seconds"]),
        f"{arguments.n:,} vectors of dim {arguments.dim}, {arguments.queries} queries",
    )
    console.print("ms: per single query, and per query in a batch; speedup: over exact search")
    console.print("threads: of batches and builds; single queries use one thread")


def draw_vectors(path: Path, n: int, dim: int) -> FloatArray:
    """Write clustered unit vectors to a file if it does not exist, and memory-map it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(SEED)
        scale = (1 / np.sqrt(1 + np.arange(dim))).astype(np.float32)
        rotation = np.linalg.qr(random.normal(size=(dim, dim)))[0].astype(np.float32)
        n_topics = max(n // 200, 50)
        topics = random.standard_normal((n_topics, dim), dtype=np.float32) * scale
        topics += (scale**2).sum() ** 0.5 * rotation[0]
        popularity = 1 / (np.arange(n_topics) + 10)
        unfinished = path.with_suffix(".part")
        drawn = np.lib.format.open_memmap(unfinished, "w+", np.float32, (n, dim))
        for start in tqdm(range(0, n, BLOCK), "draw", disable=None):
            stop = min(start + BLOCK, n)
            topic = random.choice(n_topics, stop - start, p=popularity / popularity.sum())
            block = random.standard_normal((stop - start, dim), dtype=np.float32) * scale
            block = (block + topics[topic]) @ rotation
            drawn[start:stop] = block / np.linalg.norm(block, axis=1, keepdims=True)
        drawn.flush()
        unfinished.rename(path)
    return np.load(path, mmap_mode="r")


def measure(
    option: str, images: FloatArray, queries: FloatArray, overrides: list[str]
) -> dict[str, object]:
    """Build an option block by block, and compare it with an exact search."""
    n = len(images)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [f"index={option}", *overrides]).index
    index: GrowingIndex = instantiate(config, _convert_="all")
    random = np.random.default_rng(index.seed)
    drawn = np.sort(random.choice(n, index.training_size(n), replace=False))
    train = clock(lambda: index.train(images[drawn], n))
    add = sum(
        clock(partial(index.add, block, ids))
        for block, ids in tqdm(split_blocks(images, np.arange(n), BLOCK), option, disable=None)
    )
    queries = np.ascontiguousarray(queries)
    quality = measure_quality(index, split_blocks(images, np.arange(n)), queries, TOP_K)
    flat_ms, option_ms = compare_singly(index, np.ascontiguousarray(images), queries[:60])
    size = index.bytes_per_vector
    return {
        "option": option,
        "factory": index.factory,
        "nprobe": index.numbers.get("nprobe", ""),
        f"recall@{TOP_K}": quality.recall,
        "ms": round(option_ms, 3),
        "speedup": f"{flat_ms / option_ms:.1f}",
        "ms batched": round(quality.ms_batched, 3),
        "train s": round(train),
        "add s": round(add),
        "bytes": round(size),
        "of flat": f"1/{(4 * images.shape[1] + 8) / size:.2f}",
        "n_training": len(drawn),
        "threads": quality.n_threads,
        "seconds": round(train + add, 2),
    }


def compare_singly(
    index: GrowingIndex, images: FloatArray, queries: FloatArray
) -> tuple[float, float]:
    """Return the median milliseconds per query of an exact search and of the index."""
    times: list[tuple[float, float]] = []
    with single_thread():
        for i in range(len(queries)):
            query = queries[[i]]
            flat = clock(partial(faiss.knn, query, images, TOP_K, faiss.METRIC_INNER_PRODUCT))
            times.append((flat, clock(partial(index.search, query, TOP_K))))
    flat_ms, option_ms = 1000 * np.median(times[5:], axis=0)
    return float(flat_ms), float(option_ms)


def clock(work: Callable[[], object]) -> float:
    """Return the duration of `work` in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
