"""JPEGs that the decoder of a GPU reads as Pillow does."""

from dataclasses import dataclass

from newsimg.storage.pictures.colours import is_srgb
from newsimg.storage.pictures.formats import open_picture
from newsimg.storage.pictures.images import JPEG_END, read_orientation

START_OF_SCAN = b"\xff\xda"
MIN_SIDE = 16  # pixels of a block of colours; smaller pictures are read at once
# Rows and columns of pixels that share a colour difference.
SAMPLINGS = ((1, 1), (1, 2), (2, 1), (2, 2))


@dataclass(frozen=True)
class PlainJpeg:
    """What decoders of GPUs leave to their caller.

    Attributes:
        orientation: Of EXIF, 1 to 8.
        sampling: Rows and columns of pixels that share a colour difference.
    """

    orientation: int
    sampling: tuple[int, int]


def find_plain_jpeg(content: bytes) -> PlainJpeg | None:
    """Return the properties of a baseline JPEG in sRGB; None for other pictures.

    None is returned for what decoders treat differently, or a GPU decodes slowly: progressive
    JPEGs, CMYK, stored RGB, colour profiles that change pixels, files without an end.

    Raises:
        ValueError: If it is not a picture.
    """
    with open_picture(content) as picture:
        progressive = "progressive" in picture.info
        stored_rgb = picture.mode == "RGB" and picture.info.get("adobe_transform") == 0
        small = min(picture.size) < MIN_SIDE
        if picture.format != "JPEG" or progressive or stored_rgb or small or not is_srgb(picture):
            return None
        # What follows the end, such as a thumbnail, may have scans of its own.
        if content.rfind(JPEG_END) < content.rfind(START_OF_SCAN):
            return None
        sampling = _read_sampling(picture.layer)  # type: ignore[attr-defined]
        if sampling not in SAMPLINGS:
            return None
        return PlainJpeg(read_orientation(picture), sampling)


def _read_sampling(components: list[tuple[int, int, int, int]]) -> tuple[int, int] | None:
    """Return rows and columns that share a difference; None if Cb and Cr are unlike.

    Args:
        components: Number, horizontal and vertical sampling factor, and table, of each.
    """
    if len(components) == 1:
        return 1, 1
    (_, width, height, _), *differences = components
    if any(own[1:3] != (1, 1) for own in differences):
        return None
    return height, width
