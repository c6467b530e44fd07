"""Task that writes a benchmark submission from the results of `task=infer`."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from newsimg.data.articles import read_subsets
from newsimg.interfaces import Components, RunInfo, Task
from newsimg.reporting.console import console, print_command, print_table, shorten_path, warn_loudly
from newsimg.reporting.quoting import quote_value, write_command
from newsimg.reporting.results import CREDITS, Results, read_results, read_titles, read_warning
from newsimg.storage.files import write_atomically
from newsimg.storage.text.suggest import check_choices
from newsimg.submission.build import (
    Entry,
    choose_articles,
    choose_best,
    choose_distinct,
    write_submission,
)
from newsimg.submission.check import check_submission
from newsimg.submission.crops import apply_crops, read_crops
from newsimg.submission.layouts import check_name, find_clash, find_subsets, name_picture
from newsimg.submission.preview import Details, Preview
from newsimg.submission.rendering import CROPS

ON_DUPLICATE = ("next", "raise")
PAGE = "submission.html"


class SubmitTask(Task):
    """Writes the zip of one or several runs, `submission.html`, `credits.csv`, `replacements.csv`.

    The zip is checked before it is moved to its final path; if a rule is violated, none is written.

    Args:
        submission: The zip; None for `[group].zip` in the run's folder.
        runs: Approach -> the folder of an infer run, or its `results.parquet`. In 2026 a run may
            not show a picture that an earlier run shows for the same article.
        group: Name of the group.
        layout: 2025 or 2026.
        size: SMALL or LARGE, for layout 2025.
        subset: A CSV of the articles to submit, all of which must be in the results; None for all
            articles of the results. In 2025 also a mapping of SMALL and LARGE to CSVs.
        crop: "center", "saliency" to keep the most salient region, or "letterbox" to pad the whole
            picture with white.
        crops: File of crops of single pictures, as saved on `submission.html`; None for none.
        on_duplicate: "next" to use the run's next best picture, or "raise" an error.
        near_duplicates: Largest number of bits, of 64, in which the perceptual hashes of duplicates
            differ in 2026; None compares bytes only. Needs imagehash.
        workers: Number of pictures rendered in parallel; None for one per core.
        overwrite: Whether to replace an existing zip instead of raising an error.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    parts = ()

    def __init__(
        self,
        *,
        submission: str | None,
        runs: Mapping[str, str] | None,
        group: str | None,
        layout: int,
        size: str,
        subset: str | Mapping[str, str | None] | None,
        crop: str,
        crops: str | None,
        on_duplicate: str,
        near_duplicates: int | None,
        workers: int | None,
        overwrite: bool,
    ) -> None:
        if not runs:
            raise ValueError(
                "task.runs must name at least one run, e.g. 'task.runs={clip:FOLDER}', "
                f"got {runs}"
            )
        self.group = check_name("task.group", group)
        for approach in runs:
            check_name("an approach in task.runs", approach)
        if clash := find_clash(runs):
            raise ValueError(f"approaches in task.runs must not differ only in case, got {clash}")
        self.subsets = find_subsets(layout, size, subset)
        check_choices(
            {"task.crop": (crop, CROPS), "task.on_duplicate": (on_duplicate, ON_DUPLICATE)}
        )
        if near_duplicates is not None and not 0 <= near_duplicates <= 64:
            raise ValueError(f"task.near_duplicates must be in [0, 64], got {near_duplicates}")
        if workers is not None and workers < 1:
            raise ValueError(f"task.workers must be at least 1, got {workers}")
        self.submission = Path(submission).expanduser() if submission else None
        self.runs = {approach: Path(source).expanduser() for approach, source in runs.items()}
        self.layout = layout
        self.crop = crop
        self.crops = Path(crops).expanduser() if crops else None
        self.on_duplicate = on_duplicate
        self.near_duplicates = near_duplicates
        self.overwrite = overwrite
        self.workers = workers or os.cpu_count() or 1

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            `n_runs`, `n_articles` (of all sizes), `n_pictures`, `n_replaced`, `n_bytes`; with
            `crops`, `n_crops` and `n_unused_crops`; if some runs had toy models, `n_toy_runs`.

        Raises:
            FileNotFoundError: If results, a list of articles or a picture do not exist.
            ValueError: If a rule is violated, a picture cannot be decoded, or the zip already
                exists.
        """
        path = self.submission or output_dir / f"{self.group}.zip"
        if path.exists() and not self.overwrite:
            raise ValueError(
                f"{path} already exists: set another submission=FILE.zip, or add "
                "task.overwrite=true to replace it"
            )
        runs = {approach: read_results(source) for approach, source in self.runs.items()}
        toys = {name: text for name in runs if (text := read_warning(self.runs[name]))}
        for approach, text in toys.items():
            warn_loudly(f"run {approach}: {text}", str(output_dir))
        crops = read_crops(self.crops, runs) if self.crops else {}
        listed = read_subsets(self.subsets)
        articles = choose_articles(runs, listed)
        if self.layout == 2026 and len(runs) > 1:
            entries = choose_distinct(
                runs,
                articles,
                on_duplicate=self.on_duplicate,
                near_duplicates=self.near_duplicates,
            )
        else:
            entries = choose_best(runs, articles)
        entries, unused = apply_crops(entries, self.crop, crops)

        def check(written: Path) -> None:
            if violations := check_submission(written, self.layout, articles):
                raise ValueError(
                    f"the zip has {len(violations)} violations, first: "
                    f"{violations[0].file} {violations[0].reason}"
                )

        preview = Preview()
        write_submission(
            path,
            entries,
            layout=self.layout,
            group=self.group,
            workers=self.workers,
            check=check,
            observe=preview.observe,
        )
        write_replacements(entries, output_dir / "replacements.csv")
        n_credits = self._write_credits(entries, output_dir / "credits.csv")
        details = self._describe(runs, entries, toys, components.info)
        preview.write(output_dir / PAGE, entries, details)
        self._print(entries, path, n_credits, output_dir, components.info)
        return {
            "n_runs": len(runs),
            "n_articles": sum(map(len, articles.values())),
            "n_pictures": len(entries),
            "n_replaced": sum(entry.shown_by is not None for entry in entries),
            "n_bytes": path.stat().st_size,
            **(
                {"n_crops": len(crops) - len(unused), "n_unused_crops": len(unused)}
                if crops
                else {}
            ),
            **({"n_toy_runs": len(toys)} if toys else {}),
        }

    def _write_credits(self, entries: Sequence[Entry], path: Path) -> int:
        """Write the credits of each picture, if there are any; return how many have credits."""
        columns = [name for name in CREDITS if any(name in e.choice.credit for e in entries)]
        if not columns:
            return 0
        rows = [
            [name_picture(self.layout, self.group, e.approach, e.size, e.article_id)]
            + [e.article_id, e.choice.image.image_id]
            + [e.choice.credit.get(name, "") for name in columns]
            for e in entries
        ]
        write_csv(path, ["file", "article_id", "image_id", *columns], rows)
        return sum(any(row[3:]) for row in rows)

    def _describe(
        self,
        runs: Mapping[str, Results],
        entries: Sequence[Entry],
        toys: Mapping[str, str],
        info: RunInfo,
    ) -> Details:
        titles: dict[str, str] = {}
        for approach in runs:
            titles = read_titles(self.runs[approach]) | titles
        settings = ["task.crops=crops.json", "task.overwrite=true"]
        if self.submission:
            settings.append(f"submission={quote_value(str(self.submission))}")
        n_replaced = sum(entry.shown_by is not None for entry in entries)
        return Details(
            group=self.group,
            crop=self.crop,
            command=" ".join(write_command("newsimg", info, settings)),
            facts=[
                f"group {self.group}",
                f"layout {self.layout}",
                f"{len(runs)} runs" if len(runs) > 1 else "1 run",
                f"{len(entries):,} pictures",
                f"{n_replaced:,} next best",
                f"task.crop={self.crop}",
                f"{datetime.now():%Y-%m-%d %H:%M}",
            ],
            titles=titles,
            warning="; ".join(f"run {approach}: {text}" for approach, text in toys.items()),
        )

    def _print(
        self,
        entries: Sequence[Entry],
        path: Path,
        n_credits: int,
        output_dir: Path,
        info: RunInfo,
    ) -> None:
        pictures = Counter((e.approach, e.size) for e in entries)
        replaced = Counter((e.approach, e.size) for e in entries if e.shown_by)
        table = pd.DataFrame(
            [(*key, pictures[key], replaced[key]) for key in pictures],
            columns=["approach", "size", "pictures", "next best"],
        )
        print_table(table, f"group {self.group}, layout {self.layout}")
        if n_credits:
            console.print(f"{n_credits} of {len(entries)} pictures have credits in credits.csv")
        where = shorten_path(path)
        console.print(f"submission     {where} ({path.stat().st_size / 1e6:.1f} MB)")
        console.print(f"pictures       {shorten_path(output_dir / PAGE)}")
        settings = ["task=check", f"submission={quote_value(where)}"]
        print_command("check it", write_command("newsimg", info, settings, ["task"]))


def write_replacements(entries: Sequence[Entry], path: Path) -> None:
    """Write a row for each replaced picture; no file if there are none."""
    rows = [
        [e.article_id, e.approach, e.replaced, e.shown_by, e.rank, e.choice.image.image_id]
        for e in entries
        if e.shown_by
    ]
    columns = ["article_id", "approach", "image_id", "shown_by", "next_rank", "next_image_id"]
    if rows:
        write_csv(path, columns, rows)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV atomically."""
    with write_atomically(path) as temporary:
        pd.DataFrame(rows, columns=list(columns)).to_csv(temporary, index=False)
