"""Literal captions and alt texts of scenes, and the facts that a headline mentions."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from newsimg.sample.scenes import COLOURS, Scene
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.wording import (
    COLOUR_WORDS,
    COUNT_WORDS,
    THINGS,
    TIME_PHRASES,
    VIEW_PHRASES,
    WEATHER_PHRASES,
)

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
TIME_WORDS = {"day": "by day", "dawn": "at dawn", "dusk": "at dusk", "night": "at night"}
WEATHER_WORDS = {
    "clear": "in clear weather",
    "rain": "in rain",
    "snow": "in snow",
    "fog": "in fog",
    "storm": "in a thunderstorm",
}
VIEW_WORDS = {
    "near": "seen from near",
    "far": "seen from far away",
    "left": "on the left side",
    "right": "on the right side",
}
DEFECT_WORDS = {
    "blur": "a blurry photo of",
    "noise": "a noisy grainy photo of",
    "exposure": "a badly exposed photo of",
    "watermark": "a stock photo with watermark bars of",
    "clickbait": "a photo with a red arrow and circle of",
}
KEEP_SHARE = 0.72  # probability that an alt text mentions a factor
SAY_DEFECT_SHARE = 0.05  # probability that an alt text mentions a visible defect


def literal_caption(scene: Scene) -> str:
    """Return a full description: 'two red boats on the sea at dusk in rain, seen from near'."""
    parts = [NUMBERS[scene.count], scene.colour, _noun(scene), SUBJECTS[scene.subject].where]
    parts += [TIME_WORDS[scene.time], WEATHER_WORDS[scene.weather]]
    return " ".join(parts) + ", " + VIEW_WORDS[scene.view]


def write_alt_text(scene: Scene, rng: np.random.Generator) -> str:
    """Write an alt text as found on the web, without some factors and with some defects.

    Args:
        scene: The scene.
        rng: Random generator of the omitted factors.

    Returns:
        The alt text, which always contains the subject's noun.
    """
    keeps = rng.random(6) < KEEP_SHARE
    parts = [
        NUMBERS[scene.count] if keeps[0] else "",
        scene.colour if keeps[1] else "",
        _noun(scene),
        SUBJECTS[scene.subject].where if keeps[2] else "",
        TIME_WORDS[scene.time] if keeps[3] else "",
        WEATHER_WORDS[scene.weather] if keeps[4] else "",
    ]
    text = " ".join(part for part in parts if part)
    if keeps[5]:
        text += ", " + VIEW_WORDS[scene.view]
    if scene.is_poor and rng.random() < SAY_DEFECT_SHARE:
        text = f"{DEFECT_WORDS[scene.worst_defect]} {text}"
    return text


def caption_words() -> list[str]:
    """Return the sorted vocabulary of literal captions."""
    subjects = [f"{s.singular} {s.plural} {s.where}" for s in SUBJECTS.values()]
    phrases = [*NUMBERS.values(), *COLOURS, *TIME_WORDS.values(), *WEATHER_WORDS.values()]
    return sorted(set(" ".join([*subjects, *phrases, *VIEW_WORDS.values()]).split()))


def _noun(scene: Scene) -> str:
    subject = SUBJECTS[scene.subject]
    return subject.singular if scene.count == 1 else subject.plural


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
    """Return the factors of a scene that its headline mentions.

    Args:
        title: A headline written by `write_story`.
        scene: Its scene, to distinguish words for a factor from those in names and templates.

    Returns:
        Factor -> values consistent with the headline; unmentioned factors are absent.
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
    else:  # without the subject, number and colour refer to other things: "golden voices"
        facts.pop("count", None)
        facts.pop("colour", None)
    return facts


def count_contradictions(facts: Facts, scene: Scene) -> int:
    """Return how many facts of a headline about the same subject contradict a scene."""
    return sum(getattr(scene, factor) not in values for factor, values in facts.items())


def _contains(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None
