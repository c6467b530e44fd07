"""Serve the judging page."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from newsimg.app.judging.access import Access, make_token, read_key
from newsimg.app.judging.asking import Judging
from newsimg.app.judging.page import JudgingPage, make_router
from newsimg.app.judging.questions import (
    CHECK,
    MODES,
    PAIR,
    RATE,
    Question,
    Rules,
    plan_pairs,
    plan_ratings,
)
from newsimg.app.judging.results import (
    N_RESAMPLES,
    Preference,
    describe_needed,
    list_rated,
    measure_preference,
    read_answers,
)
from newsimg.app.judging.tables import Database
from newsimg.app.server import create_app, serve
from newsimg.datatypes import Image, Rating
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
    """Serves a page on 127.0.0.1 until Ctrl-C on which people compare two runs of task=infer.

    Each person has a link with a token; the runs are anonymous. At the end writes `answers.csv`,
    `headlines.csv`, `people.csv`, `progress.csv` (the preference after the first answers),
    `ratings.csv` (for `data.ratings`), `qrels.txt` and `judged_01.jpg`, sheets of the pictures with
    the answers, which MLflow shows too.

    Args:
        runs: Name -> folder of a run of task=infer; two of them.
        database: SQLAlchemy URL of SQLite or PostgreSQL; the same one goes on where it was.
        key: File of the key that tokens are made of.
        n_people: Number of people, each of whom has a link. Who has which is not known here.
        mode: "pair" to compare two pictures, "rate" to rate one at a time from 1 to 5.
        n_pairs: Number of headlines to ask about; None for all in which the runs differ.
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
        ValueError: If there are not two runs, or a value is out of range.
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
        if not runs or len(runs) != 2:
            raise ValueError(
                "task.runs must name two runs of task=infer, e.g. 'task.runs={a:DIR,b:DIR}', "
                f"got {dict(runs or {})}"
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
            `judging/n_answers`, `judging/n_articles`, `judging/preference` (of the second run) with
            `_low` and `_high`, `judging/left_share`, `judging/repeat_agreement` and
            `judging/check_share`, as far as there are answers.

        Raises:
            FileNotFoundError: If a run has no results.
            ValueError: If the runs do not differ, or the database is of other questions.
            OSError: If the port is taken.
        """
        names = tuple(self.runs)
        first, second = (read_results(folder) for folder in self.runs.values())
        asked = plan_pairs(
            *(_list_ids(results) for results in (first, second)),
            n_pairs=self.n_pairs,
            n_raters=self.n_raters,
            n_checks=self.n_checks,
            seed=self.seed,
        )
        shown = _find_runs(asked, (names[0], names[1]))
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
            images=_find_images(asked, first, second),
            shown=shown,
            names=(names[0], names[1]),
            guidelines=self.guidelines,
            seed=self.seed,
            tuning=list_tuning(self.runs),
        )
        n_headlines = len({one.article_id for one in asked if one.kind != CHECK})
        with serve(create_app([make_router(page)]), self.port) as url:
            console.print(f"{n_headlines} headlines, {self.n_raters} people each")
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
            return self._describe_rated(rated)
        found = measure_preference(table, self.seed)
        if found is None:
            console.print("no answers")
            return {"judging/n_answers": 0}
        console.print(describe_preference(found, page.names))
        if needed := describe_needed(table, self.seed):
            console.print(needed)
        metrics = {f"judging/{name}": value for name, value in vars(found).items()}
        metrics = {name.replace("/value", "/preference"): v for name, v in metrics.items()}
        for end in ("low", "high"):
            metrics[f"judging/preference_{end}"] = metrics.pop(f"judging/{end}")
        return {name: float(value) for name, value in metrics.items() if not pd.isna(value)}

    def _describe_rated(self, rated: list[Rating]) -> dict[str, float]:
        """Print and return the mean rating of each run."""
        runs = measure_runs(rated, N_RESAMPLES, self.seed)
        assert runs is not None
        print_table(runs.reset_index(), f"{len(rated)} ratings: mean of each run")
        means = {f"judging/{name}/mean": float(row["mean"]) for name, row in runs.iterrows()}
        return {"judging/n_answers": len(rated), **means}


def describe_preference(found: Preference, names: tuple[str, str]) -> str:
    """Describe which run people prefer, in a sentence."""
    interval = f"{found.value:+.4f} (95 % interval {found.low:+.4f} to {found.high:+.4f})"
    counts = f"{found.n_answers} answers to {found.n_articles} headlines"
    if found.low <= 0 <= found.high:
        return f"{counts} do not tell {names[0]} and {names[1]} apart: {interval}"
    better = names[1] if found.value > 0 else names[0]
    return f"{better} is preferred: {interval}, {counts}"


def _merge(texts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {article_id: text for own in texts for article_id, text in own.items()}


def _list_ids(results: Results) -> dict[str, list[str]]:
    return {
        article_id: [choice.image.image_id for choice in choices]
        for article_id, choices in results.items()
    }


def _find_images(
    asked: Sequence[Question], first: Results, second: Results
) -> dict[tuple[str, str], Image]:
    """Return the pictures of the questions, by article and image id."""
    images = {
        choice.image.image_id: choice.image
        for results in (second, first)
        for choices in results.values()
        for choice in choices
    }
    return {
        (one.article_id, image_id): images[image_id]
        for one in asked
        for image_id in (one.first, one.second)
        if image_id
    }


def _find_runs(asked: Sequence[Question], names: tuple[str, str]) -> dict[tuple[str, str], str]:
    """Return the run of each picture of the pairs, by article and image id."""
    return {
        (one.article_id, image_id): name
        for one in asked
        if one.kind == PAIR
        for image_id, name in zip((one.first, one.second), names, strict=True)
    }
