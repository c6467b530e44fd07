"""Training examples of the sample's language model: headlines with captions as answers."""

from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np

from newsimg.sample.headlines import MENTION_SHARES, write_story
from newsimg.sample.scenes import (
    COLOURS,
    COUNT_SHARES,
    TIME_SHARES,
    TIMES,
    VIEWS,
    WEATHER_SHARES,
    WEATHERS,
    Scene,
    is_held_out,
    training_scenes,
)
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.training.captions import (
    NUMBERS,
    TIME_WORDS,
    VIEW_WORDS,
    WEATHER_WORDS,
    Facts,
    read_facts,
)

SYSTEM = "You choose photographs for a newspaper."
USER = (
    "Describe {num_captions} different photographs that could illustrate this headline, each in "
    "one short caption that names what can be seen. Separate the captions with semicolons and "
    "write nothing else.\nHeadline: {title}"
)
N_CAPTIONS = 5
# Share of opinion columns. The CLIP is not trained on their idioms, but a language model is trained
# on newspapers.
COLUMN_SHARE = 0.25
# Probability of each value if a headline does not mention it: clear weather is seldom mentioned.
_CLEAR_UNMENTIONED, _UNMENTIONED = 1 - MENTION_SHARES["weather"] / 2, 1 - MENTION_SHARES["weather"]
LIKELY: dict[str, dict[int | str, float]] = {
    "time": dict(zip(TIMES, TIME_SHARES, strict=True)),
    "weather": {
        weather: share * (_CLEAR_UNMENTIONED if weather == "clear" else _UNMENTIONED)
        for weather, share in zip(WEATHERS, WEATHER_SHARES, strict=True)
    },
    "count": dict(zip(range(1, 5), COUNT_SHARES, strict=True)),
    "view": dict.fromkeys(VIEWS, 1 / len(VIEWS)),
    "colour": dict.fromkeys(COLOURS, 1 / len(COLOURS)),
}
GUESSED = ("time", "weather"), ("view",), ("colour",)  # completed in this order


@dataclass(frozen=True)
class Example:
    """A headline of a scene with the expected captions."""

    scene: Scene
    title: str
    captions: tuple[str, ...]


def write_examples(n: int, seed: int, column_share: float = COLUMN_SHARE) -> list[Example]:
    """Write examples for training scenes, with five captions each."""
    rng = np.random.default_rng([8, seed])
    examples = []
    for scene in islice(training_scenes(seed), n):
        title = write_story(scene, rng, bool(rng.random() < column_share)).title
        captions = expect_captions(scene.subject, read_facts(title, scene))
        examples.append(Example(scene, title, captions))
    return examples


def expect_captions(subject: str, facts: Facts) -> tuple[str, ...]:
    """Return captions of a headline: first its facts alone, then with likely values added.

    Args:
        subject: A key of `SUBJECTS`.
        facts: Facts of the headline.

    Returns:
        Five different captions that are consistent with the headline.
    """
    known = {name: next(iter(values)) for name, values in facts.items() if len(values) == 1}
    is_plural = "count" in facts and 1 not in facts["count"]
    captions = [write_caption(subject, known, is_plural)]
    for factors in GUESSED:
        for guess in _guess(subject, facts, [name for name in factors if name not in known]):
            captions.append(write_caption(subject, {**known, **guess}, is_plural))
    return tuple(list(dict.fromkeys(captions))[:N_CAPTIONS])


def write_caption(subject: str, factors: dict[str, Any], is_plural: bool) -> str:
    """Write a literal caption of the given factors."""
    noun = SUBJECTS[subject].plural if is_plural else SUBJECTS[subject].singular
    words = [
        NUMBERS.get(factors.get("count", 0), ""),
        factors.get("colour", ""),
        noun,
        SUBJECTS[subject].where,
        TIME_WORDS.get(factors.get("time", ""), ""),
        WEATHER_WORDS.get(factors.get("weather", ""), ""),
    ]
    text = " ".join(str(word) for word in words if word)
    return f"{text}, {VIEW_WORDS[str(factors['view'])]}" if "view" in factors else text


def write_chat(title: str, num_captions: int = N_CAPTIONS) -> list[dict[str, str]]:
    """Return the chat messages that request captions, as with `prompt=plain`."""
    user = USER.format(num_captions=num_captions, title=title)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]


def _guess(subject: str, facts: Facts, factors: list[str]) -> list[dict[str, int | str]]:
    """Return combinations of values, most likely first, without held-out ones."""
    if not factors:
        return []
    combinations = product(*(LIKELY[name].items() for name in factors))
    by_share = sorted(combinations, key=lambda chosen: -np.prod([share for _, share in chosen]))
    guesses = [{name: v for name, (v, _) in zip(factors, c, strict=True)} for c in by_share]
    known = {name: next(iter(values)) for name, values in facts.items() if len(values) == 1}
    return [guess for guess in guesses if not _is_held_out(subject, {**known, **guess})]


def _is_held_out(subject: str, factors: dict[str, int | str]) -> bool:
    if "time" not in factors or "weather" not in factors:
        return False
    time, weather = str(factors["time"]), str(factors["weather"])
    return is_held_out(Scene(subject, 1, "red", time, weather, "near", 0))
