"""Write headlines and tags for a scene; a headline mentions only some factors of the picture."""

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

# Probability that a training headline mentions a factor; left and right are never mentioned.
MENTION_SHARES = {"count": 0.8, "colour": 0.65, "time": 0.7, "weather": 0.8, "view": 0.5}
NEWSROOM_MENTION_SCALE = 0.75  # factor on these probabilities for the newsroom's headlines


@dataclass(frozen=True)
class Story:
    """An article's title, its tags of people and organisations, and where it takes place."""

    title: str
    people: tuple[str, ...]
    organisations: tuple[str, ...]
    place: str = ""

    @property
    def tags(self) -> str:
        """People joined by ';', then '|', then organisations joined by ';'."""
        return ";".join(self.people) + "|" + ";".join(self.organisations)


def write_story(
    scene: Scene, rng: np.random.Generator, column: bool = False, mention_scale: float = 1.0
) -> Story:
    """Write a headline with its tags.

    Args:
        scene: The scene.
        rng: Random generator of the template, the names and the mentioned factors.
        column: Whether to write the title of an opinion column, which uses other idioms.
        mention_scale: Factor on the probabilities of mentioning a factor.

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
        title = event.format(thing=_name_thing(scene, rng, mention_scale), **names)
        title += _add_phrases(scene, rng, mention_scale)
    return Story(title[0].upper() + title[1:], people, organisations, names["place"])


def _name_thing(scene: Scene, rng: np.random.Generator, mention_scale: float) -> str:
    singular, plural = THINGS[scene.subject][int(rng.integers(len(THINGS[scene.subject])))]
    words = [singular if scene.count == 1 else plural]
    if rng.random() < mention_scale * MENTION_SHARES["colour"]:
        words.insert(0, _pick(COLOUR_WORDS[scene.colour], rng))
    if rng.random() < mention_scale * MENTION_SHARES["count"] * (0.4 if scene.count == 1 else 1.0):
        words.insert(0, _pick(COUNT_WORDS[scene.count], rng))
    return " ".join(words)


def _add_phrases(scene: Scene, rng: np.random.Generator, mention_scale: float) -> str:
    """Return phrases for time, weather and viewpoint with a leading space, or an empty string."""
    phrases = []
    if rng.random() < mention_scale * MENTION_SHARES["time"]:
        phrases.append(_pick(TIME_PHRASES[scene.time], rng))
    if rng.random() < mention_scale * MENTION_SHARES["weather"] * (
        0.5 if scene.weather == "clear" else 1.0
    ):
        phrases.append(_pick(WEATHER_PHRASES[scene.weather], rng))
    if scene.view in VIEW_PHRASES and rng.random() < mention_scale * MENTION_SHARES["view"]:
        phrases.append(_pick(VIEW_PHRASES[scene.view], rng))
    return " " + ", ".join(phrases) if phrases else ""


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
