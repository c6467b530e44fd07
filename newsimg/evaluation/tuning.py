"""Choosing a weight on some queries and reporting it on others."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray, IntArray
from newsimg.evaluation.curve import rank_at, score_ranks, trace_curve
from newsimg.evaluation.query_curve import QueryCurve, trace_queries
from newsimg.interfaces import WeightRule


class TunedLines(Protocol):
    """Fused scores of some queries as a function of the weight, and their measures."""

    @property
    def n_queries(self) -> int:
        """Number of queries."""

    def take(self, queries: IntArray) -> Self:
        """Return the lines of some of the queries."""

    def score(self, weight: float, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's measures at one weight."""

    def score_retrieval(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's measures by retrieval alone."""

    def trace(self, measure: str) -> QueryCurve:
        """Return the curve of a measure by query."""

    def draw_curve(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return the exact curve of all measures."""


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

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.gold_columns)

    def take(self, queries: IntArray) -> "Lines":
        """Return the lines of some of the queries."""
        return Lines(self.start[queries], self.end[queries], self.gold_columns[queries])

    def score(self, weight: float, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's Hits@k and MRR@k at one weight."""
        return score_ranks(rank_at(self.start, self.end, self.gold_columns, weight), cutoffs)

    def score_retrieval(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return each query's measures by retrieval alone."""
        return score_ranks(self.gold_columns + 1, cutoffs)

    def trace(self, measure: str) -> QueryCurve:
        """Return the curve of a measure by query; see `trace_queries`."""
        return trace_queries(self.start, self.end, self.gold_columns, measure)

    def draw_curve(self, cutoffs: Sequence[int]) -> pd.DataFrame:
        """Return the exact curve of all measures; see `trace_curve`."""
        return trace_curve(self.start, self.end, self.gold_columns, cutoffs)


@dataclass(frozen=True)
class Choice:
    """An option at the weight that a rule has chosen.

    Attributes:
        option: Name of the option.
        low: Lower end of the interval of weights that are as good, as far as the queries tell.
        weight: The chosen weight.
        high: Upper end of the interval.
        value: Value of the measure at the weight, on the queries that the choice was made on.
        identity: Value of the measure by retrieval alone, on the same queries.
    """

    option: str
    low: float
    weight: float
    high: float
    value: float
    identity: float

    @property
    def gain(self) -> float:
        """The gain on the queries that the choice was made on, which is optimistic."""
        return self.value - self.identity


@dataclass(frozen=True, eq=False)
class Option:
    """A reranker and normalisation: the fused scores, and the curve that the rule reads."""

    lines: TunedLines
    curve: QueryCurve


@dataclass(frozen=True)
class Chooser:
    """How a weight is chosen.

    Attributes:
        rule: Reads the curve.
        measure: Measure to maximise, by which options are compared.
        n_resamples: Bootstrap resamples of the queries.
        seed: Seed of the resamples.
    """

    rule: WeightRule
    measure: str
    n_resamples: int
    seed: int

    def trace(self, lines: TunedLines) -> Option:
        """Compute the curve of an option."""
        return Option(lines, lines.trace(self.rule.measure or self.measure))

    def choose(self, name: str, option: Option, queries: IntArray) -> Choice:
        """Choose a weight of an option by some of the queries.

        The interval is never narrower than the noise, see `CurveSample.noise`.
        """
        sample = option.curve.take(queries).sample(self.n_resamples, self.seed)
        low, weight, high = self.rule.choose(
            sample.bounds, sample.values, sample.errors, sample.peaks
        )
        low, high = widen(low, high, sample.noise)
        lines, cutoffs = option.lines.take(queries), find_cutoffs(self.measure)
        value, identity = (
            float(table[self.measure].mean())
            for table in (lines.score(weight, cutoffs), lines.score_retrieval(cutoffs))
        )
        return Choice(name, low, weight, high, value, identity)


@dataclass(frozen=True, eq=False)
class Folds:
    """The result of a cross-validation.

    Attributes:
        repeats: For each repeat its folds: the queries, and the choice that was made without them.
        reported: Per-query values at weights chosen without the query, averaged over repeats.
    """

    repeats: list[list[tuple[IntArray, Choice]]]
    reported: pd.DataFrame

    @property
    def choices(self) -> list[Choice]:
        """The choice of each fold."""
        return [choice for folds in self.repeats for _, choice in folds]


def find_cutoffs(measure: str) -> list[int]:
    """Return the cutoff of a measure such as mrr_at_10; none for one without."""
    return [int(found[0])] if (found := re.findall(r"_at_(\d+)$", measure)) else []


def widen(low: float, high: float, width: float) -> tuple[float, float]:
    """Extend an interval within [0, 1] on both sides to at least a width."""
    missing = max(width - (high - low), 0.0)
    low = min(max(low - missing / 2, 0.0), 1.0)
    high = min(max(high, low + width), 1.0)
    return max(min(low, high - width), 0.0), high


def rate_options(options: Mapping[str, TunedLines], chooser: Chooser) -> list[Choice]:
    """Return each option at its chosen weight, that with the largest value first.

    Ties go to the widest interval.
    """
    return _rate({name: chooser.trace(lines) for name, lines in options.items()}, chooser)


def _rate(
    options: Mapping[str, Option], chooser: Chooser, queries: IntArray | None = None
) -> list[Choice]:
    choices = [
        chooser.choose(
            name,
            option,
            np.arange(option.lines.n_queries) if queries is None else queries,
        )
        for name, option in options.items()
    ]
    return sorted(choices, key=lambda c: (-c.value, c.low - c.high))


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
    options: Mapping[str, TunedLines],
    chooser: Chooser,
    cutoffs: Sequence[int],
    *,
    n_folds: int,
    n_repeats: int,
    seed: int,
) -> Folds:
    """Choose without each fold and report on it, for several random splits into folds."""
    traced = {name: chooser.trace(lines) for name, lines in options.items()}
    n_queries = next(iter(options.values())).n_queries
    repeats: list[list[tuple[IntArray, Choice]]] = []
    totals = 0.0
    for folds in split_folds(n_queries, n_folds, n_repeats, seed):
        repeats.append([])
        parts = []
        for fold in folds:
            choice = _rate(traced, chooser, np.setdiff1d(np.arange(n_queries), fold))[0]
            repeats[-1].append((fold, choice))
            values = options[choice.option].take(fold).score(choice.weight, cutoffs)
            parts.append(values.set_index(fold))
        totals = totals + pd.concat(parts).sort_index()
    return Folds(repeats, totals / n_repeats)
