"""The command that is equivalent to the state of the search page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from newsimg.reporting.quoting import OVERRIDE, is_about, quote_headline, quote_text
from newsimg.tracking.params import write_number

SET_HERE = ("task", "query", "top_k", "weight.value")


@dataclass(frozen=True)
class Typed:
    """Command line of the search page.

    Attributes:
        flags: Flags, such as --config-dir.
        overrides: Overrides of the command line.
        reranker: Name of the run's own reranker.
        weight: Name of the run's own weight.
    """

    flags: Sequence[str]
    overrides: Sequence[str]
    reranker: str
    weight: str

    def write_command(
        self, headline: str, reranker: str, weight: str, value: float, top_k: int
    ) -> str:
        """Return the command, quoted for a shell.

        Overrides of the selected reranker and weight become those of the command; overrides of
        others are dropped.
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
        query = f"query={headline.strip()}"
        if quote_headline(query) == query:  # newsimg would take it for quoted already, or for null
            query = f"query={quote_text(headline.strip())}"
        values = [f"weight.value={write_number(value)}", f"top_k={top_k}", query]
        return shlex.join(["newsimg", *self.flags, "task=infer", *overrides, *values])


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
