"""The table of a paper in Markdown, LaTeX and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.reporting.plots import name_measure
from newsimg.reporting.sweeps.fitting import to_markdown
from newsimg.reporting.sweeps.runs import shorten_names

LEVEL = 0.05
MARKS = {1: "†", -1: "‡", 0: ""}
LATEX = str.maketrans(  # for the note
    {"†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "%": r"\%", "_": r"\_", "<": "$<$"}
)
Group = tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Layout of a table.

    Attributes:
        rows: Keys of the rows; None for all that differ except the weight.
        columns: Keys of the columns.
        metrics: Measures, such as `hits_at_1`; where a weight is to be picked, by the first.
        digits: Number of decimals.
        interval: Whether to show intervals.
    """

    rows: Sequence[str] | None = None
    columns: Sequence[str] = ()
    metrics: Sequence[str] = ("hits_at_1", "mrr_at_10")
    digits: int = 4
    interval: bool = True


@dataclass(frozen=True)
class Cell:
    """A measure with its interval, and whether it differs from retrieval."""

    value: float
    low: float
    high: float
    p: float = np.nan
    gain: float = 0.0
    best: bool = False

    def write(self, layout: Layout) -> str:
        """Return it as text; a dagger marks what is above retrieval, a double one what is below."""
        value, low, high = (f"{v:.{layout.digits}f}" for v in (self.value, self.low, self.high))
        mark = MARKS[int(np.sign(self.gain))] if self.p < LEVEL else ""
        return f"{value}{mark} [{low}, {high}]" if layout.interval else f"{value}{mark}"


Cells = dict[tuple[Group, str], str | Cell]


@dataclass(eq=False)
class PaperTable:
    """A table with its explanation.

    Attributes:
        layout: Layout of the table.
        keys: Headers of the columns that say what a row is about.
        groups: What the other columns are about, each with the same measures; one that is empty
            if nothing was asked for.
        picked: Names of what was picked in each cell by the first measure.
        rows: What a row is about -> group and column -> text or cell.
        note: What has to be known.
    """

    layout: Layout
    keys: list[str]
    groups: list[Group]
    picked: list[str]
    rows: dict[Group, Cells]
    note: str
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [*self.picked, *self.layout.metrics]

    def to_texts(self) -> pd.DataFrame:
        """Return rounded texts with one line of headers."""
        heads = [
            ", ".join(filter(None, [*group, self._head(name)]))
            for group in self.groups
            for name in self.names
        ]
        lines = [[*key, *self._texts(cells)] for key, cells in self.rows.items()]
        return pd.DataFrame(lines, columns=[*self.keys, *heads])

    def to_markdown(self) -> str:
        """Return the table with the best in bold, and the note below it."""
        texts = self.to_texts()
        rows = [list(texts.columns)]
        for key, cells in self.rows.items():
            marked = [
                f"**{text}**" if isinstance(cell, Cell) and cell.best else text
                for text, cell in zip(self._texts(cells), self._cells(cells), strict=True)
            ]
            rows.append([*key, *marked])
        return f"{to_markdown(rows)}\n\n{self.note}\n"

    def to_latex(self) -> str:
        """Return the table for LaTeX with booktabs, escaped, with the note as its caption."""
        columns = [
            ((*("" for _ in group), ""), key) for group in self.groups[:1] for key in self.keys
        ]
        columns += [(group, self._head(name)) for group in self.groups for name in self.names]
        heads = [(" ".join(group), name) if any(self.groups) else name for group, name in columns]
        lines = [[*key, *self._texts(cells)] for key, cells in self.rows.items()]
        best = [
            [False] * len(self.keys)
            + [isinstance(cell, Cell) and cell.best for cell in self._cells(cells)]
            for cells in self.rows.values()
        ]
        index = pd.MultiIndex.from_tuples(heads) if any(self.groups) else pd.Index(heads)
        frame = pd.DataFrame(lines, columns=index)
        bold = np.where(np.array(best), "textbf:--rwrap;", "")
        style = frame.style.hide(axis="index").apply(lambda _: bold, axis=None)
        style = style.format(escape="latex").format_index(escape="latex", axis="columns")
        text = style.to_latex(
            hrules=True,
            column_format="l" * len(self.keys) + "r" * (len(columns) - len(self.keys)),
            multicol_align="c",
            position_float="centering",
            caption=self.note.translate(LATEX),
            label="tab:newsimg",
        )
        for mark in filter(None, MARKS.values()):
            text = text.replace(mark, mark.translate(LATEX))
        return "% needs \\usepackage{booktabs}\n" + text

    def to_csv(self) -> str:
        """Return the table with a column for each number."""
        lines = []
        for key, cells in self.rows.items():
            line: dict[str, object] = dict(zip(self.keys, key, strict=True))
            for group in self.groups:
                for name in self.names:
                    cell = cells.get((group, name), "")
                    head = " ".join([*group, name])
                    if isinstance(cell, Cell):
                        numbers = {"": cell.value, " low": cell.low, " high": cell.high}
                        line |= {
                            f"{head}{end}": f"{number:.{self.layout.digits}f}"
                            for end, number in numbers.items()
                        }
                        line[f"{head} p"] = "" if np.isnan(cell.p) else f"{cell.p:.3g}"
                    else:
                        line[head] = cell
            lines.append(line)
        return pd.DataFrame(lines).to_csv(index=False)

    def write(self, output_dir: Path) -> None:
        """Write `table.md`, `table.tex` and `table.csv`."""
        for suffix, text in (
            ("md", self.to_markdown()),
            ("tex", self.to_latex()),
            ("csv", self.to_csv()),
        ):
            (output_dir / f"table.{suffix}").write_text(text, encoding="utf-8")

    def _head(self, name: str) -> str:
        return name_measure(name) if name in self.layout.metrics else self._short(name)

    def _short(self, name: str) -> str:
        return shorten_names([name])[name]

    def _cells(self, cells: Cells) -> list[str | Cell]:
        return [cells.get((group, name), "") for group in self.groups for name in self.names]

    def _texts(self, cells: Cells) -> list[str]:
        return [
            cell.write(self.layout) if isinstance(cell, Cell) else cell
            for cell in self._cells(cells)
        ]
