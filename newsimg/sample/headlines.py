"""Headlines and tags of a scene, in a newsroom's words, which leave most of the picture unsaid."""

from dataclasses import dataclass

import numpy as np

from newsimg.sample.scenes import Scene
from newsimg.sample.wording import (
    COLOUR_WORDS,
    COLUMNS,
    COUNT_WORDS,
    EVENTS,
    FIRST_NAMES,
    LAST_NAMES,
    ORGANISATIONS,
    PLACES,
    THINGS,
    TIME_PHRASES,
    VIEW_PHRASES,
    WEATHER_PHRASES,
)

# How often a wire agency's headline, which training reads, lets a factor through; left and right
# are never in the news.
MENTION_SHARES = {"count": 0.8, "colour": 0.65, "time": 0.7, "weather": 0.8, "view": 0.5}
TERSENESS = 0.75  # the newsroom's own headlines let through so much of that


@dataclass(frozen=True)
class Story:
    """An article's title and the people and organisations it is tagged with."""

    title: str
    people: tuple[str, ...]
    organisations: tuple[str, ...]

    @property
    def tags(self) -> str:
        """People joined by ';', then '|', then organisations joined by ';'."""
        return ";".join(self.people) + "|" + ";".join(self.organisations)


def write_story(
    scene: Scene, rng: np.random.Generator, column: bool = False, openness: float = 1.0
) -> Story:
    """Write a headline with its tags.

    Args:
        scene: What happened.
        rng: Decides the template, the names and which factors are mentioned.
        column: Write the title of an opinion column, in the house's own idioms.
        openness: What the shares of mentioned factors are multiplied by.

    Returns:
        The story; its title has no line breaks and never contains the literal caption.
    """
    n_people = 1 + int(rng.integers(2))
    people = tuple(f"{_pick(FIRST_NAMES, rng)} {_pick(LAST_NAMES, rng)}" for _ in range(n_people))
    organisations = (_pick(ORGANISATIONS, rng),)
    names = {"place": _pick(PLACES, rng), "person": people[0], "org": organisations[0]}
    if column:
        title = _pick(COLUMNS[scene.subject], rng).format(**names)
    else:
        event = _pick(EVENTS[scene.subject], rng)
        title = event.format(thing=_name_thing(scene, rng, openness), **names)
        title += _add_phrases(scene, rng, openness)
    return Story(title[0].upper() + title[1:], people, organisations)


def _name_thing(scene: Scene, rng: np.random.Generator, openness: float) -> str:
    singular, plural = THINGS[scene.subject][int(rng.integers(len(THINGS[scene.subject])))]
    words = [singular if scene.count == 1 else plural]
    if rng.random() < openness * MENTION_SHARES["colour"]:
        words.insert(0, _pick(COLOUR_WORDS[scene.colour], rng))
    if rng.random() < openness * MENTION_SHARES["count"] * (0.4 if scene.count == 1 else 1.0):
        words.insert(0, _pick(COUNT_WORDS[scene.count], rng))
    return " ".join(words)


def _add_phrases(scene: Scene, rng: np.random.Generator, openness: float) -> str:
    """Time, weather and viewpoint as they come up in the news; ' ...' or nothing."""
    phrases = []
    if rng.random() < openness * MENTION_SHARES["time"]:
        phrases.append(_pick(TIME_PHRASES[scene.time], rng))
    if rng.random() < openness * MENTION_SHARES["weather"] * (
        0.5 if scene.weather == "clear" else 1.0
    ):
        phrases.append(_pick(WEATHER_PHRASES[scene.weather], rng))
    if scene.view in VIEW_PHRASES and rng.random() < openness * MENTION_SHARES["view"]:
        phrases.append(_pick(VIEW_PHRASES[scene.view], rng))
    return " " + ", ".join(phrases) if phrases else ""


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
