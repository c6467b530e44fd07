"""Task that checks a submission against the benchmark's rules."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from newsimg.data.articles import read_subsets
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console
from newsimg.submission.check import check_submission
from newsimg.submission.layouts import LAYOUTS, find_subsets


class CheckTask(Task):
    """Prints all violations, writes them to `violations.csv`, and fails if there are any.

    Args:
        submission: The zip.
        layout: 2025 or 2026; None for the layout that most file names match.
        size: SMALL or LARGE, the size in 2025 of a `subset` that is one file.
        subset: A CSV of exactly the articles that every run must have. In 2025 also a mapping of
            SMALL and LARGE to CSVs. None: all runs must have the same articles.

    Raises:
        ValueError: If an argument is out of range; names it.
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
                f"submission must name a zip, e.g. submission=newsroom.zip, got {submission!r}"
            )
        if layout is None and subset is not None:
            raise ValueError(
                f"task.layout must be one of {', '.join(map(str, LAYOUTS))} if task.subset is "
                "set, got null"
            )
        self.submission = Path(submission).expanduser()
        self.layout = layout
        self.subsets = find_subsets(layout or LAYOUTS[0], size, subset)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_violations`, which is 0.

        Raises:
            FileNotFoundError: If the zip or a list of articles does not exist.
            SystemExit: If there are violations, for a non-zero exit status.
        """
        listed = {size: ids for size, ids in read_subsets(self.subsets).items() if ids is not None}
        violations = check_submission(self.submission, self.layout, listed)
        if not violations:
            console.print(f"{self.submission}: no violations")
            return {"n_violations": 0}
        for violation in violations:
            # A name may contain terminal control characters.
            file = violation.file if violation.file.isprintable() else ascii(violation.file)
            console.print(f"{file}: {violation.reason}")
        path = output_dir / "violations.csv"
        pd.DataFrame([(v.file, v.reason) for v in violations], columns=["file", "reason"]).to_csv(
            path, index=False
        )
        count = "1 violation" if len(violations) == 1 else f"{len(violations)} violations"
        raise SystemExit(f"{self.submission}: {count}, listed in {path}")
