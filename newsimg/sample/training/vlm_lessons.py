"""What the sample's judge learns from: pictures with grades, and headlines that fit or do not."""

import tempfile
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from newsimg.sample.drawing_pool import draw_all, write_scenes
from newsimg.sample.headlines import write_story
from newsimg.sample.scenes import Scene, is_held_out, training_scenes
from newsimg.sample.training.captions import FACTORS, count_contradictions, read_facts
from newsimg.sample.training.vlm_parts import PICTURE_SIZE

COLUMN_SHARE = 0.15  # of the headlines: opinion columns, which only name a subject
POOR_SHARE = 0.4  # of the pictures
DISAGREES, AGREES, UNSAID = 0, 1, 2


@dataclass(frozen=True)
class Match:
    """A headline held against a picture.

    Attributes:
        title: The headline.
        grade: How well it fits, 1 to 5.
        verdicts: For the subject and each of `FACTORS`: DISAGREES, AGREES or UNSAID.
    """

    title: str
    grade: float
    verdicts: tuple[int, ...]


def draw_small_pictures(
    n: int, seed: int, poor_share: float = POOR_SHARE
) -> tuple[list[Scene], NDArray[np.uint8]]:
    """Draw training scenes by the newsroom's own path: full size, JPEG, decode, resize.

    Returns:
        The scenes, and (n, height, width, 3) uint8 as the model's image processor resizes them.
    """
    scenes = list(islice(training_scenes(seed, poor_share), n))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes.csv", {str(i): scene for i, scene in enumerate(scenes)})
        draw_all(folder, n, quiet=True)
        paths = [folder / "newsimages" / f"{i}.jpg" for i in range(n)]
        return scenes, np.stack([read_small_picture(path) for path in paths])


def read_small_picture(path: Path) -> NDArray[np.uint8]:
    """Decode and resize a picture as the model's image processor does."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize(PICTURE_SIZE, Image.Resampling.BICUBIC)
    return np.asarray(small)


def grade_picture(scene: Scene) -> dict[str, float]:
    """The grades from 1 to 5 that need no headline."""
    return {
        "quality": 1 + 4 * scene.image_quality,
        "trustworthiness": 1 + 4 * scene.trustworthiness,
        "no_clickbait": 1 + 4 * (1 - scene.clickbait),
    }


def match(scene: Scene, title: str, told: Scene) -> Match:
    """Hold a headline that was written about the scene `told` against the picture of `scene`."""
    facts = read_facts(title, told)
    is_same = scene.subject == told.subject
    verdicts = [
        (AGREES if getattr(scene, name) in facts[name] else DISAGREES) if name in facts else UNSAID
        for name in FACTORS
    ]
    grade = max(2.0, 5.0 - count_contradictions(facts, scene)) if is_same else 1.0
    return Match(title, grade, (AGREES if is_same else DISAGREES, *verdicts))


def write_matches(
    scene: Scene, strangers: tuple[Scene, Scene], rng: np.random.Generator
) -> list[Match]:
    """Hold six headlines against a picture: its own, three of the same subject, two strangers'.

    Args:
        scene: What the picture shows.
        strangers: Other scenes, to take factors from.
        rng: Decides which, and the wording.
    """
    near = [_mix(scene, strangers[0], share, rng) for share in (0.3, 0.5, 1.0)]
    told = [scene, *near, *strangers]
    columns = rng.random(len(told)) < COLUMN_SHARE
    stories = [write_story(o, rng, bool(c)) for o, c in zip(told, columns, strict=True)]
    return [match(scene, s.title, other) for s, other in zip(stories, told, strict=True)]


def _mix(scene: Scene, other: Scene, share: float, rng: np.random.Generator) -> Scene:
    """The scene with a share of its factors from another; never of a held-out combination."""
    while True:
        taken = {name: getattr(other, name) for name in FACTORS if rng.random() < share}
        mixed = replace(scene, **taken)
        if not is_held_out(mixed):
            return mixed
        share *= 0.9  # all of the other's factors may be held out for this subject
