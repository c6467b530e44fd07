"""The routes of the judging page."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

import pandas as pd
from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse
from PIL import Image as PILImage
from pydantic import BaseModel, Field

from newsimg.app.judging.access import Access, Caller, find_caller
from newsimg.app.judging.asking import Asked, Judging
from newsimg.app.judging.exports import list_exports
from newsimg.app.judging.preferences import (
    N_RESAMPLES,
    compare_runs,
    measure_quality,
    rate_strengths,
)
from newsimg.app.judging.questions import CHECK, PAIR, RATE, Shown
from newsimg.app.judging.results import (
    describe_pictures,
    list_headlines,
    list_pairs,
    list_people,
    list_rated,
    list_rated_headlines,
    read_answers,
    split_runs,
)
from newsimg.app.server import not_found, read_page
from newsimg.datatypes import Image
from newsimg.evaluation.ratings.runs import measure_runs
from newsimg.reporting.judged.sheets import JudgedHeadline
from newsimg.storage.pictures.images import open_image

log = logging.getLogger(__name__)

MAX_SIDE = 1200  # of a picture that is sent
N_KEPT = 256  # pictures in memory
FRESH = {"Cache-Control": "no-store"}
Called = Annotated[Caller, Depends(find_caller)]


class Answer(BaseModel):
    """An answer, as the page sends it.

    Attributes:
        assignment: Number of the question.
        choice: See `asking.CHOICES`.
        seconds: From the question to the answer.
    """

    assignment: int
    choice: str
    seconds: float


class Withdrawal(BaseModel):
    """Answers to withdraw.

    Attributes:
        reason: Why.
        people: Numbers of people; empty for everybody.
        articles: Articles; empty for all.
    """

    reason: str = Field(max_length=200)
    people: list[int] = []
    articles: list[str] = []


class Undo(BaseModel):
    """The withdrawal to take back.

    Attributes:
        withdrawal: Its number.
    """

    withdrawal: int


@dataclass(frozen=True, eq=False)
class JudgingPage:
    """What the page shows.

    Attributes:
        judging: Questions and answers.
        access: Valid tokens.
        titles: Article id -> headline.
        leads: Article id -> its first sentences, of the articles whose are known.
        images: Image id -> picture, by article id.
        names: Names of the runs, for the results alone.
        shown: The runs that show each picture first.
        guidelines: Text for the people.
        seed: Seed of the intervals.
        tuning: Run -> command that chooses its weight by the answers, for the results alone.
    """

    judging: Judging
    access: Access
    titles: Mapping[str, str]
    leads: Mapping[str, str]
    images: Mapping[tuple[str, str], Image]
    names: Sequence[str]
    shown: Shown
    guidelines: str
    seed: int
    tuning: Mapping[str, str] = field(default_factory=dict)

    def enter(self, caller: Caller) -> int:
        """Return the person of a request."""
        return self.judging.enter(self.access.check(caller))

    def describe(self, person: int, asked: Asked | None) -> dict[str, Any]:
        """Return a question as JSON, and the person's progress."""
        progress = self.judging.measure_progress(person)
        question = None
        if asked is not None:
            title = self.titles.get(asked.article_id, "")
            kind = PAIR if asked.right else RATE
            question = {"assignment": asked.assignment, "headline": title, "kind": kind}
            question["lead"] = self.leads.get(asked.article_id, "")
        return {
            "question": question,
            "guidelines": self.guidelines,
            "answered": progress.n_answered,
            "left": progress.n_left,
            "can_undo": progress.can_undo,
        }

    def describe_results(self) -> dict[str, Any]:
        """Return the preferences, headlines, people and withdrawals as JSON."""
        table = read_answers(self.judging.database)
        rated = list_rated(table, self.shown)
        given = table, self.names, self.shown, self.seed
        pairs = compare_runs(*given)
        strengths = rate_strengths(*given) if len(self.names) > 2 and len(pairs) else None
        means = measure_runs(split_runs(rated, self.shown), N_RESAMPLES, self.seed)
        headlines = (
            list_rated_headlines(rated, self.shown) if rated else list_headlines(table, self.shown)
        )
        titles = headlines["article_id"].map(lambda one: self.titles.get(one, one))
        return {
            "runs": self.names,
            "pairs": _to_records(pairs),
            "strengths": [] if strengths is None else _to_records(strengths.reset_index()),
            "quality": _drop_nan(vars(measure_quality(table))),
            "rated": [] if means is None else _to_records(means.reset_index()),
            "n_answers": len(list_pairs(table)),
            "answered": int(((table["kind"] != CHECK) & (table["turn"] == 0)).sum()),
            "planned": self.count_planned(),
            "tuning": self.tuning,
            "headlines": _to_records(headlines.assign(headline=titles)),
            "people": _to_records(list_people(table)),
            "withdrawals": [vars(one) for one in self.judging.withdrawals.list()],
        }

    def count_planned(self) -> int:
        """Return the number of answers until all is asked, without withdrawn headlines."""
        withdrawn = self.judging.withdrawals.list()
        stale = {name for one in withdrawn if not one.people for name in one.articles}
        n_people = len(self.access.people)
        wanted = [one for one in self.judging.asked if one.kind != CHECK]
        return sum(min(one.n_wanted, n_people) for one in wanted if one.article_id not in stale)

    def export(self) -> dict[str, str]:
        """Return the files of the answers so far: name -> content."""
        table = read_answers(self.judging.database)
        return list_exports(table, self.names, self.shown, self.seed)

    def list_judged(self) -> list[JudgedHeadline]:
        """Return the headlines with answers, the most disagreement first, for the sheets."""
        table = read_answers(self.judging.database)
        judged = []
        for article_id, captions in describe_pictures(table, self.shown).items():
            note = captions.pop("", "")
            pictures = [
                (self.images[article_id, image_id], caption)
                for image_id, caption in captions.items()
            ]
            judged.append(JudgedHeadline(self.titles.get(article_id, article_id), pictures, note))
        return judged


