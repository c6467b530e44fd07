"""Arrangement of runs in the rows and columns of a table."""

import re
from collections.abc import Sequence
from dataclasses import replace

from newsimg.evaluation.ratings.curve import is_by_ratings
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.best import explain_weights
from newsimg.reporting.sweeps.paper_table import Cell, Cells, Group, Layout, PaperTable
from newsimg.reporting.sweeps.runs import (
    FinishedRun,
    correct_p_values,
    count_tested,
    label_runs,
    list_differences,
    shorten_names,
    write_value,
)

SECOND_STAGE = re.compile(r"(reranker|normalization|weight|llm|vlm|prompt|criteria|task)\b")
ALONE = "retrieval alone"


def make_table(runs: Sequence[FinishedRun], layout: Layout) -> PaperTable:
    """Arrange runs in rows and columns.

    If several runs belong to one cell, usually with different weights, the run with the largest
    first measure is shown with its values. Retrieval alone is a separate row, unless
    `reranker=identity` is among the runs.

    Raises:
        ValueError: If a measure or a name of a value is unknown.
    """
    differences = list_differences(runs)
    _check(runs, layout, differences)
    columns = list(layout.columns)
    rows = layout.rows
    if rows is None:
        rows = [name for name in differences if name not in ("weight", *columns)]
    rows = list(rows) or [name for name in ("reranker",) if name not in columns]
    picked = [name for name in differences if name not in (*rows, *columns)]
    if len({run.weight for run in runs}) > 1 and "weight" not in (*rows, *columns, *picked):
        picked.append("weight")  # rerankers have different defaults

    found: dict[tuple[Group, Group], list[FinishedRun]] = {}
    labels = label_runs(runs, [*rows, *columns, *picked])
    for run, texts in zip(runs, labels, strict=True):
        key = tuple(texts[name] for name in rows)
        found.setdefault((key, _name_group(run, columns)), []).append(run)
    groups = _sort_labels([group for _, group in found])
    shown: dict[Group, Cells] = _list_retrieval(runs, rows, columns, layout)
    p_values = {
        metric: dict(zip(map(id, runs), correct_p_values(runs, metric), strict=True))
        for metric in layout.metrics
    }
    for (key, group), own in found.items():
        best = max(own, key=lambda run: (_value(run, layout.metrics[0]), -run.weight))
        cells = shown.setdefault(key, {})
        cells |= {(group, name): labels[runs.index(best)][name] for name in picked}
        for metric in layout.metrics:
            p = float(p_values[metric][id(best)])
            gain = float(best.statistics.loc[f"delta/{metric}", "value"])
            cell = replace(_read_cell(best, f"reranked/{metric}"), p=p, gain=gain)
            cells[group, metric] = cell
    _mark_best(shown, groups, layout)
    short = shorten_names(rows)
    is_picked = any(
        len({run.weight for run in own if not run.ignores_weight}) > 1 for own in found.values()
    )
    note = _explain(runs, layout, is_picked)
    ordered = {key: shown[key] for key in _sort_labels(list(shown))}
    return PaperTable(layout, [short[name] for name in rows], groups, picked, ordered, note)


def _check(runs: Sequence[FinishedRun], layout: Layout, differences: Sequence[str]) -> None:
    for kind, names in (("rows", layout.rows or ()), ("columns", layout.columns)):
        for name in names:
            if any(run.find_value(name) is None for run in runs):
                raise ValueError(
                    f"task.{kind} must name options or values of the runs, got {name!r}; "
                    f"the runs differ in {', '.join(differences) or 'nothing'}"
                )
    if both := set(layout.rows or ()) & set(layout.columns):
        raise ValueError(f"task.rows and task.columns must differ, got {min(both)!r} in both")
    known = [
        str(name).removeprefix("reranked/")
        for name in runs[0].statistics.index
        if str(name).startswith("reranked/") and all(name in run.statistics.index for run in runs)
    ]
    for metric in layout.metrics:
        if metric not in known:
            raise ValueError(
                f"task.metrics must be among {', '.join(known)}, which all of the runs have, "
                f"got {metric!r}"
            )


