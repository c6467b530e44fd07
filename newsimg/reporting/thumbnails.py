"""Thumbnails for inlining in pages."""

import base64
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.storage.pictures.images import (
    DECODER_THREADS,
    decode_picture,
    measure_picture,
    read_image,
)

log = logging.getLogger(__name__)

# (width, height, quality): boxes of the benchmark's proportions; the first that fits is used.
SCALES = ((230, 130, 60), (184, 104, 50), (138, 78, 40))
N_SAMPLE = 48


@dataclass(frozen=True)
class Thumbnail:
    """A small picture with its original proportions.

    Attributes:
        data: WebP in base64.
        width: Width of the upright original.
        height: Height of the upright original.
        n_bytes: Size of the original's file.
    """

    data: str
    width: int
    height: int
    n_bytes: int

    @property
    def uri(self) -> str:
        """The thumbnail as a data: URI."""
        return f"data:image/webp;base64,{self.data}"


def draw_thumbnails(
    images: Sequence[Image], scale: tuple[int, int, int]
) -> dict[Image, Thumbnail | None]:
    """Return thumbnails within `scale`; None, with a warning, for unreadable pictures."""
    with ThreadPoolExecutor(DECODER_THREADS) as pool:
        thumbs = dict(
            zip(images, pool.map(lambda i: draw_thumbnail(i, scale), images), strict=True)
        )
    if unread := [image.uri for image, thumb in thumbs.items() if thumb is None]:
        log.warning("%d pictures cannot be shown, %s the first", len(unread), unread[0])
    return thumbs


def encode_thumbnails(
    images: Sequence[Image], scale: tuple[int, int, int]
) -> dict[Image, str | None]:
    """Return the WebP of `draw_thumbnails` in base64."""
    drawn = draw_thumbnails(images, scale)
    return {image: thumb.data if thumb else None for image, thumb in drawn.items()}


@lru_cache(maxsize=4096)  # the jobs of a sweep show much the same pictures
def draw_thumbnail(image: Image, scale: tuple[int, int, int]) -> Thumbnail | None:
    """Return the result of `make_thumbnail`, which is kept."""
    return make_thumbnail(image, scale)


def make_thumbnail(image: Image, scale: tuple[int, int, int]) -> Thumbnail | None:
    """Return a picture's thumbnail, or None if it cannot be read."""
    width, height, quality = scale
    try:
        content = read_image(image)
        original = measure_picture(content)
        # A JPEG is decoded at the thumbnail's size or up to twice that: half as fast at 1.6 times
        # its size, for 0.2 dB.
        picture = decode_picture(content, image.truncated, (width // 2, height // 2))
    except (FileNotFoundError, ValueError):
        return None  # the report shows a placeholder
    picture.thumbnail((width, height), PILImage.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=0)
    return Thumbnail(base64.b64encode(buffer.getvalue()).decode(), *original, len(content))


def choose_scale(images: Sequence[Image], n_bytes: int) -> tuple[tuple[int, int, int], float]:
    """Return the largest scale at which all pictures fit into `n_bytes`, and bytes per picture.

    If they fit at none, the smallest scale is returned. Sizes are estimated on a sample.
    """
    sample = images[:: max(1, len(images) // N_SAMPLE)]
    for scale in SCALES:
        encoded = [thumb for thumb in encode_thumbnails(sample, scale).values() if thumb]
        size = sum(map(len, encoded)) / max(1, len(encoded)) + 4
        if size * len(images) <= n_bytes:
            break
    return scale, size
