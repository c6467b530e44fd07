"""The search page's routes."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from newsimg.app.answers import describe_result, list_fused, name_file, write_csv, write_trec
from newsimg.app.command import Typed
from newsimg.app.loading import Loading
from newsimg.app.pictures import Pictures, link_picture, make_key
from newsimg.app.server import read_page
from newsimg.app.session import Asked, HeadlineSearch, Scored
from newsimg.datatypes import Image
from newsimg.storage.metadata.filters import make_filter

T = TypeVar("T")
MAX_TOP_K = 100  # pictures on a page
GONE = 499  # as nginx has it: the client has closed the connection
MARK = "0.987654321"  # in place of the weight in a command


class Search(BaseModel):
    """A search, as the page asks for it.

    Attributes:
        headline: The headline; empty if a picture is searched for.
        upload: Key of an uploaded picture.
        like: Id of a picture of the collection.
        reranker: Name of a reranker.
        top_k: Candidates.
        filter: Condition -> values, see `make_filter`.
    """

    headline: str = ""
    upload: str = ""
    like: str = ""
    reranker: str
    top_k: int
    filter: dict[str, list[str]] = {}


class Weighted(Search):
    """A search with a weight.

    Attributes:
        weight: Name of a weight.
        value: Its value.
        kind: Of the exported file.
    """

    weight: str
    value: float
    kind: Literal["csv", "run"] = "csv"


@dataclass(frozen=True)
class Start:
    """What the page begins with.

    Attributes:
        headline: Headline; empty for the first one of the data.
        reranker: Name of the run's reranker.
        suited: Reranker -> its default normalisation and weight.
        top_k: Candidates.
        warning: Warning shown first; empty for none.
    """

    headline: str
    reranker: str
    suited: Mapping[str, tuple[str, float]]
    top_k: int
    warning: str = ""


@dataclass(frozen=True, eq=False)
class SearchPage:
    """Answers the requests of the search page; nothing is kept per person or tab.

    Attributes:
        search: Searches and scores.
        pictures: The pictures that are shown.
        loading: Loads data and models.
        typed: Writes the command that gives the same result.
        start: What the page begins with.
        text_length: Tokens that the backbone reads, if known.
    """

    search: HeadlineSearch
    pictures: Pictures
    loading: Loading
    typed: Typed
    start: Start
    text_length: int | None = None

    def describe_start(self) -> dict[str, Any]:
        """Return the page's choices and initial values."""
        return {
            "headline": self.start.headline,
            "reranker": self.start.reranker,
            "rerankers": {name: list(pair) for name, pair in self.start.suited.items()},
            "normalisations": list(self.search.weights),
            "top_k": self.start.top_k,
            "max_top_k": self.max_top_k,
            "warning": self.start.warning,
        }

    @property
    def max_top_k(self) -> int:
        """Maximum number of candidates."""
        return max(self.start.top_k, MAX_TOP_K)

    def find(self, wanted: Search) -> tuple[Asked, Scored]:
        """Search.

        Raises:
            ValueError: If a value is unknown or out of range.
        """
        if not 1 <= wanted.top_k <= self.max_top_k:
            raise ValueError(f"Candidates must be 1 to {self.max_top_k}, got {wanted.top_k}")
        asked = self._read(wanted)
        return asked, self.search.score(asked, wanted.reranker, wanted.top_k)

    def _read(self, wanted: Search) -> Asked:
        picture: Image | None = None
        if wanted.upload:
            picture = self.pictures.find_upload(wanted.upload)
        elif wanted.like:
            picture = self.search.find_picture(wanted.like)
        headline = "" if picture else wanted.headline
        return Asked(headline, picture, make_filter(wanted.filter))

    def answer(self, wanted: Search) -> dict[str, Any]:
        """Return the candidates, and the commands of each weight."""
        asked, scored = self.find(wanted)
        result = describe_result(self.search, scored, self.pictures, self.text_length)
        if asked.picture is not None:
            result["sought"] = link_picture(asked.picture, make_key(asked.picture))
            if not wanted.upload:
                self.pictures.add([asked.picture])
        return result | self._write_commands(wanted, asked)

    def _write_commands(self, wanted: Search, asked: Asked) -> dict[str, Any]:
        """Return `commands`: weight -> the command up to its value; and `command_end`."""
        if asked.picture is not None:
            return {"no_command": "No command searches for a picture."}
        parts = asked.headline, wanted.reranker
        try:
            commands = {
                name: self.typed.write_command(*parts, name, MARK, wanted.top_k, asked.filter)
                for name in self.search.weights
            }
        except ValueError as error:
            text = f"No command gives this result: {error}, and a command can have only one."
            return {"no_command": text}
        ends = {name: command.partition(MARK) for name, command in commands.items()}
        start = {name: start for name, (start, _, _) in ends.items()}
        return {"commands": start, "command_end": next(iter(ends.values()))[2]}

    def is_kept(self, wanted: Search) -> bool:
        """Return whether no model is needed, so that it need not wait for other searches."""
        if wanted.upload or wanted.like:
            return False
        return self.search.is_kept(self._read(wanted), wanted.reranker, wanted.top_k)

    def answer_fused(self, wanted: Weighted) -> dict[str, Any]:
        """Return the fused scores, for weights that the page does not compute."""
        _, scored = self.find(wanted)
        return {"fused": list_fused(self.search, scored, wanted.weight, wanted.value)}

    def export(self, wanted: Weighted) -> Response:
        """Return the result as a CSV or as a TREC run."""
        asked, scored = self.find(wanted)
        reranked = self.search.fuse(scored, wanted.weight, wanted.value)
        if wanted.kind == "csv":
            text = write_csv(scored.retrieved, reranked)
        else:
            text = write_trec(scored, reranked)
        name = quote(name_file(asked, wanted.kind))
        return Response(text, media_type="text/plain", headers={"X-File-Name": name})


