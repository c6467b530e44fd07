"""Tables of the options and the choice of task=tune."""

from collections.abc import Mapping, Sequence

import pandas as pd

from newsimg.evaluation.ground_truth import describe_coverage
from newsimg.evaluation.stats import Gain, describe_gain
from newsimg.evaluation.tuning import Choice
from newsimg.reporting.console import show_weight, show_weights
from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.best import N_ROWS
from newsimg.reporting.sweeps.fitting import print_fitting, print_text


def list_choices(choices: list[Choice]) -> pd.DataFrame:
    """Return a row per choice: option, weight, its interval and the value there."""
    return pd.DataFrame(
        [
            {
                "option": choice.option,
                "weight": choice.weight,
                "weight_low": choice.low,
                "weight_high": choice.high,
                "identity": choice.identity,
                "chosen_on": choice.value,
            }
            for choice in choices
        ]
    )


def list_options(rated: list[Choice]) -> pd.DataFrame:
    """Return one row per option, best first, with its value on the choosing split."""
    names = [choice.option.rpartition(" ") for choice in rated]
    parts = [{"reranker": own, "normalization": weight} for own, _, weight in names]
    table = pd.concat([pd.DataFrame(parts), list_choices(rated).drop(columns="option")], axis=1)
    return table.assign(gain=table["chosen_on"] - table["identity"])


def print_options(listed: pd.DataFrame, measure: str) -> None:
    """Print all options, or the best twelve."""
    shown = pd.DataFrame(
        {
            "": ["*", *[""] * (len(listed) - 1)],
            "reranker": listed["reranker"],
            "normalization": listed["normalization"],
            "weight": [
                show_weight(row.weight, row.weight_low, row.weight_high)
                for row in listed.itertuples()
            ],
            name_measure(measure): [f"{value:.4f}" for value in listed["chosen_on"]],
            "gain": [f"{value:+.4f}" for value in listed["gain"]],
        }
    )
    title = "options on data.split, each at its chosen weight"
    print_fitting(shown.head(N_ROWS), 2, title, bold=0)
    left = f"; the first {N_ROWS} of {len(listed)}, all are in options.csv"
    print_text(f"the one marked * is chosen{left if len(listed) > N_ROWS else ''}")


def print_choice(
    result: Mapping[str, float],
    choices: Sequence[Choice],
    choice: Choice,
    name: str,
    where: str,
    over: str = "weight",
) -> pd.DataFrame:
    """Print the choice on the reported split; return it in full precision.

    Args:
        result: The task's metrics.
        choices: The choice, or those of all folds.
        choice: The choice on all queries.
        name: Name of the measure.
        where: Name of the reported split.
        over: What was chosen: the weight, or the share of a member.
    """
    delta, measure = f"delta/{name}", name_measure(name)
    ends = choice.low, choice.high
    table = pd.DataFrame(
        {
            "option": [choice.option],
            f"identity {measure}": [result[f"retrieval/{name}"]],
            f"chosen {over}": [result["tune/weight"]],
            f"its {measure}": [result[f"reranked/{name}"]],
            "difference": [result[delta]],
            "95 % low": [result[f"{delta}_low"]],
            "95 % high": [result[f"{delta}_high"]],
            "p": [result[f"{delta}_p"]],
            "optimism": [result["tune/optimism"]],
        }
    )
    shown = {
        "option": choice.option,
        over: show_weight(choice.weight, *ends),
        f"retrieval {measure}": f"{result[f'retrieval/{name}']:.4f}",
        measure: f"{result[f'reranked/{name}']:.4f}",
        "gain": f"{result[delta]:+.4f}",
        "95 % interval": f"{result[f'{delta}_low']:+.4f} {result[f'{delta}_high']:+.4f}",
        "p": f"{result[f'{delta}_p']:.2g}",
        "optimism": f"{result['tune/optimism']:+.4f}",
    }
    print_fitting(pd.DataFrame([shown]), 1, f"reported on {where}")
    gain = Gain(*(float(result[f"{delta}{end}"]) for end in ("", "_low", "_high", "_p")))
    print_text(describe_gain(measure, gain))
    weights = [c.weight for c in choices]
    spread = f"; over the folds {min(weights):.4f} to {max(weights):.4f} are chosen"
    low, high = show_weights(*ends)
    print_text(
        f"the headlines do not tell apart the {'weights' if over == 'weight' else 'shares'} "
        f"from {low} to {high}"
        f"{spread if len(choices) > 1 else ''}"
    )
    if "ground_truth_share" in result and (told := describe_coverage(result)):
        print_text(told)
    return table
