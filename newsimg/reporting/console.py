"""What a run says: one table, and where things are."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {"hits": "Hits", "mrr": "MRR"}

# Without a terminal, as in a log file, lines need not be cut at 80 characters.
console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140
)


def print_evaluation(metrics: Mapping[str, float], weight: float) -> None:
    """Print measures by stages, and in words what reranking did to the first images."""
    table = Table(title=f"weight {weight:.2f}", title_justify="left", box=box.SIMPLE_HEAD)
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
        console.print(
            f"effective weight {metrics['effective_weight']:.4f}; largest Hits@1 of any weight "
            f"{metrics['curve/best_hits_at_1']:.4f}, from {metrics['curve/plateau_low']:.4f} to "
            f"{metrics['curve/plateau_high']:.4f} (chosen on these queries; "
            "newsimg task=tune reports on others)"
        )
    console.print("sweep weights  newsimg -m weight.value=0,0.1,0.2,0.3")


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


def print_outcome(output_dir: Path, show_runs: str | None) -> None:
    """Print where a run wrote, and the commands worth typing next."""
    console.print(f"written to     {output_dir}")
    if show_runs:
        console.print(f"compare runs   {show_runs}")


def confirm(question: str) -> bool:
    """Ask on the console; anything but y or yes is no, and so is the end of input."""
    try:
        return console.input(f"{question} (y/N) ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
