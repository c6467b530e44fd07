"""Serve the judging page."""

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from newsimg.app.judging.access import Access, make_token, read_key
from newsimg.app.judging.asking import Judging
from newsimg.app.judging.page import JudgingPage, make_router
from newsimg.app.judging.preferences import (
    N_RESAMPLES,
    compare_runs,
    describe_needed,
    measure_quality,
    rate_strengths,
    select_pair,
)
from newsimg.app.judging.questions import (
    CHECK,
    MODES,
    RATE,
    Question,
    Ranked,
    Rules,
    list_shown,
    plan_pairs,
    plan_ratings,
)
from newsimg.app.judging.results import (
    list_preferences,
    list_rated,
    read_answers,
    split_runs,
)
from newsimg.app.judging.tables import Database
from newsimg.app.server import create_app, serve
from newsimg.datatypes import MAX_COMPARED, Image, Rating
from newsimg.evaluation.ratings.runs import measure_runs
from newsimg.interfaces import Components, Task
from newsimg.reporting.console import console, print_table
from newsimg.reporting.judged.sheets import write_sheets
from newsimg.reporting.judged.tuning import list_tuning
from newsimg.reporting.results import Results, read_leads, read_results, read_titles
from newsimg.reporting.status import hide_status
from newsimg.storage.files import write_atomically
from newsimg.storage.text.suggest import check_choice

TEXTS = (read_titles, read_leads)
OWNER = "owner"  # whose token opens the results