def _name_group(run: FinishedRun, columns: Sequence[str]) -> Group:
    """Return what a group of columns is about; a number says of what."""
    short = shorten_names(columns)
    options = {*run.choices, "normalization"} - {"weight"}
    texts = {name: write_value(run.find_value(name)) for name in columns}
    return tuple(text if n in options else f"{short[n]} {text}" for n, text in texts.items())


def _sort_labels(labels: Sequence[Group]) -> list[Group]:
    """Return unique labels in order of appearance, grouped by common prefixes."""
    places = [list(dict.fromkeys(texts)) for texts in zip(*labels, strict=True)]
    return sorted(
        dict.fromkeys(labels),
        key=lambda label: [place.index(text) for place, text in zip(places, label, strict=True)],
    )


def _value(run: FinishedRun, metric: str) -> float:
    return float(run.statistics.loc[f"reranked/{metric}", "value"])


def _read_cell(run: FinishedRun, name: str) -> Cell:
    row = run.statistics.loc[name]
    return Cell(float(row["value"]), float(row["low"]), float(row["high"]))


def _list_retrieval(
    runs: Sequence[FinishedRun], rows: Sequence[str], columns: Sequence[str], layout: Layout
) -> dict[Group, Cells]:
    """Return a row of retrieval alone for each first stage, where rows tell second stages apart."""
    second = sorted(filter(SECOND_STAGE.match, rows), key=lambda name: name != "reranker")
    if not second or any(run.find_value("reranker") == "identity" for run in runs):
        return {}
    shown: dict[Group, Cells] = {}
    for run in runs:
        key = tuple(
            ALONE if name == second[0] else "" if name in second else text
            for name in rows
            for text in [write_value(run.find_value(name))]
        )
        group = _name_group(run, columns)
        for metric in layout.metrics:
            cell = _read_cell(run, f"retrieval/{metric}")
            if shown.setdefault(key, {}).setdefault((group, metric), cell) != cell:
                return {}  # what was picked changes it as well
    return shown


def _mark_best(shown: dict[Group, Cells], groups: Sequence[Group], layout: Layout) -> None:
    """Mark the largest values of each column, of which several may look equal, unless all do."""
    for group in groups:
        for metric in layout.metrics:
            at = group, metric
            column = {key: cells[at] for key, cells in shown.items() if at in cells}
            known = {key: cell for key, cell in column.items() if isinstance(cell, Cell)}
            values = {key: round(cell.value, layout.digits) for key, cell in known.items()}
            for key, cell in known.items():
                is_best = values[key] == max(values.values()) > min(values.values())
                shown[key][at] = replace(cell, best=is_best)


def _explain(runs: Sequence[FinishedRun], layout: Layout, picked: bool) -> str:
    measures = " and ".join(map(name_measure, layout.metrics))
    counts = sorted({count for run in runs if (count := run.n_queries)})
    on = f" on {' or '.join(map(str, counts))} headlines" if counts else ""
    n_tested = count_tested(runs, layout.metrics[0])
    brackets = ", in brackets their 95 % bootstrap intervals" if layout.interval else ""
    rated = [name_measure(name) for name in layout.metrics if is_by_ratings(name)]
    bootstrap = f", bootstrap for {' and '.join(rated)}" if rated else ""
    on += f" ({' and '.join(rated)}: of those with ratings)" if rated and on else ""
    return (
        f"{measures}{on}{brackets}. † above and ‡ below retrieval alone (p < 0.05; paired by "
        f"headline: exact McNemar test for Hits@k, randomisation test for MRR@k{bootstrap}; "
        f"Holm-corrected for the {n_tested} of {len(runs)} runs that change a ranking). Bold: "
        f"the best of a column. {explain_weights(runs, picked)}"
    )
