"""Seconds of an exact search for a batch of headlines, as a multiple of a matrix product.

    python tests/bench/bench_search.py [--images 1000000] [--queries 1000] [--dim 256] [--rounds 3]

`index=flat` searches all headlines at once and one at a time; its peers multiply the headlines with
all vectors in blocks, by torch and by numpy, and take the largest products. The product alone is
the limit. Methods alternate; the table has medians. With FAISS for GPUs and a GPU,
`index.device=cuda` is measured too.
"""

import argparse
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
from timing import time_in_turn

from newsimg.datatypes import FloatArray, IntArray
from newsimg.index.faiss_index import FaissIndex
from newsimg.reporting.console import print_table

BLOCK = 16_384  # vectors of the peers' products: 64 MB of scores for 1,000 headlines
ALONE = 50  # headlines that are searched one at a time
LIMIT = "product alone, torch"


def main() -> None:
    """Measure all methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--top-k", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    images, queries = (
        random.standard_normal((n, options.dim), dtype=np.float32)
        for n in (options.images, options.queries)
    )
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    methods = list_methods(images, queries, options.top_k)
    rows = {name: method() for name, method in methods.items()}  # warm-up
    medians = time_in_turn(methods, options.rounds)
    expected = rows["product and topk, torch"]
    table = []
    for name, median in medians.items():
        n_queries = ALONE if "one at a time" in name else options.queries
        each = median / n_queries
        limit = medians[LIMIT] / options.queries
        found = rows[name]
        same = "" if found is None else f"{(found == expected[: len(found)]).mean():.4f}"
        table.append(
            {
                "method": name,
                "ms per headline": f"{1000 * each:.2f}",
                "times the product": f"{each / limit:.2f}",
                "same rows": same,
            }
        )
    title = f"{options.queries} headlines, {options.images} images of dim {options.dim}"
    print_table(pd.DataFrame(table), f"{title}, {faiss.omp_get_max_threads()} threads")


def list_methods(images: FloatArray, queries: FloatArray, top_k: int) -> dict[str, Callable]:
    """Return functions that find the rows of the nearest images, (n_queries, top_k)."""
    index = build(images)
    vectors, texts = torch.from_numpy(images), torch.from_numpy(queries)
    methods: dict[str, Callable[[], Any]] = {
        LIMIT: lambda: multiply(vectors, texts),
        "product and topk, torch": lambda: search_by_torch(vectors, texts, top_k),
        "product and argpartition, numpy": lambda: search_by_numpy(images, queries, top_k),
        "index=flat": lambda: index.search(queries, top_k)[1],
        "index=flat, one at a time": lambda: np.concatenate(
            [index.search(query[np.newaxis], top_k)[1] for query in queries[:ALONE]]
        ),
    }
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        on_gpu = build(images, "cuda")
        methods["index=flat index.device=cuda"] = lambda: on_gpu.search(queries, top_k)[1]
    return methods


def build(images: FloatArray, device: str = "cpu") -> FaissIndex:
    """Return an exact index."""
    index = FaissIndex(factory="Flat", device=device)
    index.build(images)
    return index


def multiply(images: torch.Tensor, queries: torch.Tensor) -> None:
    """Multiply, and keep nothing."""
    for start in range(0, len(images), BLOCK):
        _ = queries @ images[start : start + BLOCK].T


def search_by_torch(images: torch.Tensor, queries: torch.Tensor, top_k: int) -> IntArray:
    """Keep the largest products of each block, then of all."""
    scores, rows = [], []
    for start in range(0, len(images), BLOCK):
        block = (queries @ images[start : start + BLOCK].T).topk(top_k)
        scores.append(block.values)
        rows.append(block.indices + start)
    best = torch.cat(scores, dim=1).topk(top_k).indices
    found: IntArray = torch.cat(rows, dim=1).gather(1, best).numpy()
    return found


def search_by_numpy(images: FloatArray, queries: FloatArray, top_k: int) -> IntArray:
    """Keep the largest products of each block, then of all."""
    scores, rows = [], []
    for start in range(0, len(images), BLOCK):
        products = queries @ images[start : start + BLOCK].T
        largest = np.argpartition(-products, top_k - 1, axis=1)[:, :top_k]
        scores.append(np.take_along_axis(products, largest, axis=1))
        rows.append(largest + start)
    best = np.argsort(-np.concatenate(scores, axis=1), axis=1)[:, :top_k]
    return np.take_along_axis(np.concatenate(rows, axis=1), best, axis=1)


if __name__ == "__main__":
    main()
