"""Training examples of the sample's VLM: graded pictures and headline-picture pairs."""

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

COLUMN_SHARE = 0.15  # share of titles of opinion columns, which mention only a subject
POOR_SHARE = 0.4  # share of poor pictures
DISAGREES, AGREES, UNMENTIONED = 0, 1, 2


@dataclass(frozen=True)
class Match:
    """A headline with its grade for a picture.

    Attributes:
        title: The headline.
        grade: How well it fits the picture, 1 to 5.
        verdicts: DISAGREES, AGREES or UNMENTIONED for the subject and each of `FACTORS`.
    """

    title: str
    grade: float
    verdicts: tuple[int, ...]


def draw_small_pictures(
    n: int, seed: int, poor_share: float = POOR_SHARE
) -> tuple[list[Scene], NDArray[np.uint8]]:
    """Draw, save and decode pictures of training scenes like the newsroom's, and resize them.

    Returns:
        scenes: The scenes.
        pictures: (n, height, width, 3) uint8, resized like by the model's image processor.
    """
    scenes = list(islice(training_scenes(seed, poor_share), n))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes.csv", {str(i): scene for i, scene in enumerate(scenes)})
        draw_all(folder, n, quiet=True)
        paths = [folder / "newsimages" / f"{i}.jpg" for i in range(n)]
        return scenes, np.stack([read_small_picture(path) for path in paths])


def read_small_picture(path: Path) -> NDArray[np.uint8]:
    """Decode and resize a picture like the model's image processor."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize(PICTURE_SIZE, Image.Resampling.BICUBIC)
    return np.asarray(small)


def grade_picture(scene: Scene) -> dict[str, float]:
    """Return the grades, 1 to 5, that do not depend on a headline."""
    return {
        "quality": 1 + 4 * scene.image_quality,
        "trustworthiness": 1 + 4 * scene.trustworthiness,
        "no_clickbait": 1 + 4 * (1 - scene.clickbait),
    }


def match(scene: Scene, title: str, source: Scene) -> Match:
    """Grade a headline that was written for the scene `source` for the picture of `scene`."""
    facts = read_facts(title, source)
    is_same = scene.subject == source.subject
    verdicts = [
        (AGREES if getattr(scene, name) in facts[name] else DISAGREES)
        if name in facts
        else UNMENTIONED
        for name in FACTORS
    ]
    grade = max(2.0, 5.0 - count_contradictions(facts, scene)) if is_same else 1.0
    return Match(title, grade, (AGREES if is_same else DISAGREES, *verdicts))


def write_matches(
    scene: Scene, others: tuple[Scene, Scene], rng: np.random.Generator
) -> list[Match]:
    """Grade six headlines: of the picture's scene, three of the same subject, two of other scenes.

    Args:
        scene: Scene of the picture.
        others: Two other scenes; the first also provides factors for the same subject.
        rng: Random generator of the factors and the headlines.
    """
    similar = [_mix(scene, others[0], share, rng) for share in (0.3, 0.5, 1.0)]
    sources = [scene, *similar, *others]
    columns = rng.random(len(sources)) < COLUMN_SHARE
    stories = [write_story(o, rng, bool(c)) for o, c in zip(sources, columns, strict=True)]
    return [match(scene, s.title, source) for s, source in zip(stories, sources, strict=True)]


def _mix(scene: Scene, other: Scene, share: float, rng: np.random.Generator) -> Scene:
    """Replace a share of a scene's factors by another's, avoiding held-out combinations."""
    while True:
        taken = {name: getattr(other, name) for name in FACTORS if rng.random() < share}
        mixed = replace(scene, **taken)
        if not is_held_out(mixed):
            return mixed
        share *= 0.9  # with all factors of the other scene, the combination may be held out
