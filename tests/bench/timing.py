"""Timing of methods that are compared."""

import statistics
import time
from collections.abc import Callable, Mapping


def time_in_turn(methods: Mapping[str, Callable[[], object]], n_rounds: int) -> dict[str, float]:
    """Return the median seconds of each method; they alternate, so that other load affects all."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(n_rounds):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
