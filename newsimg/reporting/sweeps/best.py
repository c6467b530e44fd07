"""The best weight of each combination of the other swept values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from newsimg.evaluation.curve import Plateau, find_plateau
from newsimg.evaluation.ratings.curve import is_by_ratings
from newsimg.evaluation.ratings.measures import MEAN_RATING
from newsimg.evaluation.stats import Gain
from newsimg.reporting.console import show_weight
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.fitting import print_fitting, print_text, to_markdown
from newsimg.reporting.sweeps.runs import (
    FinishedRun,
    correct_p_values,
    count_tested,
    label_runs,
    name_rows,
    shorten_names,
)

N_ROWS = 12  # of a table on the console; files have all


@dataclass(frozen=True, eq=False)
class BestRun:
    """The best run of a combination.

    Attributes:
        run: The run.
        labels: Values by name, formatted for a table; see `label_runs`.
        n_weights: Number of weights that were tried.
        p_holm: Corrected p value of its gain; NaN if no ranking changes.
        plateau: Plateau of the exact curve, if there is one.
    """

    run: FinishedRun
    labels: Mapping[str, str]
    n_weights: int
    p_holm: float
    plateau: Plateau | None

    def gain(self, measure: str) -> Gain:
        """Return the difference to retrieval; its p value is corrected, its interval is not."""
        row = self.run.statistics.loc[f"delta/{measure}"]
        return Gain(row["value"], row["low"], row["high"], self.p_holm)

    def value(self, measure: str) -> float:
        """Return the measure."""
        return float(self.run.statistics.loc[f"reranked/{measure}", "value"])


def find_best(runs: Sequence[FinishedRun], measure: str) -> list[BestRun]:
    """Return the best run of each combination of the values other than the weight.

    Returns:
        The best first; ties keep the order of the jobs, and prefer the lowest weight.
    """
    names = name_rows(runs)
    p_holm = correct_p_values(runs, measure)
    groups: dict[str, list[BestRun]] = {}
    labels = label_runs(runs, [*names, "reranker", "weight", "normalization"])
    for run, own, p in zip(runs, labels, p_holm, strict=True):
        key = repr(["any" if own[name] == "any" else run.find_value(name) for name in names])
        groups.setdefault(key, []).append(BestRun(run, own, 0, float(p), None))
    found = []
    for group in groups.values():
        best = max(group, key=lambda b: (b.value(measure), -b.run.weight))
        curve = best.run.curve
        plateau = find_plateau(curve, measure) if curve is not None and measure in curve else None
        weights = {one.run.weight for one in group}
        found.append(replace(best, n_weights=len(weights), plateau=plateau))
    return sorted(found, key=lambda b: -b.value(measure))


def list_best(best: Sequence[BestRun], names: Sequence[str], measure: str) -> pd.DataFrame:
    """Return the columns of `best.csv`, in full digits; `names` come first."""
    rows = []
    for one in best:
        own, gain = one.run.statistics.loc[f"reranked/{measure}"], one.gain(measure)
        texts = one.labels
        row = {name: "any" if texts[name] == "any" else one.run.find_value(name) for name in names}
        row |= {"weight": np.nan if one.run.ignores_weight else one.run.weight}
        row |= {"n_weights": one.n_weights, measure: own["value"]}
        row |= {"low": own["low"], "high": own["high"], "difference": gain.value}
        row |= {"difference_low": gain.low, "difference_high": gain.high, "p_holm": gain.p}
        if one.plateau is not None:
            row |= {"curve_best": one.plateau.value, "curve_weight": one.plateau.midpoint}
            row |= {"curve_low": one.plateau.low, "curve_high": one.plateau.high}
        rows.append(row | {"normalization": one.labels["normalization"]})
    return pd.DataFrame(rows)


def show_best(best: Sequence[BestRun], names: Sequence[str], measure: str) -> pd.DataFrame:
    """Return the same as texts with rounded numbers; an asterisk marks the best."""
    short = shorten_names(names)
    rows = []
    for one in best:
        own, gain = one.run.statistics.loc[f"reranked/{measure}"], one.gain(measure)
        texts = [one.labels[name] for name in names]
        row = {"": "*" if one.value(measure) == best[0].value(measure) else ""} | {
            short[n]: t for n, t in zip(names, texts, strict=True)
        }
        row |= {"weight": one.labels["weight"]}
        row |= {name_measure(measure): f"{own['value']:.4f}"}
        row |= {"95 % interval": f"{own['low']:.3f} {own['high']:.3f}"}
        row |= {"gain": f"{gain.value:+.4f}", "p": "" if np.isnan(gain.p) else f"{gain.p:.2g}"}
        if one.plateau is not None:
            at = show_weight(one.plateau.midpoint, one.plateau.low, one.plateau.high)
            row |= {"best of curve": f"{one.plateau.value:.4f}"}
            row |= {"at weight": "any" if one.run.ignores_weight else at}
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def explain_best(best: Sequence[BestRun], runs: Sequence[FinishedRun], measure: str) -> str:
    """Return the explanation of the table."""
    n_tested = count_tested(runs, measure)
    name = name_measure(measure)
    both = ", over headlines with both first pictures rated" if measure == MEAN_RATING else ""
    test = "by bootstrap" if is_by_ratings(measure) else "by a paired test"
    text = f"The best by {name} is marked *. The interval is the measure's, of each row alone. "
    text += f"gain: difference to retrieval{both}; p: of the gain, {test}, Holm-corrected for the "
    text += f"{n_tested} of {len(runs)} runs that change {name} of any headline. "
    if any(one.plateau is not None for one in best):
        text += "best of curve: the largest value that any weight gives, exactly. "
    return text + explain_weights(
        runs, picked=any(one.n_weights > 1 and not one.run.ignores_weight for one in best)
    )


def explain_weights(runs: Sequence[FinishedRun], picked: bool) -> str:
    """Describe the choosing and the reported split.

    Args:
        runs: Which.
        picked: Whether one of several weights was picked by the measures themselves.
    """
    reported = " and ".join(sorted({run.split for run in runs}))
    chosen = " and ".join(sorted({run.chosen_on for run in runs if run.chosen_on}))
    if chosen and not picked:
        return f"Weights were chosen on {chosen}, and are reported on {reported}."
    if picked:
        return (
            f"The weights were picked on the headlines that they are measured on ({reported}), so "
            "the values are optimistic: task=tune picks on one split and reports on another."
        )
    return f"Measured on {reported}."


def print_best(
    runs: Sequence[FinishedRun], best: Sequence[BestRun], names: Sequence[str], measure: str
) -> None:
    """Print the table, or its first rows, and how to read it."""
    shown = show_best(best[:N_ROWS], names, measure)
    title = "best weight" if any(one.n_weights > 1 for one in best) else "runs"
    print_fitting(shown, len(names), title, bold=0)
    if len(best) > N_ROWS:
        print_text(f"the first {N_ROWS} of {len(best)} rows; best.csv has all")
    print_text(explain_best(best, runs, measure))


def describe_best(
    runs: Sequence[FinishedRun],
    best: Sequence[BestRun],
    names: Sequence[str],
    measure: str,
    links: Collection[str],
) -> str:
    """Return the table in Markdown with its explanation.

    Args:
        runs: All of them.
        best: See `find_best`.
        names: See `list_best`.
        measure: See `list_best`.
        links: Those that are known; a row's weight leads to its run.
    """
    shown = show_best(best[:N_ROWS], names, measure)
    rows = [list(shown.columns)]
    for one, texts in zip(best, shown.itertuples(index=False), strict=False):
        rows.append(list(texts))
        if one.run.link in links:
            at = rows[0].index("weight")
            rows[-1][at] = f"[{rows[-1][at]}]({one.run.link})"
    left = f"\n\nThe first {N_ROWS} of {len(best)} rows; `best.csv` has all." * (len(best) > N_ROWS)
    return f"{to_markdown(rows)}{left}\n\n{explain_best(best, runs, measure)}"