def make_router(page: JudgingPage) -> APIRouter:
    """Return the routes of a judging."""
    router = APIRouter()

    @router.get("/")
    def send_page() -> HTMLResponse:
        return HTMLResponse(read_page("judge.html"), headers=FRESH)

    @router.get("/results")
    def send_results_page() -> HTMLResponse:
        return HTMLResponse(read_page("judge_results.html"), headers=FRESH)

    @router.get("/judge/next")
    def send_next(response: Response, caller: Called) -> dict[str, Any]:
        response.headers.update(FRESH)
        person = page.enter(caller)
        return page.describe(person, page.judging.ask(person))

    @router.post("/judge/answer")
    def keep_answer(answer: Answer, response: Response, caller: Called) -> dict[str, Any]:
        response.headers.update(FRESH)
        person = page.enter(caller)
        kept = page.judging.answer(person, answer.assignment, answer.choice, answer.seconds)
        return page.describe(person, page.judging.ask(person)) | {"kept": kept}

    @router.post("/judge/undo")
    def undo(response: Response, caller: Called) -> dict[str, Any]:
        response.headers.update(FRESH)
        person = page.enter(caller)
        return page.describe(person, page.judging.undo(person) or page.judging.ask(person))

    @router.get("/judge/pictures/{assignment}/{side}")
    def send_picture(assignment: int, side: str, caller: Called) -> Response:
        asked = page.judging.ask(page.enter(caller))
        if asked is None or asked.assignment != assignment or side not in ("left", "right"):
            raise not_found("this picture is not asked about any more: reload the page")
        image_id = asked.left if side == "left" else asked.right
        if not image_id:
            raise not_found("a single picture is rated, on the left")
        try:
            content = draw_picture(page.images[asked.article_id, image_id])
        except (ValueError, OSError) as error:  # its message would name the file
            log.warning("the picture %s cannot be shown: %s", image_id, error)
            raise not_found(f"The {side} picture cannot be read: say so by the key p.") from error
        return Response(content, media_type="image/jpeg", headers=FRESH)

    @router.get("/judge/results")
    def send_results(response: Response, caller: Called) -> dict[str, Any]:
        response.headers.update(FRESH)
        page.access.check(caller, for_owner=True)
        return page.describe_results()

    @router.get("/judge/export/{name}")
    def send_export(name: str, caller: Called) -> Response:
        page.access.check(caller, for_owner=True)
        files = page.export()
        if name not in files:
            raise not_found(f"there is no {name} yet, only {', '.join(files)}")
        return Response(files[name], media_type="text/plain", headers=FRESH)

    @router.post("/judge/withdraw")
    def withdraw(asked: Withdrawal, caller: Called) -> dict[str, int]:
        page.access.check(caller, for_owner=True)
        withdrawals = page.judging.withdrawals
        n = withdrawals.add(asked.reason, people=asked.people, articles=asked.articles)
        return {"withdrawn": n}

    @router.post("/judge/restore")
    def restore(asked: Undo, caller: Called) -> dict[str, int]:
        page.access.check(caller, for_owner=True)
        n_back, n_left = page.judging.withdrawals.undo(asked.withdrawal)
        return {"restored": n_back, "left": n_left}

    return router


@lru_cache(maxsize=N_KEPT)
def draw_picture(image: Image) -> bytes:
    """Return a picture as JPEG without its name, format and metadata, which may tell the run."""
    picture = open_image(image).convert("RGB")
    picture.thumbnail((MAX_SIDE, MAX_SIDE), PILImage.Resampling.LANCZOS)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=88)
    return sink.getvalue()


def _drop_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if pd.isna(value) else value for name, value in values.items()}


def _to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [_drop_nan(row) for row in table.to_dict("records")]
