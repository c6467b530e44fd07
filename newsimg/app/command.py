"""The command that is equivalent to the state of the search page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from newsimg.datatypes import PictureFilter
from newsimg.reporting.quoting import OVERRIDE, is_about, quote_headline, quote_text

FILTER = "data.filter"
SET_HERE = ("task", "query", "top_k", "weight.value")


@dataclass(frozen=True)
class Typed:
    """Command line of the search page.

    Attributes:
        flags: Flags, such as --config-dir.
        overrides: Overrides of the command line.
        reranker: Name of the run's own reranker.
        weight: Name of the run's own weight.
        filter: The run's own filter.
    """

    flags: Sequence[str]
    overrides: Sequence[str]
    reranker: str
    weight: str
    filter: PictureFilter | None = None

    def write_command(
        self,
        headline: str,
        reranker: str,
        weight: str,
        value: str,
        top_k: int,
        wanted: PictureFilter | None = None,
    ) -> str:
        """Return the command, quoted for a shell.

        Overrides of the selected reranker and weight become those of the command; overrides of
        others are dropped.

        Args:
            headline: The headline.
            reranker: Name of the selected reranker.
            weight: Name of the selected weight.
            value: Its value, as text.
            top_k: Candidates.
            wanted: Filter of the page, which is added to that of the command line.
        """
        overrides = list(self.overrides)
        for group, chosen, own in (
            ("reranker", reranker, self.reranker),
            ("weight", weight, self.weight),
        ):
            overrides = move_overrides(overrides, group, chosen, chosen == own)
            if not any(override.startswith(f"{group}=") for override in overrides):
                overrides.append(f"{group}={chosen}")
        overrides = [text for text in overrides if not is_about(text, *SET_HERE)]
        if wanted is not None:
            overrides = [text for text in overrides if not is_about(text, FILTER)]
            overrides.append(write_filter(merge_filters(self.filter, wanted)))
        query = f"query={headline.strip()}"
        if quote_headline(query) == query:  # newsimg would take it for quoted already, or for null
            query = f"query={quote_text(headline.strip())}"
        values = [f"weight.value={value}", f"top_k={top_k}", query]
        return shlex.join(["newsimg", *self.flags, "task=infer", *overrides, *values])


def merge_filters(own: PictureFilter | None, wanted: PictureFilter) -> PictureFilter:
    """Return the filter whose conditions are those of both.

    Raises:
        ValueError: If both have a condition on the same values, which no filter can express.
    """
    if own is None:
        return wanted
    for name, value in vars(wanted).items():
        if value and getattr(own, name) and name != "words":
            raise ValueError(f"the command line has its own data.filter.{name}")
    values = {name: value for name, value in vars(wanted).items() if value}
    values |= {"words": own.words + wanted.words}
    return replace(own, **values)


def write_filter(wanted: PictureFilter) -> str:
    """Return the override of `data.filter`."""
    parts = []
    for name, value in vars(wanted).items():
        if isinstance(value, tuple) and value:
            parts.append(f"{name}:[{','.join(map(quote_text, value))}]")
        elif value:
            parts.append(f"{name}:{quote_text(value)}")
    return f"{FILTER}={{{','.join(parts)}}}"


def move_overrides(overrides: Sequence[str], group: str, chosen: str, is_own: bool) -> list[str]:
    """Convert overrides of `task.<group>s.<chosen>` to overrides of `<group>`.

    Args:
        overrides: Overrides of the command line.
        group: "reranker" or "weight".
        chosen: Name of the selected component.
        is_own: Whether it is the run's own; otherwise overrides of `<group>` are dropped.
    """
    place = f"task.{group}s.{chosen}"
    moved = []
    for override in overrides:
        found = OVERRIDE.fullmatch(override)
        if found is None:
            raise ValueError(f"no override: {override!r}")
        sign, name, value = found["sign"], found["name"], found["value"] or ""
        path = found["package"] or name
        if path == place or path.startswith(f"{place}."):
            path = group + path.removeprefix(place)
            if found["package"] is None:
                moved.append(f"{sign}{path}{value}")
            elif path == name:  # it is chosen here, and was added there
                moved.append(f"{name}{value}")
            else:
                moved.append(f"{sign}{name}@{path}{value}")
        elif is_own or not is_about(override, group):
            moved.append(override)
    return moved
