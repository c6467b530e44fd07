"""Write the words of a news archive into the sample's pictures, some of them wrong or missing."""

import struct
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from newsimg.sample.headlines import Story
from newsimg.sample.scenes import Scene
from newsimg.sample.wording import (
    COLOUR_WORDS,
    FIRST_NAMES,
    LAST_NAMES,
    ORGANISATIONS,
    PLACES,
    THINGS,
    TIME_PHRASES,
    WEATHER_PHRASES,
)

WORDS_STREAM, DATE_STREAM = 5, 6
WITHOUT_WORDS = 0.3  # share of the pictures
WRONG_WORDS = 0.15  # share of the pictures that have the words of another one
NAMES_PLACE = 0.5  # share of the captions that name the place of the article
NAMES_PERSON = 0.3  # share of the captions that name a person of the article
WITHOUT_DATE = 0.1  # share of the pictures with words
FIRST_DAY = date(2024, 1, 1)
N_DAYS = 730  # in which the articles are published
LICENCES = ("CC BY 4.0", "CC BY-NC 4.0", "All rights reserved")
# IPTC's datasets of record 2.
DATASETS = {
    "title": 105, "caption": 120, "keywords": 25, "date": 55, "place": 90, "credit": 110,
    "source": 115, "author": 80, "licence": 116,
}  # fmt: skip
Words = Mapping[str, Sequence[str]]


def publish(seed: int, number: int) -> date:
    """Return the date of an article."""
    rng = np.random.default_rng([DATE_STREAM, seed, number])
    return FIRST_DAY + timedelta(days=int(rng.integers(N_DAYS)))


def describe_picture(
    scene: Scene, story: Story, published: date, column: bool, rng: np.random.Generator
) -> Words:
    """Return the words of a picture: those of the scene, and some of its article's names.

    The picture of a news article was taken in the days before; that of an opinion column is from
    the archive, up to four years old, and has names of its own.

    Args:
        scene: What the picture shows.
        story: The article.
        published: Its date.
        column: Whether it is an opinion column.
        rng: Random generator of the wording.
    """
    place = story.place if not column and rng.random() < NAMES_PLACE else _pick(PLACES, rng)
    author = f"{_pick(FIRST_NAMES, rng)} {_pick(LAST_NAMES, rng)}"
    singular, plural = THINGS[scene.subject][int(rng.integers(len(THINGS[scene.subject])))]
    thing = singular if scene.count == 1 else plural
    colour = _pick(COLOUR_WORDS[scene.colour], rng)
    caption = f"{colour} {thing} {_pick(TIME_PHRASES[scene.time], rng)} in {place}"
    if rng.random() < 0.5:
        caption += f", {_pick(WEATHER_PHRASES[scene.weather], rng)}"
    if not column and rng.random() < NAMES_PERSON:
        caption += f". In the picture: {story.people[0]}"
    age = int(rng.integers(30, 1460)) if column else int(rng.geometric(0.4)) - 1
    words: dict[str, Sequence[str]] = {
        "title": [f"{thing}, {place}"],
        "caption": [f"{caption}."],
        "keywords": [thing, scene.subject],
        "place": [place],
        "credit": [_pick(ORGANISATIONS, rng)],
        "source": ["Newsroom archive"],
        "author": [author],
        "licence": [_pick(LICENCES, rng)],
    }
    if rng.random() >= WITHOUT_DATE:
        words["date"] = [f"{published - timedelta(days=age):%Y%m%d}"]
    return words


def choose_words(seed: int, n_pictures: int) -> list[int | None]:
    """Return the number of the picture whose words each picture gets: its own, another, or None."""
    rng = np.random.default_rng([WORDS_STREAM, seed])
    chosen: list[int | None] = []
    for own, draw in enumerate(rng.random(n_pictures)):
        other = int(rng.integers(n_pictures))
        if draw < WITHOUT_WORDS:
            chosen.append(None)
        else:
            chosen.append(other if draw < WITHOUT_WORDS + WRONG_WORDS else own)
    return chosen


def add_words(path: Path, words: Words) -> None:
    """Write words into a JPEG as IPTC records; its pixels are not encoded again."""
    records = struct.pack(">BBBH", 0x1C, 1, 90, 3) + b"\x1b%G"  # the texts are UTF-8
    for name, values in words.items():
        for value in values:
            text = value.encode()
            records += struct.pack(">BBBH", 0x1C, 2, DATASETS[name], len(text)) + text
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(records))
    segment = b"Photoshop 3.0\0" + resource + records + b"\0" * (len(records) % 2)
    content = path.read_bytes()
    end = 4 + int.from_bytes(content[4:6])  # of the JFIF segment, which comes first
    header = b"\xff\xed" + struct.pack(">H", len(segment) + 2)
    path.write_bytes(content[:end] + header + segment + content[end:])


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
