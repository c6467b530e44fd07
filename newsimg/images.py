"""From the bytes on disk to a picture that a model can take."""

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError

from newsimg.datatypes import Image

DECODER_THREADS = 2  # Pillow releases the GIL while it decodes


def open_image(image: Image) -> PILImage.Image:
    """Decode a picture as RGB, turned upright by its EXIF orientation.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is not a picture, or a broken one.
    """
    content = read_image(image)
    try:
        with PILImage.open(io.BytesIO(content)) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):  # converted as it is, all but black would be white
                upright = upright.point(lambda value: value * (1 / 257)).convert("L")
            return upright.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, PILImage.DecompressionBombError) as error:
        raise ValueError(f"cannot read the picture {image.uri}: {error}") from error


def read_image(image: Image) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        FileNotFoundError: If the file is not there.
    """
    if not image.path.is_file():
        raise FileNotFoundError(f"no picture {image.uri}")
    return image.path.read_bytes()


def open_images(images: Iterable[Image]) -> Iterator[PILImage.Image]:
    """Decode pictures in parallel, in order."""
    with ThreadPoolExecutor(DECODER_THREADS) as pool:
        yield from pool.map(open_image, images)
