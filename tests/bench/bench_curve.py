"""Time to compute the exact curve over the weight, compared with sorting on a grid of weights.

python tests/bench/bench_curve.py
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from newsimg.evaluation.curve import find_plateau, look_up, rank_at, score_ranks, trace_curve
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.reporting.console import print_table
from newsimg.weight.base import LinearWeight, interpolate
from newsimg.weight.l1 import L1Weight
from newsimg.weight.rank import RankWeight
from newsimg.weight.zscore import ZScoreWeight

N_REPEATS = 5
T = TypeVar("T")


def main() -> None:
    """Measure 850 queries x 100 candidates, the benchmark's size, and four times as many."""
    import pandas as pd

    rows = []
    for n_queries in (850, 3400):
        for weight in (L1Weight(value=0.5), ZScoreWeight(value=0.5), RankWeight(value=0.5)):
            rows.append(measure(weight, n_queries, top_k=100))
    print_table(pd.DataFrame(rows), "exact curve, and sorting on a grid (seconds, best of 5)")


def measure(weight: LinearWeight, n_queries: int, top_k: int) -> dict[str, object]:
    """Measure the curve and grids of 11 and 101 weights, and compare their values."""
    random = np.random.default_rng(28)
    scores = random.normal(0.25, 0.03, (n_queries, top_k)).astype(np.float32)
    start = weight.normalize(-np.sort(-scores, axis=1))
    end = weight.normalize(random.normal(5, 1, (n_queries, top_k)).astype(np.float32))
    positions = np.minimum(random.geometric(0.05, n_queries) - 1, top_k - 1)
    curve, seconds = clock(lambda: trace_curve(start, end, positions, CUTOFFS))
    row: dict[str, object] = {
        "weight": type(weight).__name__,
        "n_queries": n_queries,
        "top_k": top_k,
        "intervals": len(curve),
        "curve": seconds,
    }
    for n_weights in (11, 101):
        grid = np.arange(n_weights) / (n_weights - 1)
        best, row[f"grid of {n_weights}"] = clock(partial(sort_grid, start, end, positions, grid))
        row[f"best of {n_weights}"] = best
    row["best of all"] = find_plateau(curve, "hits_at_1").value
    differing = 0
    for w in random.random(100):
        values = score_ranks(rank_at(start, end, positions, w), CUTOFFS).mean()
        differing += not np.allclose(values, look_up(curve, w)[values.index], atol=1e-12)
    row["differing of 100"] = differing
    return row


def sort_grid(start: np.ndarray, end: np.ndarray, positions: np.ndarray, grid: np.ndarray) -> float:
    """Return the largest Hits@1 on a grid, sorting for each weight."""
    best = 0.0
    for w in grid:
        order = np.argsort(-interpolate(start, end, w), axis=1, kind="stable")
        best = max(best, float((order[:, 0] == positions).mean()))
    return best


def clock(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of `work`, and the shortest of `N_REPEATS` times in seconds."""
    times = []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        value = work()
        times.append(time.perf_counter() - start)
    return value, min(times)


if __name__ == "__main__":
    main()
