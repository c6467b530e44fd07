"""Look for violations of the benchmark's rules in a submission, whoever made it."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from newsimg.data.articles import read_subsets
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console
from newsimg.submission.check import check_submission
from newsimg.submission.layouts import LAYOUTS, find_subsets


class CheckTask(Task):
    """Prints every violation, writes them to `violations.csv`, and fails if there is one.

    Args:
        submission: The zip.
        layout: 2025 or 2026; None for the one by whose rule most of its files are right.
        size: SMALL or LARGE, of 2025: what `subset` lists if it is one file.
        subset: A CSV of the articles that every run must have, and no others. In 2025 also a
            mapping of SMALL and LARGE to such files. None: all runs must have the same articles.

    Raises:
        ValueError: If an argument is not what it should be; names it.
    """

    parts = ()

    def __init__(
        self,
        *,
        submission: str | None,
        layout: int | None,
        size: str,
        subset: str | Mapping[str, str | None] | None,
    ) -> None:
        if not submission:
            raise ValueError(
                f"submission must name a zip, as submission=FILE.zip, got {submission!r}"
            )
        if layout is None and subset is not None:
            raise ValueError(
                f"task.layout must be one of {', '.join(map(str, LAYOUTS))} where task.subset is "
                "given, got null"
            )
        self.submission = Path(submission).expanduser()
        self.layout = layout
        self.subsets = find_subsets(layout or LAYOUTS[0], size, subset)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_violations`, which is 0.

        Raises:
            FileNotFoundError: If the zip or a list of articles is not there.
            SystemExit: If there are violations, so that scripts notice.
        """
        listed = {size: ids for size, ids in read_subsets(self.subsets).items() if ids is not None}
        violations = check_submission(self.submission, self.layout, listed)
        if not violations:
            console.print(f"{self.submission}: no violations")
            return {"n_violations": 0}
        for violation in violations:
            # A name may hold anything, even what a terminal obeys.
            file = violation.file if violation.file.isprintable() else ascii(violation.file)
            console.print(f"{file}: {violation.reason}")
        path = output_dir / "violations.csv"
        pd.DataFrame([(v.file, v.reason) for v in violations], columns=["file", "reason"]).to_csv(
            path, index=False
        )
        count = "1 violation" if len(violations) == 1 else f"{len(violations)} violations"
        raise SystemExit(f"{self.submission}: {count}, listed in {path}")
