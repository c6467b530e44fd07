"""Serve the search page."""

import time
import webbrowser
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from newsimg.app import pictures, search_page
from newsimg.app.command import Typed
from newsimg.app.loading import Loading
from newsimg.app.pictures import Pictures
from newsimg.app.search_page import SearchPage, Start
from newsimg.app.server import HOST, create_app, serve
from newsimg.app.session import HeadlineSearch
from newsimg.interfaces import Components, Reranker, Task, Weight
from newsimg.reporting.console import console
from newsimg.reporting.pages.cards import read_text_length
from newsimg.reporting.status import hide_status

FAREWELL = 1.0  # seconds in which an open page learns why the server ends


class SearchTask(Task):
    """Serves the search page on 127.0.0.1 until Ctrl-C.

    Data and models are loaded while the page is already served; if that fails, the task ends.

    Args:
        query: The first headline; None for the first example.
        n_examples: Number of headlines of the data to suggest.
        port: None for the first free one from 7860.
        open: Whether to show the page in the browser.
        rerankers: Name -> reranker to choose from, besides the run's own.
        weights: Name -> weight to choose from, besides the run's own; their values are not used.
        own_weights: Name of a reranker -> its default weight component.
        reranker: Name of the run's own reranker.
        weight: Name of the run's own weight.
        flags: Flags of the command line.
        overrides: Overrides of the command line.

    Raises:
        ValueError: If a number is out of range, the headline is blank, or one name is given to two
            different components.
    """

    def __init__(
        self,
        *,
        query: str | None,
        n_examples: int,
        port: int | None,
        open: bool,
        rerankers: Mapping[str, Reranker],
        weights: Mapping[str, Weight],
        own_weights: Mapping[str, Weight],
        reranker: str,
        weight: str,
        flags: list[str],
        overrides: list[str],
    ) -> None:
        if query is not None and not query.strip():
            raise ValueError(f"query must be a headline, got {query!r}")
        if n_examples < 0:
            raise ValueError(f"task.n_examples must be at least 0, got {n_examples}")
        if port is not None and not 1 <= port <= 65535:
            raise ValueError(f"task.port must be in [1, 65535], got {port}")
        self.query = query
        self.n_examples = n_examples
        self.port = port
        self.open = open
        self.rerankers = rerankers
        self.weights = weights
        self.own_weights = own_weights
        self.reranker = reranker
        self.weight = weight
        self.flags = flags
        self.overrides = overrides

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`. It returns when the user presses Ctrl-C.

        Returns:
            `n_images` and `n_scored`, the number of times that candidates were scored.

        Raises:
            ValueError: If there are no pictures, or the index is of another backbone.
            OSError: If the port is taken.
        """
        rerankers, weights, suited = self.choose(components)
        search = HeadlineSearch(components, rerankers, weights, self.n_examples)
        own = components.dataset.filter
        typed = Typed(self.flags, self.overrides, self.reranker, self.weight, own)
        start = Start(
            *(self.query or "", self.reranker, suited, components.top_k),
            warning=components.info.warning,
        )
        shown = Pictures()
        warm = partial(search.warm, self.query or "", self.reranker, components.top_k)
        loading = Loading(search.load, warm)
        length = read_text_length(components.backbone.description)
        page = SearchPage(search, shown, loading, typed, start, length)
        routers = [search_page.make_router(page), pictures.make_router(shown)]
        with serve(create_app(routers), self.port) as url:
            loading.start()
            console.print(f"page           {url}")
            console.print(f"               only this machine ({HOST}) can see it; Ctrl-C ends it")
            if self.open:
                webbrowser.open(url)
            try:
                with hide_status():
                    loading.failed.wait()
                time.sleep(FAREWELL)
            except KeyboardInterrupt:
                console.print("closed")  # the regular end
        if loading.error is not None:
            raise loading.error
        return {"n_images": loading.n_images, "n_scored": search.n_scored}

    def choose(
        self, components: Components
    ) -> tuple[dict[str, Reranker], dict[str, Weight], dict[str, tuple[str, float]]]:
        """Return all rerankers, all weights, and each reranker's default weight and its value.

        Raises:
            ValueError: If one name is given to two different components.
        """
        rerankers = {self.reranker: components.reranker} | dict(self.rerankers)
        if rerankers[self.reranker] is not components.reranker:
            raise ValueError(
                f"task.rerankers.{self.reranker} must have another name: it differs from the run's "
                "own reranker"
            )
        weights = {self.weight: components.weight} | dict(self.weights)
        if not _differ_in_value_only(weights[self.weight], components.weight):
            raise ValueError(
                f"task.weights.{self.weight} must be as the run's own, or have another name"
            )
        suited = dict.fromkeys(rerankers, (self.weight, components.weight.value))
        for name, weight in self.own_weights.items():
            if name != self.reranker:
                suited[name] = find_or_add(weights, name, weight), weight.value
        return rerankers, weights, suited


def find_or_add(weights: dict[str, Weight], reranker: str, weight: Weight) -> str:
    """Return the name of a reranker's default weight in `weights`, adding it if necessary."""
    for name, known in weights.items():
        if _differ_in_value_only(known, weight):
            return name
    weights[f"{reranker}'s own"] = weight
    return f"{reranker}'s own"


def _differ_in_value_only(weight: Weight, other: Weight) -> bool:
    return type(weight) is type(other) and vars(weight) | {"value": 0} == vars(other) | {"value": 0}
