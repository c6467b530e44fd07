"""Pictures and texts for training, on scenes that the newsroom never shows."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from newsimg.sample.drawing_pool import draw_all, write_scenes
from newsimg.sample.headlines import TERSENESS, write_story
from newsimg.sample.scenes import Scene, training_newsroom, training_scenes
from newsimg.sample.training.captions import literal_caption, write_alt_text
from newsimg.sample.training.clip_parts import IMAGE_SIZE


@dataclass(frozen=True)
class Pictures:
    """Scenes and their pictures as the model's processor sees them.

    Attributes:
        scenes: The factors, one per picture.
        columns: Whether each is of an opinion column.
        pixels: (n_pictures, 3, size, size) uint8.
        openness: What share of the usual factors their headlines let through.
    """

    scenes: list[Scene]
    columns: list[bool]
    pixels: NDArray[np.uint8]
    openness: float = 1.0

    def alt_texts(self, seed: int) -> list[str]:
        """An alt text of each picture; another seed leaves out other things."""
        rng = np.random.default_rng([5, seed])
        return [write_alt_text(scene, rng) for scene in self.scenes]

    def headlines(self, seed: int) -> list[str]:
        """A headline of each picture; another seed words it in another way."""
        rng = np.random.default_rng([6, seed])
        pairs = zip(self.scenes, self.columns, strict=True)
        return [write_story(scene, rng, column, self.openness).title for scene, column in pairs]

    def literal_captions(self) -> list[str]:
        """The full caption of each picture."""
        return [literal_caption(scene) for scene in self.scenes]


def draw_web_pictures(n: int, seed: int, poor_share: float) -> Pictures:
    """Draw training pictures, none of them of an opinion column.

    Args:
        n: How many.
        seed: Seed of the training stream.
        poor_share: Share of poor pictures.

    Returns:
        The pictures, in memory.
    """
    scenes = list(islice(training_scenes(seed, poor_share), n))
    return Pictures(scenes, [False] * n, _draw_pixels(scenes))


def draw_edited_pictures(n: int, seed: int) -> Pictures:
    """Draw what editors would choose, on the training side, for validation."""
    scenes, columns = zip(*islice(training_newsroom(seed), n), strict=True)
    return Pictures(list(scenes), list(columns), _draw_pixels(scenes), TERSENESS)


def _draw_pixels(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Draw by the newsroom's own path: full size, JPEG, decode, resize."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes.csv", {str(i): scene for i, scene in enumerate(scenes)})
        draw_all(folder, len(scenes))
        paths = [folder / "newsimages" / f"{i}.jpg" for i in range(len(scenes))]
        return np.stack([read_pixels(path) for path in paths])


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode and resize a picture like the processor does, without the scaling to [-1, 1]."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)
