"""Write the table of a paper from finished runs."""

from pathlib import Path

from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console
from newsimg.reporting.sweeps.fitting import print_fitting, print_text
from newsimg.reporting.sweeps.paper import make_table
from newsimg.reporting.sweeps.paper_table import Layout
from newsimg.reporting.sweeps.runs import read_runs


class TableTask(Task):
    """Writes `table.md`, `table.tex` and `table.csv` of runs of task=evaluate and task=tune.

    Args:
        runs: Folders of sweeps, or of single runs.
        rows: Groups or config values of the rows, such as "reranker", "normalization",
            "weight" or "top_k"; None for all that differ except the weight. Values that differ
            and are neither in rows nor in columns are chosen by the first measure.
        columns: Groups or config values of the columns.
        metrics: Measures, such as "hits_at_1".
        digits: Number of decimals.
        interval: Whether to show intervals.

    Raises:
        ValueError: If there are no runs or measures, or `digits` is out of range.
    """

    def __init__(
        self,
        *,
        runs: list[str] | None,
        rows: list[str] | None,
        columns: list[str],
        metrics: list[str],
        digits: int,
        interval: bool,
    ) -> None:
        if not runs:
            raise ValueError(
                "task.runs must name folders of sweeps or runs, as 'written to' tells them at a "
                f"run's end, got {runs}: newsimg task=table 'task.runs=[multirun/sweep/DAY/TIME]'"
            )
        if not metrics:
            raise ValueError(f"task.metrics must name at least one measure, got {metrics}")
        if not 0 <= digits <= 15:
            raise ValueError(f"task.digits must be in [0, 15], got {digits}")
        self.folders = [_find_sweep(Path(folder).expanduser()) for folder in runs]
        self.layout = Layout(rows, columns, metrics, digits, interval)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_runs` and `n_rows`.

        Raises:
            FileNotFoundError: If a folder does not exist.
            ValueError: If a folder holds no finished run, or a name or measure is unknown.
        """
        runs = read_runs(self.folders)
        table = make_table(runs, self.layout)
        table.write(output_dir)
        print_fitting(table.to_texts(), len(table.keys), f"{len(runs)} runs")
        print_text(table.note)
        console.print("table          table.md, table.tex, table.csv")
        return {"n_runs": len(runs), "n_rows": len(table.rows)}


def _find_sweep(folder: Path) -> Path:
    """Return the sweep's folder for the folder of its summary."""
    return folder.parent if folder.name == "summary" else folder
