"""Pictures and texts for training, on scenes that the newsroom never shows."""

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from newsimg.sample.captions import literal_caption, write_alt_text
from newsimg.sample.clip_parts import IMAGE_SIZE
from newsimg.sample.drawing_pool import draw_all, write_scenes
from newsimg.sample.headlines import write_story
from newsimg.sample.scenes import Scene, training_scenes


@dataclass(frozen=True)
class Pictures:
    """Scenes and their pictures as the model's processor sees them.

    Attributes:
        scenes: The factors, one per picture.
        pixels: (n_pictures, 3, size, size) uint8.
    """

    scenes: list[Scene]
    pixels: NDArray[np.uint8]

    def alt_texts(self, seed: int) -> list[str]:
        """An alt text of each picture; another seed leaves out other things."""
        rng = np.random.default_rng([5, seed])
        return [write_alt_text(scene, rng) for scene in self.scenes]

    def headlines(self, seed: int, house_share: float = 0.0) -> list[str]:
        """A headline of each picture, by default in words the newsroom shares with the web."""
        rng = np.random.default_rng([6, seed])
        return [write_story(scene, rng, house_share).title for scene in self.scenes]

    def literal_captions(self) -> list[str]:
        """The full caption of each picture."""
        return [literal_caption(scene) for scene in self.scenes]


def draw_training_pictures(n: int, seed: int, poor_share: float, edited: bool = False) -> Pictures:
    """Draw pictures by the newsroom's own path: full size, JPEG, decode, resize.

    Args:
        n: How many.
        seed: Seed of the training stream.
        poor_share: Share of poor pictures.
        edited: Choose as the newsroom's editors do.

    Returns:
        The pictures, in memory.
    """
    scenes = list(islice(training_scenes(seed, poor_share, edited), n))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes.csv", {str(i): scene for i, scene in enumerate(scenes)})
        draw_all(folder, n)
        paths = [folder / "newsimages" / f"{i}.jpg" for i in range(n)]
        return Pictures(scenes, np.stack([read_pixels(path) for path in paths]))


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode and resize a picture like the processor does, without the scaling to [-1, 1]."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)
