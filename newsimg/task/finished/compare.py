"""Compare finished runs headline by headline."""

from pathlib import Path

from newsimg.interfaces import Components, Task
from newsimg.reporting.comparing.writing import PAGE, TESTS, Choices, compare_runs
from newsimg.reporting.sweeps.fitting import print_fitting, print_text


class CompareTask(Task):
    """Writes `compare.html`, a page of all headlines, and `compare.csv`, the tests between runs.

    Args:
        runs: Folders of runs of task=evaluate or task=infer; one alone is refused.
        baseline: Number of the run, from 1, that the others are tested against; None for every
            pair.
        metrics: Measures, such as "hits_at_1".
        common: Whether to compare the headlines that all runs have; else other headlines are an
            error.

    Raises:
        ValueError: If there are not 2 to 8 runs, no measures, or no run of the number `baseline`.
    """

    parts = ()

    def __init__(
        self,
        *,
        runs: list[str] | str | None,
        baseline: int | None,
        metrics: list[str],
        common: bool,
    ) -> None:
        named = [runs] if isinstance(runs, str) else runs or ()
        self.folders = [Path(folder).expanduser() for folder in named]
        self.choices = Choices(
            len(self.folders), None if baseline is None else baseline - 1, tuple(metrics), common
        )

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_runs` and `n_queries`; where editors' pictures are known `n_judged`,
            `run1/hits_at_1` and so on, and of each pair `run2_vs_run1/hits_at_1`, `_low`, `_high`,
            `_p`, `_p_holm`, `n_won`, `n_lost`, `n_both` and `n_neither`; of every pair
            `n_first_differs`.

        Raises:
            FileNotFoundError: If a folder does not exist.
            ValueError: If a folder is not that of a finished run, or the runs have other headlines.
        """
        compared = compare_runs(self.folders, self.choices, output_dir / PAGE)
        compared.tests.to_csv(output_dir / TESTS, index=False)
        for title, shown, n_keys in compared.tables:
            print_fitting(shown, n_keys, title)
        print_text(compared.explanation)
        return compared.metrics
