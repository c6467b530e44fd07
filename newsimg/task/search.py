"""Serve the search page."""

import threading
from collections.abc import Mapping
from pathlib import Path

from newsimg.app.command import Typed
from newsimg.app.server import HOST, Start, build_page, import_gradio, open_page
from newsimg.app.session import HeadlineSearch
from newsimg.interfaces import Components, Reranker, Task, Weight
from newsimg.reporting.console import console
from newsimg.reporting.status import hide_status


class SearchTask(Task):
    """Serves the search page on 127.0.0.1 until Ctrl-C.

    The first headline is searched before the page is served, so that errors of index, backbone and
    models appear on the console.

    Args:
        query: The first headline; None for the first example.
        n_examples: Number of headlines of the data to offer as examples.
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
        ImportError: If Gradio is not installed.
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
        import_gradio()  # before any model runs
        self.query = query
        self.n_examples = n_examples
        self.port = port
        self.open = open
        self.rerankers = rerankers
        self.weights = weights
        self.own_weights = own_weights
        self.typed = Typed(flags, overrides, reranker, weight)

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`. It returns when the user presses Ctrl-C.

        Returns:
            `n_images` and `n_scored`, the number of times that candidates were scored.

        Raises:
            ValueError: If there are no pictures, or the index is of another backbone.
            OSError: If the port is taken.
        """
        own_reranker, own_weight = self.typed.reranker, self.typed.weight
        rerankers = {own_reranker: components.reranker} | dict(self.rerankers)
        if rerankers[own_reranker] is not components.reranker:
            raise ValueError(
                f"task.rerankers.{own_reranker} must have another name: it differs from the run's "
                "own reranker"
            )
        weights = {own_weight: components.weight} | dict(self.weights)
        if not _differ_in_value_only(weights[own_weight], components.weight):
            raise ValueError(
                f"task.weights.{own_weight} must be as the run's own, or have another name"
            )
        suited = dict.fromkeys(rerankers, (own_weight, components.weight.value))
        for name, weight in self.own_weights.items():
            if name != own_reranker:
                suited[name] = find_or_add(weights, name, weight), weight.value
        search = HeadlineSearch(components, rerankers, weights)
        examples = self._find_examples(components)
        headline = self.query or next(iter(examples), "")
        top_k = min(components.top_k, len(search.images))
        warning = components.info.warning
        start = Start(headline, examples, own_reranker, suited, top_k, warning)
        if headline:
            search.score(headline, own_reranker, top_k)
        page = build_page(search, self.typed, start)
        url = open_page(page, self.port, self.open)
        console.print(f"page           {url}")
        console.print(f"               only this machine ({HOST}) can see it; Ctrl-C ends it")
        try:
            with hide_status():
                threading.Event().wait()
        except KeyboardInterrupt:
            console.print("closed")  # the regular end
        finally:
            page.close(verbose=False)
        return {"n_images": len(search.images), "n_scored": search.n_scored}

    def _find_examples(self, components: Components) -> list[str]:
        """Return the first headlines of the data, if any are wanted.

        Those of the sample newsroom are invented for its own pictures.
        """
        is_foreign = components.dataset.is_sample and not components.info.is_sample
        if not self.n_examples or is_foreign:
            return []
        queries = components.dataset.load().queries
        return list(dict.fromkeys(query.title for query in queries))[: self.n_examples]


def find_or_add(weights: dict[str, Weight], reranker: str, weight: Weight) -> str:
    """Return the name of a reranker's default weight in `weights`, adding it if necessary."""
    for name, known in weights.items():
        if _differ_in_value_only(known, weight):
            return name
    weights[f"{reranker}'s own"] = weight
    return f"{reranker}'s own"


def _differ_in_value_only(weight: Weight, other: Weight) -> bool:
    return type(weight) is type(other) and vars(weight) | {"value": 0} == vars(other) | {"value": 0}
