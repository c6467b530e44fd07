"""The best trials of a study, reported on another split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from newsimg.evaluation.metric_names import STAGE, list_companions, list_intervals
from newsimg.evaluation.stats import Gain, correct_holm, describe_gain
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.fitting import print_fitting, print_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def report_best(
    best: "Sequence[FrozenTrial]",
    objectives: Sequence[str],
    reported: Sequence[Mapping[str, float]],
    splits: tuple[str, str],
    output_dir: Path,
) -> None:
    """Print the best trials on the choosing and the reported split; write `report.csv`.

    The optimism is the gain over retrieval where a trial was chosen minus the one reported.

    Args:
        best: One trial, or the Pareto front of several objectives.
        objectives: Names of the values of a trial.
        reported: Metrics of each trial on the reported split.
        splits: Names of the choosing and the reported split.
        output_dir: Folder of the file.
    """
    chosen_on, reported_on = splits
    rows = []
    for trial, found in zip(best, reported, strict=True):
        values = trial.values  # noqa: PD011 (no table)
        row: dict[str, float] = {"trial": trial.number}
        for name, value in zip(objectives, values, strict=True):
            label = name_measure(name.removeprefix(STAGE)) if name.startswith(STAGE) else name
            row |= {f"{label} {chosen_on}": value, f"{label} {reported_on}": found[name]}
        for companion in list_companions(objectives):
            delta, low, high, p = (found[name] for name in list_intervals(objectives))
            row |= {"difference": delta, "95 % low": low, "95 % high": high, "p": p}
            row["optimism"] = values[0] - trial.user_attrs[companion] - delta
        rows.append(row)
    table = pd.DataFrame(rows)
    if "p" in table:
        table["p"] = correct_holm(table["p"].to_numpy(dtype=float))
    chosen = pd.DataFrame([trial.params for trial in best])
    pd.concat([table, chosen], axis="columns").to_csv(output_dir / "report.csv", index=False)
    print_fitting(_show(table), 1, f"chosen on {chosen_on}, reported on {reported_on}")
    for trial in best:
        params = (
            f"{name}={f'{value:.10g}' if isinstance(value, float) else value}"
            for name, value in trial.params.items()
        )
        print_text(f"trial {trial.number}: {' '.join(params)}")
    if "p" in table:
        names = ["difference", "95 % low", "95 % high", "p"]
        first = Gain(*(float(table[name].iloc[0]) for name in names))
        measure = name_measure(objectives[0].removeprefix(STAGE))
        print_text(f"on {reported_on} {describe_gain(measure, first, len(table))}")


def _show(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as rounded texts."""
    shown = table.drop(columns=["95 % low", "95 % high"], errors="ignore").map(_round)
    if "p" in table:
        ends = zip(table["95 % low"], table["95 % high"], strict=True)
        texts = [f"{low:+.4f} {high:+.4f}" for low, high in ends]
        shown.insert(list(shown).index("p"), "95 % interval", texts)
        shown["p"] = [f"{p:.2g}" for p in table["p"]]
    return shown


def _round(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
