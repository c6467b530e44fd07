"""Console output: tables, paths and commands."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from math import isnan
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Capture
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from newsimg.interfaces import RunInfo
from newsimg.reporting.status import hide_status, terminal
from newsimg.tracking.params import write_number

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

WIDTH = 79  # of a frame
LONG_WORD = 16  # letters of a word that a table may break
MEASURES = {"hits": "Hits", "mrr": "MRR"}


class Output:
    """Prints texts and tables; on a terminal, lines are broken between words."""

    def __init__(self) -> None:
        self.quiet = False

    def print(self, *objects: Any) -> None:
        """Print texts or tables."""
        if self.quiet:
            return
        for item in objects:
            is_long = terminal.is_terminal and isinstance(item, str)
            terminal.print(wrap_words(item) if is_long else item, soft_wrap=True)

    def capture(self) -> Capture:
        """Capture output inside a with statement."""
        return terminal.capture()

    def input(self, prompt: str) -> str:
        """Read a line."""
        with hide_status():
            return terminal.input(prompt)


console = Output()


def wrap_words(text: str) -> str:
    """Break lines between words; longer words, such as paths, are not broken."""
    options: dict[str, bool] = {"break_long_words": False, "break_on_hyphens": False}
    lines = [fill(line, terminal.width, **options) for line in text.split("\n")]  # type: ignore
    return "\n".join(lines)


def cut_text(text: str, n_letters: int) -> str:
    """Return a text on one line, cut to at most `n_letters` with "…" for the rest.

    The time depends on `n_letters`, not on the length of the text.
    """
    line = " ".join(text[: n_letters + 1].split())
    if len(text) <= n_letters + 1 and len(line) <= n_letters:
        return line
    return line[: n_letters - 1].rstrip() + "…"


def describe_setting(info: RunInfo, weight: float) -> str:
    """Return reranker, normalisation and weight in one line."""
    reranker = f"reranker {info.reranker}" if info.reranker else ""
    normalization = f"normalisation {info.normalization}" if info.normalization else ""
    facts = (reranker, normalization, f"weight {write_number(weight)}")
    return ", ".join(filter(None, facts))


def print_evaluation(metrics: Mapping[str, float], weight: float, info: RunInfo) -> None:
    """Print the measures of both stages and the changes of the first image."""
    setting = describe_setting(info, weight)
    console.print(f"{info.data}: {setting}" if info.data else setting)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for column in ("retrieval", "reranked", "delta", "95 % interval", "p"):
        table.add_column(column, justify="right")
    prefix = "retrieval/"
    names = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]
    for name in sorted(names, key=lambda name: not name.startswith("hits")):
        measure, _, cutoff = name.partition("_at_")
        if name == "mrr_at_1" or measure not in MEASURES:
            continue  # MRR@1 is Hits@1, and Precision@k is Hits@k / k
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
        f"ceiling Hits@{metrics['top_k']:.0f} {metrics['ceiling']:.4f}"
    )
    console.print(
        f"first image changed for {metrics['n_changed']:.0f} queries: "
        f"{metrics['n_helped']:.0f} helped, {metrics['n_hurt']:.0f} hurt"
    )
    if "curve/best_weight" in metrics:
        low, high = show_weights(metrics["curve/plateau_low"], metrics["curve/plateau_high"])
        console.print(f"effective weight {metrics['effective_weight']:.4f}")
        console.print(
            f"largest Hits@1 of any weight {metrics['curve/best_hits_at_1']:.4f}, from {low} to "
            f"{high} (chosen on these queries; newsimg task=tune reports on others)"
        )


def show_weights(low: float, high: float) -> tuple[str, str]:
    """Format both bounds of an interval of weights such that the printed values lie within it.

    Uses at least four digits, and more for narrow intervals.
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
    """Format a weight with the fewest digits, at least four, that stay between `low` and `high`."""
    for digits in range(4, 20):
        text = f"{weight:.{digits}f}"
        if low <= float(text) <= high:
            return text
    return repr(weight)


def print_table(rows: "pd.DataFrame", title: str) -> None:
    """Print a table of values; floats with four digits, missing values empty."""

    def show(value: object) -> str:
        if isinstance(value, float):
            return "" if isnan(value) else f"{value:.4f}"
        return str(value)

    shown = [[show(value) for value in row] for row in rows.itertuples(index=False)]
    names = [str(name) for name in rows]
    columns = [list(column) for column in zip(names, *shown, strict=True)]
    widest = sum(max(map(len, column)) + 3 for column in columns)
    if terminal.is_terminal and widest > terminal.width:  # lines of a head may end at "/"
        names = [name.replace("/", "/\n") for name in names]
    console.print(title)
    table = Table(box=box.SIMPLE_HEAD)
    for name, (_, *cells) in zip(names, columns, strict=True):
        # Where the line is too short, texts are folded between words, and numbers stay whole.
        words = [word for text in (name, *cells) for word in text.split()]
        lengths = [length for word in words if (length := len(word)) <= LONG_WORD]
        table.add_column(name, overflow="fold", min_width=max(lengths, default=None))
    for row in shown:
        table.add_row(*row)
    console.print(table)


@contextmanager
def muted(mute: bool) -> Iterator[None]:
    """Suppress output inside the block if `mute`, as for the jobs of a sweep."""
    console.quiet = mute
    try:
        yield
    finally:
        console.quiet = False


def print_job(where: str, objectives: Mapping[str, float]) -> None:
    """Print one line on a job of a sweep."""
    result = "".join(f"{name} {value:.4f}  " for name, value in objectives.items())
    console.print(f"   {result}{where}")


def print_outcome(output_dir: Path, pages: Mapping[str, str]) -> None:
    """Print the paths and links of a run.

    Args:
        output_dir: The run's folder.
        pages: Label -> the address of a page, or the command that opens it.
    """
    console.print(f"written to     {shorten_path(output_dir)}")
    if (output_dir / "report.html").is_file():
        console.print(f"report         {shorten_path(output_dir / 'report.html')}")
    for label, text in pages.items():
        console.print(f"{label:<14} {text}")


@cache
def warn_loudly(text: str, occasion: str) -> None:
    """Print a prominent warning: in a frame on a terminal, else in the log.

    Args:
        text: The warning, with what to type.
        occasion: The warning is shown once per occasion.
    """
    if not terminal.is_terminal:
        log.warning(text)
        return
    log.info(text)
    frame = Panel(
        Text(text, "bold yellow"), border_style="bold yellow", width=min(WIDTH, terminal.width)
    )
    terminal.print(frame)


def shorten_path(path: Path) -> str:
    """Return a path to type: on a terminal, relative to the working directory."""
    if terminal.is_terminal and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd())) or "."
    return str(path)


def print_command(label: str, words: Sequence[str]) -> None:
    """Print a suggested command; on a terminal, wrapped to its width.

    Args:
        label: What the command does.
        words: Words of the command, quoted for a shell.
    """
    lines = [f"{label:<14}"]
    for word in words:
        if terminal.is_terminal and len(lines[-1]) + len(word) + 3 > terminal.width:
            lines[-1] += " \\"
            lines.append(" " * 16 + word)
        else:
            lines[-1] += f" {word}"
    console.print("\n".join(lines))


def confirm(question: str) -> bool:
    """Ask for confirmation on the console; only y and yes confirm."""
    try:
        return console.input(f"{question} (y/N) ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
