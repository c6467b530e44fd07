"""What a run says: one table, and where things are."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from newsimg.tracking.params import write_number

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {"hits": "Hits", "mrr": "MRR"}

# Without a terminal, as in a log file, lines need not be cut at 80 characters.
console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140
)


def print_evaluation(metrics: Mapping[str, float], weight: float) -> None:
    """Print measures by stages, and in words what reranking did to the first images."""
    table = Table(title=f"weight {write_number(weight)}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for column in ("retrieval", "reranked", "delta", "95 % interval", "p"):
        table.add_column(column, justify="right")
    prefix = "retrieval/"
    names = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]
    for name in sorted(names, key=lambda name: not name.startswith("hits")):
        measure, _, cutoff = name.partition("_at_")
        if name == "mrr_at_1":
            continue  # MRR@1 is Hits@1
        table.add_row(
            f"{MEASURES[measure]}@{cutoff}",
            f"{metrics[f'retrieval/{name}']:.4f}",
            f"{metrics[f'reranked/{name}']:.4f}",
            f"{metrics[f'delta/{name}']:+.4f}",
            f"{metrics[f'delta/{name}_low']:+.4f} {metrics[f'delta/{name}_high']:+.4f}",
            f"{metrics[f'delta/{name}_p']:.2g}",
        )
    console.print(table)
    console.print(
        f"{metrics['n_queries']:.0f} queries, {metrics['n_images']:.0f} images, "
        f"ceiling Hits@{metrics['top_k']:.0f} {metrics['ceiling']:.4f}; first image changed for "
        f"{metrics['n_changed']:.0f}: "
        f"{metrics['n_helped']:.0f} helped, {metrics['n_hurt']:.0f} hurt"
    )
    if "curve/best_weight" in metrics:
        low, high = show_weights(metrics["curve/plateau_low"], metrics["curve/plateau_high"])
        console.print(
            f"effective weight {metrics['effective_weight']:.4f}; largest Hits@1 of any weight "
            f"{metrics['curve/best_hits_at_1']:.4f}, from {low} to {high} (chosen on these "
            "queries; newsimg task=tune reports on others)"
        )
    console.print("sweep weights  newsimg -m weight.value=0,0.1,0.2,0.3")


def show_weights(low: float, high: float) -> tuple[str, str]:
    """Write both ends of an interval of weights with as few digits as lie within it when typed.

    Four digits at least; more where the interval is narrow, as many as a float has for a single
    weight.
    """
    for digits in range(4, 20):
        unit = Decimal(1).scaleb(-digits)
        lowest, highest = (Decimal(f"{end:.{digits}f}") for end in (low, high))
        lowest += unit * (float(lowest) < low)
        highest -= unit * (float(highest) > high)
        if low <= float(lowest) <= float(highest) <= high:
            return f"{lowest:f}", f"{highest:f}"
    return repr(low), repr(high)


def show_weight(weight: float, low: float = 0.0, high: float = 1.0) -> str:
    """Write a weight with as few digits, four at least, as stay between `low` and `high`."""
    for digits in range(4, 20):
        text = f"{weight:.{digits}f}"
        if low <= float(text) <= high:
            return text
    return repr(weight)


def print_table(rows: "pd.DataFrame", title: str) -> None:
    """Print a table of values; fractions with four digits, nothing where there is no value."""

    def show(value: object) -> str:
        if isinstance(value, float):
            return "" if isnan(value) else f"{value:.4f}"
        return str(value)

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows:
        table.add_column(str(name))
    for row in rows.itertuples(index=False):
        table.add_row(*map(show, row))
    console.print(table)


@contextmanager
def muted(mute: bool) -> Iterator[None]:
    """Print nothing inside the block, if `mute`: the jobs of a sweep share one table at its end."""
    console.quiet = mute
    try:
        yield
    finally:
        console.quiet = False


def print_job(where: str, objectives: Mapping[str, float]) -> None:
    """Print one line on a job of a sweep."""
    result = "".join(f"{name} {value:.4f}  " for name, value in objectives.items())
    console.print(f"\t   {result}{where}")


def print_outcome(output_dir: Path, pages: Mapping[str, str]) -> None:
    """Print where a run wrote, and what shows it: label -> the page, or the command to type."""
    for label, text in {"written to": output_dir, **pages}.items():
        console.print(f"{label:<14} {text}")


def confirm(question: str) -> bool:
    """Ask on the console; anything but y or yes is no, and so is the end of input."""
    try:
        return console.input(f"{question} (y/N) ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
