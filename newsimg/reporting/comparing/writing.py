"""Comparison of runs in folders: tests, tables and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from newsimg.datatypes import MAX_COMPARED
from newsimg.evaluation.stats import CONFIDENCE
from newsimg.reporting.comparing.pairs import (
    Comparison,
    Pair,
    choose_pairs,
    compare_candidates,
    count_outcomes,
)
from newsimg.reporting.comparing.rated import read_given
from newsimg.reporting.comparing.runs import (
    ComparedRun,
    find_common,
    list_config_differences,
    list_pool_differences,
    read_compared,
)
from newsimg.reporting.pages.comparison import Head, write_comparison
from newsimg.reporting.plots import name_measure

PAGE, TESTS = "compare.html", "compare.csv"
EXAMPLE = "newsimg task=compare 'task.runs=[multirun/single/DAY/TIME,multirun/single/DAY/TIME]'"


@dataclass(frozen=True)
class Choices:
    """What is compared.

    Attributes:
        n_runs: Number of runs.
        baseline: Position of the run that the others are tested against; None for every pair.
        metrics: Measures, such as "hits_at_1".
        common: Whether only the headlines that all runs have are compared.
    """

    n_runs: int
    baseline: int | None
    metrics: tuple[str, ...]
    common: bool

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: If one is out of range.
        """
        if not 2 <= self.n_runs <= MAX_COMPARED:
            raise ValueError(
                f"task.runs must name 2 to {MAX_COMPARED} folders of runs, as 'written to' tells "
                f"them at a run's end, got {self.n_runs}: {EXAMPLE}"
            )
        if self.baseline is not None and not 0 <= self.baseline < self.n_runs:
            raise ValueError(
                f"task.baseline must be in [1, {self.n_runs}] or null, got {self.baseline + 1}"
            )
        if not self.metrics:
            raise ValueError("task.metrics must name at least one measure, got []")


@dataclass(frozen=True, eq=False)
class Compared:
    """The result of a comparison.

    Attributes:
        metrics: For MLflow.
        tests: A row per pair and measure.
        tables: For the console: title, texts, number of columns that say what a row is about.
        explanation: How to read the tables.
    """

    metrics: dict[str, float]
    tests: pd.DataFrame
    tables: Sequence[tuple[str, pd.DataFrame, int]]
    explanation: str


def compare_runs(folders: Sequence[Path], choices: Choices, path: Path) -> Compared:
    """Compare the runs in some folders, and write the page.

    Args:
        folders: Folders of runs of task=evaluate or task=infer.
        choices: What is compared.
        path: The HTML file.

    Raises:
        FileNotFoundError: If a folder does not exist.
        ValueError: If a folder is not that of a finished run, or the runs have other headlines.
    """
    runs = read_compared(folders)
    ids = find_common(runs, choices.common)
    pairs = choose_pairs(len(runs), choices.baseline)
    candidates = [run.candidates for run in runs]
    rated = read_given([run.folder for run in runs], ids)
    comparison = compare_candidates(candidates, ids, choices.metrics, pairs, rated)
    outcomes = [count_outcomes(comparison, candidates[a], candidates[b]) for a, b in pairs]
    note = explain_tests(runs, comparison, pairs, choices.baseline)
    differences = list_config_differences([run.params for run in runs])
    head = Head(
        facts=describe_facts(runs, comparison),
        names=[run.name for run in runs],
        folders=[str(run.folder) for run in runs],
        measures=[
            {"name": name_measure(name)}
            | {"values": [own.loc[name, ["value", "low", "high"]].tolist() for own in means]}
            for means in [comparison.means]
            for name in (means[0].index if means else ())
        ],
        tests=[
            {name: row[name] for name in ("first", "second", "value", "low", "high")}
            | {"measure": name_measure(row["measure"]), "p": row["p_holm"]}
            for row in comparison.tests.to_dict("records")
        ],
        note=note,
        differences=differences,
        warning=warn_of_pools(differences),
    )
    write_comparison(path, candidates, comparison, pairs, head)
    return Compared(
        measure_comparison(comparison, pairs, outcomes),
        name_tests(comparison.tests, runs),
        show_tables(runs, comparison, pairs, outcomes),
        note,
    )


def describe_facts(runs: Sequence[ComparedRun], comparison: Comparison) -> list[str]:
    """Describe the data in the page's head."""
    params = runs[0].params
    n_all = max(len(run.candidates.titles) for run in runs)
    n_queries, n_judged = len(comparison.ids), len(comparison.qrels)
    facts = [
        " ".join(str(params[name]) for name in ("data", "split") if params.get(name)),
        f"{n_queries:,} headlines" + (f" of {n_all:,}" if n_all > n_queries else ""),
        f"{len(runs)} runs",
    ]
    if n_judged < n_queries:
        facts.append(
            f"editors' pictures of {n_judged:,} are known" if n_judged else "no editors' pictures"
        )
    return [fact for fact in facts if fact]