class Turns:
    """Searches one after the other; one whose page does not wait any more is left out."""

    def __init__(self, page: SearchPage) -> None:
        self._page = page
        self._lock = asyncio.Lock()

    async def run(self, request: Request, answer: Callable[[Any], T], wanted: Search) -> Any:
        """Return `answer(wanted)`; what needs no model does not wait."""
        if self._page.is_kept(wanted):
            return await run_in_thread(answer, wanted)
        async with self._lock:
            if await request.is_disconnected():
                return Response(status_code=GONE)
            return await run_in_thread(answer, wanted)


async def run_in_thread(work: Callable[[Any], T], wanted: Any) -> T:
    """Return `work(wanted)`, run in a thread that does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[Any], None], value: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if found.done() else settled(value))

    def run() -> None:
        try:
            settle(found.set_result, work(wanted))
        except Exception as error:
            settle(found.set_exception, error)

    threading.Thread(target=run, daemon=True).start()
    return await found


def make_router(page: SearchPage) -> APIRouter:
    """Return the routes of the search page."""
    router = APIRouter()
    html = read_page("search.html")
    models = Turns(page)

    @router.get("/")
    def send_page() -> Response:
        return Response(html, media_type="text/html", headers={"Cache-Control": "no-cache"})

    @router.get("/search/start")
    def send_start() -> dict[str, Any]:
        return page.describe_start()

    @router.get("/search/status")
    async def send_status() -> dict[str, Any]:
        return page.loading.describe()

    @router.post("/search/results")
    async def send_results(wanted: Search, request: Request) -> Any:
        return await models.run(request, lambda one: JSONResponse(page.answer(one)), wanted)

    @router.post("/search/fused")
    async def send_fused(wanted: Weighted, request: Request) -> Any:
        return await models.run(request, lambda one: JSONResponse(page.answer_fused(one)), wanted)

    @router.post("/search/export")
    async def send_export(wanted: Weighted, request: Request) -> Any:
        return await models.run(request, page.export, wanted)

    return router
