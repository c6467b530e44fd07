"""Choosing a weight on some queries and reporting it on others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.curve import Plateau, find_plateau, rank_at, score_ranks, trace_curve


@dataclass(frozen=True, eq=False)
class Lines:
    """Fused scores of one reranker and normalisation as a function of the weight.

    Attributes:
        start: (n_queries, top_k) fused scores at weight 0, in retrieval order.
        end: The same at weight 1.
        gold_columns: (n_queries,) column of the relevant image, -1 if it is not a candidate.
    """

    start: FusedArray
    end: FusedArray
    gold_columns: IntArray

    def take(self, queries: IntArray) -> "Lines":
        """Return the lines of some of the queries."""
        return Lines(self.start[queries], self.end[queries], self.gold_columns[queries])

    def score(self, weight: float, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's Hits@k and MRR@k at one weight."""
        return score_ranks(rank_at(self.start, self.end, self.gold_columns, weight), cutoffs)


@dataclass(frozen=True)
class Choice:
    """The best option and its plateau.

    Attributes:
        option: Name of the option.
        plateau: Interval of optimal weights, and the value of the measure.
        identity: Value of the measure at weight 0, on the same queries.
    """

    option: str
    plateau: Plateau
    identity: float

    @property
    def gain(self) -> float:
        """The gain on the queries that the choice was made on, which is optimistic."""
        return self.plateau.value - self.identity


@dataclass(frozen=True, eq=False)
class Folds:
    """The result of a cross-validation.

    Attributes:
        choices: One per fold, made without the fold's queries.
        reported: Per-query values at weights chosen without the query, averaged over repeats.
    """

    choices: list[Choice]
    reported: pd.DataFrame


def choose_weight(options: Mapping[str, Lines], measure: str, cutoffs: Sequence[int]) -> Choice:
    """Return the option with the largest value at any weight; ties go to the widest plateau."""
    return rate_options(options, measure, cutoffs)[0]


def rate_options(
    options: Mapping[str, Lines], measure: str, cutoffs: Sequence[int]
) -> list[Choice]:
    """Return each option at its best weight, the best option first; see `choose_weight`."""
    choices = []
    for name, lines in options.items():
        curve = trace_curve(lines.start, lines.end, lines.gold_columns, cutoffs)
        plateau = find_plateau(curve, measure)
        choices.append(Choice(name, plateau, float(curve[measure].iloc[0])))
    return sorted(choices, key=lambda c: (-c.plateau.value, c.plateau.low - c.plateau.high))


def split_folds(
    n_queries: int, n_folds: int, n_repeats: int, seed: int
) -> Iterator[list[IntArray]]:
    """Split the queries into `n_folds` random folds, `n_repeats` times.

    Raises:
        ValueError: If there are more folds than queries.
    """
    if n_folds > n_queries:
        raise ValueError(f"task.n_folds must be in [2, {n_queries}], got {n_folds}")
    random = np.random.default_rng(seed)
    for _ in range(n_repeats):
        yield np.array_split(random.permutation(n_queries), n_folds)


def cross_validate(
    options: Mapping[str, Lines],
    measure: str,
    cutoffs: Sequence[int],
    *,
    n_folds: int,
    n_repeats: int,
    seed: int,
) -> Folds:
    """Choose without each fold and report on it, for several random splits into folds."""
    n_queries = len(next(iter(options.values())).gold_columns)
    choices: list[Choice] = []
    totals = 0.0
    for folds in split_folds(n_queries, n_folds, n_repeats, seed):
        parts = []
        for fold in folds:
            others = np.setdiff1d(np.arange(n_queries), fold)
            choice = choose_weight(
                {name: lines.take(others) for name, lines in options.items()}, measure, cutoffs
            )
            choices.append(choice)
            values = options[choice.option].take(fold).score(choice.plateau.midpoint, cutoffs)
            parts.append(values.set_index(fold))
        totals = totals + pd.concat(parts).sort_index()
    return Folds(choices, totals / n_repeats)
