"""Tables of texts, on a console of 80 columns and in Markdown."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from newsimg.reporting.console import console

WIDTH = 80
N_LETTERS = 24  # of the longest word of a value that was swept, in front of the measures


def print_text(text: str) -> None:
    """Print a paragraph, broken between words."""
    options: dict[str, bool] = {"break_long_words": False, "break_on_hyphens": False}
    console.print(fill(text, WIDTH, **options))  # type: ignore


def print_fitting(table: pd.DataFrame, n_keys: int, title: str, bold: int | None = None) -> None:
    """Print a table of texts in 80 columns, in which no word and no number is broken.

    Args:
        table: Texts. Its columns' names are broken into lines at spaces. One that is empty has
            marks, and comes first.
        n_keys: How many of the first columns but marks say what a row is about: where there is no
            room for all of them they share one.
        title: What stands above it.
        bold: The row to stress.
    """
    n_first = list(table).count("") + n_keys
    n_gaps = len(table.columns) - 1
    if n_keys > 1 and _least_width(_columns(table), n_first) + n_gaps > WIDTH:
        table, n_first = _join_keys(table, n_first - n_keys, n_keys), n_first - n_keys + 1
        n_gaps = len(table.columns) - 1
    columns = _columns(table)
    gap = 2 if _least_width(columns, n_first) + 2 * n_gaps <= WIDTH else 1
    widths = _share_width(columns, n_first, WIDTH - gap * n_gaps)
    shown = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
    )
    for name, width, texts in zip(table, widths, columns, strict=True):
        numbers = all(text == "any" or text[:1] in "+-.0123456789" for text in texts[1:])
        shown.add_column(Text(str(name)), width=width, justify="right" if numbers else "left")
    for i, row in enumerate(table.itertuples(index=False)):
        shown.add_row(*map(Text, row), style="bold" if i == bold else "")
    console.print(shown, "")


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, of which the first row is the header."""
    lines = [[text.replace("|", "\\|") for text in row] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _columns(table: pd.DataFrame) -> list[list[str]]:
    return [[str(name), *table.iloc[:, i]] for i, name in enumerate(table)]


def _min_width(texts: Sequence[str]) -> int:
    return max((len(word) for text in texts for word in text.split()), default=0)


def _least_width(columns: Sequence[Sequence[str]], n_first: int) -> int:
    """Return what the columns need if only headers and the first of them are broken into lines."""
    rest = [max([_min_width(texts), *map(len, texts[1:])]) for texts in columns[n_first:]]
    return sum(map(_min_width, columns[:n_first])) + sum(rest)


def _share_width(columns: Sequence[Sequence[str]], n_first: int, width: int) -> list[int]:
    """Give each column all that it wants, or its longest word and what is left: numbers first."""
    wanted = [max(map(len, texts)) for texts in columns]
    if sum(wanted) <= width:
        return wanted
    widths = list(map(_min_width, columns))
    for i in [*range(n_first, len(columns)), *range(n_first)]:
        own = max(map(len, columns[i][1:]), default=0)  # headers are broken
        widths[i] += max(0, min(own - widths[i], width - sum(widths)))
    return widths


def _join_keys(table: pd.DataFrame, n_marks: int, n_keys: int) -> pd.DataFrame:
    def cut(text: str) -> str:
        words = text.split() or ["-"]
        return " ".join(w if len(w) <= N_LETTERS else w[: N_LETTERS - 1] + "…" for w in words)

    keys = table.iloc[:, n_marks : n_marks + n_keys]
    joined = [", ".join(map(cut, row)) for row in keys.itertuples(index=False)]
    rest = table.drop(columns=list(keys))
    rest.insert(n_marks, ", ".join(map(str, keys.columns)), joined)
    return rest