class JudgeTask(Task):
    """Serves a page on 127.0.0.1 until Ctrl-C on which people compare runs of task=infer.

    Each person has a link with a token; the runs are anonymous. At the end writes `answers.csv`,
    `preferences.csv` (of every pair of runs), `runs.csv` (of more than two, their strengths),
    `headlines.csv`, `people.csv`, `progress.csv` (the preference after the first answers),
    `ratings.csv` (for `data.ratings`), `qrels.txt` and `judged_01.jpg`, sheets of the pictures with
    the answers, which MLflow shows too.

    Args:
        runs: Name -> folder of a run of task=infer; two or more of them.
        database: SQLAlchemy URL of SQLite or PostgreSQL; the same one goes on where it was.
        key: File of the key that tokens are made of.
        n_people: Number of people, each of whom has a link. Who has which is not known here.
        mode: "pair" to compare two pictures, "rate" to rate one at a time from 1 to 5.
        n_pairs: Number of pairs of pictures to ask about, with `mode` "rate" of headlines; None for
            all in which runs differ.
        n_raters: Number of people for each.
        n_checks: Number of attention checks.
        check_share: See `Rules`.
        repeat_share: See `Rules`.
        repeat_gap: See `Rules`.
        order: See `Rules`.
        expire: See `Rules`.
        guidelines: Text for the people.
        port: None for the first free one from 7860.
        seed: Seed of pairs, order and sides.

    Raises:
        ValueError: If there are not two to eight runs, or a value is out of range.
    """

    parts = ()

    def __init__(
        self,
        *,
        runs: Mapping[str, str] | None,
        database: str,
        key: str,
        n_people: int,
        mode: str,
        n_pairs: int | None,
        n_raters: int,
        n_checks: int,
        check_share: float,
        repeat_share: float,
        repeat_gap: int,
        order: str,
        expire: float,
        guidelines: str,
        port: int | None,
        seed: int,
    ) -> None:
        if not runs or not 2 <= len(runs) <= MAX_COMPARED:
            raise ValueError(
                f"task.runs must name 2 to {MAX_COMPARED} runs of task=infer, e.g. "
                f"'task.runs={{a:DIR,b:DIR}}', got {dict(runs or {})}"
            )
        if n_people < 1:
            raise ValueError(f"task.n_people must be at least 1, got {n_people}")
        if port is not None and not 1 <= port <= 65535:
            raise ValueError(f"task.port must be in [1, 65535], got {port}")
        self.runs = {name: Path(folder).expanduser() for name, folder in runs.items()}
        self.database = database
        self.key = Path(key).expanduser()
        check_choice("task.mode", mode, MODES)
        self.n_people = n_people
        self.mode = mode
        self.n_pairs = n_pairs
        self.n_raters = n_raters
        self.n_checks = n_checks
        self.rules = Rules(check_share, repeat_share, repeat_gap, order, expire, seed)
        self.guidelines = guidelines
        self.port = port
        self.seed = seed

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`. It returns when the user presses Ctrl-C.

        Returns:
            `judging/n_answers`, `judging/n_articles`, `judging/left_share`,
            `judging/repeat_agreement` and `judging/check_share`, as far as there are answers. Of
            two runs `judging/preference` (of the second) with `_low` and `_high`; of more
            `judging/A_vs_B/preference` (of B) and so on for every pair, and `judging/A/strength`
            with `_low` and `_high`. Of rated pictures `judging/A/mean`.

        Raises:
            FileNotFoundError: If a run has no results.
            ValueError: If the runs do not differ, or the database is of other questions.
            OSError: If the port is taken.
        """
        results = {name: read_results(folder) for name, folder in self.runs.items()}
        ranked = {name: _list_ids(own) for name, own in results.items()}
        asked = plan_pairs(
            list(ranked.values()),
            n_pairs=self.n_pairs,
            n_raters=self.n_raters,
            n_checks=self.n_checks,
            seed=self.seed,
            whole=self.mode == RATE,
        )
        if self.mode == RATE:
            asked = plan_ratings(asked)
        judging = Judging(Database(self.database), asked, self.rules)
        key = read_key(self.key)
        numbers = range(1, self.n_people + 1)
        tokens = [make_token(key, f"person {number}") for number in numbers]
        owner = make_token(key, OWNER)
        titles, leads = (_merge(read(folder) for folder in self.runs.values()) for read in TEXTS)
        page = JudgingPage(
            judging=judging,
            access=Access(tokens, owner),
            titles=titles,
            leads=leads,
            images=_find_images(asked, list(results.values())),
            shown=list_shown(ranked, asked),
            names=list(self.runs),
            guidelines=self.guidelines,
            seed=self.seed,
            tuning=list_tuning(self.runs),
        )
        wanted = [one for one in asked if one.kind != CHECK]
        n_headlines = len({one.article_id for one in wanted})
        with serve(create_app([make_router(page)]), self.port) as url:
            console.print(f"{describe_plan(wanted, n_headlines)}, {self.n_raters} people each")
            for number, token in zip(numbers, tokens, strict=True):
                console.print(f"{f'link {number}':<14} {url}/#t={token}")
            console.print(f"{'results':<14} {url}/results#t={owner}")
            console.print("               Ctrl-C ends it; the same command goes on with it")
            try:
                with hide_status():
                    threading.Event().wait()
            except KeyboardInterrupt:
                console.print("closed")  # the regular end
        return self._write(judging, page, output_dir)

    def _write(self, judging: Judging, page: JudgingPage, output_dir: Path) -> dict[str, float]:
        for name, content in page.export().items():
            with write_atomically(output_dir / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
        judged = page.list_judged()
        if (n_drawn := write_sheets(judged, output_dir)) < len(judged):
            console.print(f"{n_drawn} of {len(judged)} headlines are on the sheets")
        table = read_answers(judging.database)
        if rated := list_rated(table, page.shown):
            return self._describe_rated(rated, page)
        counted = list_preferences(table)
        if counted.empty:
            console.print("no answers")
            return {"judging/n_answers": 0}
        pairs = compare_runs(table, page.names, page.shown, self.seed)
        metrics: dict[str, float] = {
            "judging/n_answers": len(counted),
            "judging/n_articles": counted["article_id"].nunique(),
        }
        quality = vars(measure_quality(table))
        metrics |= {f"judging/{name}": value for name, value in quality.items()}
        for row in pairs.to_dict("records"):
            console.print(describe_preference(row))
            named = f"{row['first_run']}_vs_{row['second_run']}/" if len(page.names) > 2 else ""
            values = {"": row["preference"], "_low": row["low"], "_high": row["high"]}
            metrics |= {f"judging/{named}preference{end}": v for end, v in values.items()}
        if len(page.names) == 2:
            own = select_pair(table, page.shown, (page.names[0], page.names[1]))
            if needed := describe_needed(own, self.seed):
                console.print(needed)
        else:
            metrics |= self._describe_strengths(table, page)
        return {name: float(value) for name, value in metrics.items() if not pd.isna(value)}

    def _describe_strengths(self, table: pd.DataFrame, page: JudgingPage) -> dict[str, float]:
        """Print and return the strength of each run, as far as the answers tell it."""
        strengths = rate_strengths(table, page.names, page.shown, self.seed)
        if strengths is None:
            return {}
        print_table(strengths.reset_index(), "strength of each run, with 95 % intervals")
        columns = {"": "strength", "_low": "low", "_high": "high"}
        return {
            f"judging/{name}/strength{end}": float(row[column])
            for name, row in strengths.iterrows()
            for end, column in columns.items()
        }

    def _describe_rated(self, rated: list[Rating], page: JudgingPage) -> dict[str, float]:
        """Print and return the mean rating of each run."""
        runs = measure_runs(split_runs(rated, page.shown), N_RESAMPLES, self.seed)
        assert runs is not None
        print_table(runs.reset_index(), f"{len(rated)} ratings: mean of each run")
        means = {f"judging/{name}/mean": float(row["mean"]) for name, row in runs.iterrows()}
        return {"judging/n_answers": len(rated), **means}


def describe_plan(wanted: Sequence[Question], n_headlines: int) -> str:
    """Describe what people are asked about."""
    headlines = f"{n_headlines} headline{'' if n_headlines == 1 else 's'}"
    if len(wanted) == n_headlines:
        return headlines
    kind = "pictures" if wanted[0].kind == RATE else "pairs of pictures"
    return f"{len(wanted)} {kind} of {headlines}"


def describe_preference(row: Mapping[Hashable, Any]) -> str:
    """Describe which of two runs people prefer, in a sentence.

    Args:
        row: A row of `compare_runs`.
    """
    first, second, low, high = (row[k] for k in ("first_run", "second_run", "low", "high"))
    interval = f"{row['preference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
    counts = f"{row['n_answers']} answers to {row['n_articles']} headlines"
    if low <= 0 <= high:
        return f"{counts} do not tell {first} and {second} apart: {interval}"
    better, other = (second, first) if row["preference"] > 0 else (first, second)
    return f"{better} is preferred to {other}: {interval}, {counts}"


def _merge(texts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {article_id: text for own in texts for article_id, text in own.items()}


def _list_ids(results: Results) -> Ranked:
    return {
        article_id: [choice.image.image_id for choice in choices]
        for article_id, choices in results.items()
    }


def _find_images(
    asked: Sequence[Question], runs: Sequence[Results]
) -> dict[tuple[str, str], Image]:
    """Return the pictures of the questions, by article and image id."""
    images = {
        choice.image.image_id: choice.image
        for results in reversed(runs)
        for choices in results.values()
        for choice in choices
    }
    return {
        (one.article_id, image_id): images[image_id]
        for one in asked
        for image_id in (one.first, one.second)
        if image_id
    }