def warn_of_pools(differences: dict[str, list[str]]) -> str:
    """Return a warning if the runs search other pictures; else an empty text."""
    names = list_pool_differences(differences)
    if not names:
        return ""
    values = "; ".join(f"{name}: {', '.join(differences[name])}" for name in names)
    return f"The runs search other pictures, so their measures differ by that as well ({values})."


def explain_tests(
    runs: Sequence[ComparedRun], comparison: Comparison, pairs: Sequence[Pair], baseline: int | None
) -> str:
    """Return what is tested, and how."""
    if not comparison.means:
        return "No run knows the editors' pictures, so nothing is measured or tested."
    against = "every pair of runs" if baseline is None else f"against {runs[baseline].name}"
    corrected = f", Holm-corrected for {len(pairs)} pairs" if len(pairs) > 1 else ""
    told = []
    if comparison.qrels:
        told.append(
            f"Tested {against} on {len(comparison.qrels):,} headlines: 95 % bootstrap intervals of "
            "the difference; p by the exact McNemar test for Hits@k and by flipping signs for "
            f"other measures{corrected}."
        )
    if comparison.n_rated:
        told.append(
            f"By people's ratings of {comparison.n_rated:,} headlines, {against}: intervals and p "
            f"by a bootstrap of articles and people{corrected}."
        )
    return " ".join(told)


def measure_comparison(
    comparison: Comparison, pairs: Sequence[Pair], outcomes: Sequence[dict[str, int]]
) -> dict[str, float]:
    """Return the metrics of the comparison's own run; runs are numbered from 1."""
    n_runs = len(comparison.means) or 1 + max(max(pair) for pair in pairs)
    metrics: dict[str, float] = {"n_runs": n_runs, "n_queries": len(comparison.ids)}
    if comparison.qrels:
        metrics["n_judged"] = len(comparison.qrels)
    for i, means in enumerate(comparison.means, start=1):
        metrics |= {f"run{i}/{name}": float(means.loc[name, "value"]) for name in means.index}
    for row in comparison.tests.to_dict("records"):
        key = f"run{row['second'] + 1}_vs_run{row['first'] + 1}/{row['measure']}"
        metrics |= {key: row["value"]}
        metrics |= {f"{key}_{end}": row[end] for end in ("low", "high", "p", "p_holm")}
    for (first, second), counts in zip(pairs, outcomes, strict=True):
        known = {name: n for name, n in counts.items() if comparison.qrels or "first" in name}
        metrics |= {f"run{second + 1}_vs_run{first + 1}/{name}": n for name, n in known.items()}
    return metrics


def name_tests(tests: pd.DataFrame, runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """Return the tests with names instead of positions, as `compare.csv` has them."""
    columns = ["measure", "value", "low", "high", "p", "p_holm"]
    if tests.empty:
        return pd.DataFrame(columns=["run", "compared_with", *columns])
    named = tests[columns].copy()
    named.insert(0, "run", [runs[i].name for i in tests["second"]])
    named.insert(1, "compared_with", [runs[i].name for i in tests["first"]])
    return named


def show_tables(
    runs: Sequence[ComparedRun],
    comparison: Comparison,
    pairs: Sequence[Pair],
    outcomes: Sequence[dict[str, int]],
) -> list[tuple[str, pd.DataFrame, int]]:
    """Return the tables of runs, tests and outcomes as texts."""
    tables: list[tuple[str, pd.DataFrame, int]] = []
    if comparison.means:
        rows: list[dict[str, Any]] = []
        for i, (run, means) in enumerate(zip(runs, comparison.means, strict=True), start=1):
            row = {"": str(i), "run": run.name}
            for name, (value, low, high) in zip(means.index, means.to_numpy(), strict=True):
                row |= {name_measure(name): f"{value:.4f}"}
                row |= {f"95 % interval of {name_measure(name)}": f"{low:.3f} {high:.3f}"}
            rows.append(row)
        tables.append((f"{len(comparison.ids):,} headlines", pd.DataFrame(rows), 1))
        rows = [
            {"runs": f"{test['second'] + 1} vs {test['first'] + 1}"}
            | {"measure": name_measure(test["measure"]), "difference": f"{test['value']:+.4f}"}
            | {"95 % interval": f"{test['low']:+.4f} {test['high']:+.4f}"}
            | {"p": f"{test['p_holm']:.2g}"}
            | {"": "*" if test["p_holm"] < 1 - CONFIDENCE else ""}
            for test in comparison.tests.to_dict("records")
        ]
        tables.append(("differences", pd.DataFrame(rows), 2))
    shown = {"n_won": "won", "n_lost": "lost", "n_both": "both first", "n_neither": "both miss"}
    rows = [
        {"runs": f"{second + 1} vs {first + 1}"}
        | ({label: str(counts[key]) for key, label in shown.items()} if comparison.qrels else {})
        | {"first picture differs": str(counts["n_first_differs"])}
        for (first, second), counts in zip(pairs, outcomes, strict=True)
    ]
    return [*tables, ("headlines", pd.DataFrame(rows), 1)]
