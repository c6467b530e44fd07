"""Pictures of many sizes, and preprocessors for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage

from newsimg.backbone.pictures.preprocessing import PixelPreprocessor
from newsimg.datatypes import Image

SIZES = ((500, 375), (375, 500), (97, 61), (33, 32), (1, 9), (300, 301), (64, 64), (1200, 90))
TABLE = np.tile(np.linspace(-1, 1, 256, dtype=np.float32), (3, 1))
PREPROCESSORS = {
    "clip": PixelPreprocessor(64, PILImage.Resampling.BICUBIC, (64, 64), TABLE),
    "siglip": PixelPreprocessor((48, 56), PILImage.Resampling.BILINEAR, None, TABLE),
    "lanczos, large crop": PixelPreprocessor(40, PILImage.Resampling.LANCZOS, (61, 52), TABLE),
    "not resized": PixelPreprocessor(None, PILImage.Resampling.BICUBIC, (64, 64), TABLE),
}


def draw(size: tuple[int, int]) -> PILImage.Image:
    rng = np.random.default_rng(sum(size))
    small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return PILImage.fromarray(small).resize(size, PILImage.Resampling.BICUBIC)


def to_tensor(picture: PILImage.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def save(path: Path, picture: PILImage.Image, orientation: int = 1, **settings: Any) -> Image:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, **settings)
    return Image(path.name, path)
