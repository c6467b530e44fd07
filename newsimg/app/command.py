"""The command that does for one headline what the search page shows."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from newsimg.reporting.quoting import OVERRIDE, is_about, quote_headline, quote_text
from newsimg.tracking.params import write_number

SET_HERE = ("task", "query", "top_k", "weight.value")


@dataclass(frozen=True)
class Typed:
    """What a search page was started with.

    Attributes:
        flags: What stood before the overrides, such as --config-dir.
        overrides: Group choices and values, as they were typed.
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

        What was typed for the chosen reranker and weight, be they the run's own or among those of
        the task, becomes what is typed for those of the command. What was typed for the others is
        left out.
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
    """Let what is said of `task.<group>s.<chosen>` be said of `<group>`.

    Args:
        overrides: As they were typed.
        group: "reranker" or "weight".
        chosen: The name of the chosen component.
        is_own: Whether it is the run's own; what is said of `<group>` stays then only.
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
