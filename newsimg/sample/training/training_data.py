"""Training pictures and texts of scenes that are disjoint from the newsroom's."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from newsimg.sample.drawing_pool import draw_all, write_scenes
from newsimg.sample.headlines import NEWSROOM_MENTION_SCALE, write_story
from newsimg.sample.scenes import Scene, training_newsroom, training_scenes
from newsimg.sample.training.captions import literal_caption, write_alt_text
from newsimg.sample.training.clip_parts import IMAGE_SIZE


@dataclass(frozen=True)
class Pictures:
    """Scenes with their resized pictures.

    Attributes:
        scenes: Scene of each picture.
        columns: Whether each belongs to an opinion column.
        pixels: (n_pictures, 3, size, size) uint8.
        mention_scale: See `write_story`.
    """

    scenes: list[Scene]
    columns: list[bool]
    pixels: NDArray[np.uint8]
    mention_scale: float = 1.0

    def alt_texts(self, seed: int) -> list[str]:
        """Return an alt text of each picture."""
        rng = np.random.default_rng([5, seed])
        return [write_alt_text(scene, rng) for scene in self.scenes]

    def headlines(self, seed: int) -> list[str]:
        """Return a headline of each picture."""
        rng = np.random.default_rng([6, seed])
        pairs = zip(self.scenes, self.columns, strict=True)
        return [
            write_story(scene, rng, column, self.mention_scale).title for scene, column in pairs
        ]

    def literal_captions(self) -> list[str]:
        """Return the literal caption of each picture."""
        return [literal_caption(scene) for scene in self.scenes]


def draw_web_pictures(n: int, seed: int, poor_share: float) -> Pictures:
    """Draw training pictures without opinion columns.

    Args:
        n: Number of pictures.
        seed: Seed of the training stream.
        poor_share: Share of poor pictures.
    """
    scenes = list(islice(training_scenes(seed, poor_share), n))
    return Pictures(scenes, [False] * n, _draw_pixels(scenes))


def draw_edited_pictures(n: int, seed: int) -> Pictures:
    """Draw training scenes selected as in the newsroom, for validation."""
    scenes, columns = zip(*islice(training_newsroom(seed), n), strict=True)
    return Pictures(list(scenes), list(columns), _draw_pixels(scenes), NEWSROOM_MENTION_SCALE)


def _draw_pixels(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw, save and decode pictures like the newsroom's, and resize them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes.csv", {str(i): scene for i, scene in enumerate(scenes)})
        draw_all(folder, len(scenes))
        paths = [folder / "newsimages" / f"{i}.jpg" for i in range(len(scenes))]
        return np.stack([read_pixels(path) for path in paths])


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode and resize a picture like the image processor, without scaling to [-1, 1]."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)
