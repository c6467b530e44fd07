"""What a headline says about the picture: the values of each factor that agree with it."""

import re
from collections.abc import Mapping
from typing import Any

from newsimg.sample.scenes import Scene
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.wording import (
    COLOUR_WORDS,
    COUNT_WORDS,
    THINGS,
    TIME_PHRASES,
    VIEW_PHRASES,
    WEATHER_PHRASES,
)

Facts = dict[str, frozenset[int | str]]
FACTORS = ("count", "colour", "time", "weather", "view")  # besides the subject
PHRASES: dict[str, Mapping[Any, tuple[str, ...]]] = {
    "count": COUNT_WORDS,
    "colour": COLOUR_WORDS,
    "time": TIME_PHRASES,
    "weather": WEATHER_PHRASES,
    "view": VIEW_PHRASES,
}


def read_facts(title: str, scene: Scene) -> Facts:
    """Read a headline that was written about a scene.

    Args:
        title: The headline; `write_story` made it.
        scene: What it was made from, which tells a factor's words from a place's or an event's.

    Returns:
        Factor -> values that agree with the headline; factors it leaves open are absent.
    """
    text = title[0].lower() + title[1:]
    facts: Facts = {}
    for factor, phrases in PHRASES.items():
        value = getattr(scene, factor)
        if any(_contains(text, phrase) for phrase in phrases.get(value, ())):
            facts[factor] = frozenset({value})
    things = THINGS[scene.subject]
    if any(_contains(text, plural) for _, plural in things):
        facts.setdefault("count", frozenset(range(2, SUBJECTS[scene.subject].max_count + 1)))
    elif any(_contains(text, singular) for singular, _ in things):
        facts["count"] = frozenset({1})
    else:  # without its thing, a headline counts and paints other things: "golden voices"
        facts.pop("count", None)
        facts.pop("colour", None)
    return facts


def count_contradictions(facts: Facts, scene: Scene) -> int:
    """How many facts of a headline about the same subject a scene contradicts."""
    return sum(getattr(scene, factor) not in values for factor, values in facts.items())


def _contains(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None
