"""What a run says: one table, and where things are."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

console = Console(highlight=False, soft_wrap=True)


def print_evaluation(metrics: Mapping[str, float], weight: float) -> None:
    """Print stages by measures, and in words what reranking did to the first images."""
    prefix = "retrieval/"
    measures = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]
    cutoffs = sorted({int(name.rpartition("_")[2]) for name in measures})
    table = Table(title=f"weight {weight:.2f}", title_justify="left")
    table.add_column("stage")
    # MRR@1 is Hits@1: the table shows it once.
    shown = [("hits", k) for k in cutoffs] + [("mrr", k) for k in cutoffs if k > 1]
    for name, k in shown:
        table.add_column(f"{'MRR' if name == 'mrr' else 'Hits'}@{k}", justify="right")
    for stage, form in (("retrieval", ".4f"), ("reranked", ".4f"), ("delta", "+.4f")):
        values = [f"{metrics[f'{stage}/{name}_at_{k}']:{form}}" for name, k in shown]
        table.add_row(stage, *values, style="bold" if stage == "reranked" else None)
    console.print(table)
    console.print(
        f"{metrics['n_queries']:.0f} queries, {metrics['n_images']:.0f} images, "
        f"ceiling Hits@{metrics['top_k']:.0f} {metrics['ceiling']:.4f}; first image changed for "
        f"{metrics['n_changed']:.0f}: "
        f"{metrics['n_helped']:.0f} helped, {metrics['n_hurt']:.0f} hurt"
    )


def print_table(rows: "pd.DataFrame", title: str) -> None:
    """Print a table of values; fractions with four digits."""
    table = Table(title=title, title_justify="left")
    for name in rows:
        table.add_column(str(name))
    for row in rows.itertuples(index=False):
        table.add_row(
            *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row)
        )
    console.print(table)


def print_outcome(output_dir: Path, show_runs: str | None) -> None:
    """Print where a run wrote, and for the last one the commands worth typing next."""
    console.print(f"written to    {output_dir}")
    if show_runs:
        console.print(f"compare runs  {show_runs}")
        console.print("sweep weights newsimg -m weight.value=0,0.1,0.2,0.3")
