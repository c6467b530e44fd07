"""An index larger than memory: trained once, written in shards, searched with merged results.

    python tests/bench/bench_scale.py --folder FOLDER [--n 10000000] [--dim 128] [--shard 1000000]

Uses random vectors instead of embeddings. Rates, sizes and memory are the same; recall is not
meaningful, as random vectors have no near neighbours. Instead, it is checked that vectors find
themselves.
"""

import argparse
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tqdm import tqdm

from newsimg.datatypes import FloatArray
from newsimg.index.base import GrowingIndex
from newsimg.index.merged_search import search_merged
from newsimg.index.vectors import VectorIndex
from newsimg.reporting.console import console, print_table
from newsimg.run import CONF_DIR

BLOCK = 50_000
MIB = 2**20
N_QUERIES = 200
TOP_K = 25


def main() -> None:
    """Write the shards, search them, and print rates, sizes and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--shard", type=int, default=1_000_000)
    parser.add_argument("--index", default="ivf_pq")
    arguments, overrides = parser.parse_known_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", [f"index={arguments.index}", *overrides]).index
    index: GrowingIndex = instantiate(config, _convert_="all")

    began = time.perf_counter()
    n_training = index.training_size(arguments.shard)
    sample = np.concatenate([*draw(0, n_training, arguments.dim)])
    index.train(sample, arguments.shard)
    trained = arguments.folder / "trained.faiss"
    index.write(trained)
    console.print(
        f"{index.factory} trained on {n_training:,} vectors "
        f"in {time.perf_counter() - began:.0f} s; {faiss.omp_get_max_threads()} threads"
    )
    del sample
    paths, rows = [], []
    for number in range(-(-arguments.n // arguments.shard)):
        n_vectors = min(arguments.shard, arguments.n - number * arguments.shard)
        paths.append(arguments.folder / f"shard-{number:04}.faiss")
        rows.append(write_shard(trained, paths[-1], number, n_vectors, arguments.dim))
    table = pd.DataFrame(rows)
    print_table(table, f"{arguments.n:,} vectors of dim {arguments.dim}")
    seconds = time.perf_counter() - began
    console.print(
        f"{arguments.n / table['add s'].sum():,.0f} vectors/s added, "
        f"{arguments.n / seconds:,.0f} vectors/s with drawing, training and writing; "
        f"{sum(path.stat().st_size for path in paths) / MIB:,.0f} MiB on disk"
    )
    for mapped in (True, False):
        search_shards(paths, arguments.dim, arguments.shard, mapped)


def draw(seed: int, n: int, dim: int) -> Iterator[FloatArray]:
    """Yield random unit vectors in blocks, reproducibly."""
    random = np.random.default_rng([28, seed])
    for start in range(0, n, BLOCK):
        block = random.standard_normal((min(BLOCK, n - start), dim), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        yield block


def write_shard(trained: Path, path: Path, number: int, n: int, dim: int) -> dict[str, object]:
    """Write a shard block by block; the ids of every shard start at 0."""
    index = VectorIndex.read(trained)
    added, start = 0.0, 0
    for block in tqdm(draw(number + 1, n, dim), path.name, -(-n // BLOCK), disable=None):
        began = time.perf_counter()
        index.add(block, np.arange(start, start + len(block)))
        added += time.perf_counter() - began
        start += len(block)
    began = time.perf_counter()
    index.write(path)
    return {
        "shard": number,
        "add s": round(added, 1),
        "write s": round(time.perf_counter() - began, 1),
        "bytes/vector": round(path.stat().st_size / n, 1),
        "RSS MiB": round(resident()),
        "peak RSS MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def search_shards(paths: list[Path], dim: int, shard: int, mapped: bool) -> None:
    """Search all shards for vectors of some shards, which should be found at rank 1."""
    before = resident()
    indexes = [VectorIndex.read(path, mapped) for path in paths]
    offsets = [number * shard for number in range(len(paths))]
    numbers = sorted({0, len(paths) // 2, len(paths) - 1})
    n_each = N_QUERIES // len(numbers)
    queries = np.concatenate([next(draw(number + 1, BLOCK, dim))[:n_each] for number in numbers])
    expected = np.concatenate([number * shard + np.arange(n_each) for number in numbers])
    search_merged(indexes, offsets, queries, TOP_K)  # reads the mapped files
    singles = []
    for i in range(50):
        began = time.perf_counter()
        search_merged(indexes, offsets, queries[[i]], TOP_K)
        singles.append(time.perf_counter() - began)
    began = time.perf_counter()
    _, rows = search_merged(indexes, offsets, queries, TOP_K)
    batched = (time.perf_counter() - began) / len(queries)
    console.print(
        f"{len(indexes)} shards {'mapped' if mapped else 'in memory'}: "
        f"{1000 * float(np.median(singles)):.1f} ms per single query, {1000 * batched:.1f} ms in "
        f"a batch of {len(queries)}; {(rows[:, 0] == expected).mean():.3f} find themselves first; "
        f"RSS {before:,.0f} -> {resident():,.0f} MiB"
    )


def resident() -> float:
    """Return the resident memory of this process in MiB, including mapped files."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


if __name__ == "__main__":
    main()
