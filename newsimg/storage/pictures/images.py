"""From the bytes on disk to a picture that a model can take."""

import warnings
from dataclasses import dataclass, field

from PIL import Image as PILImage
from PIL import ImageOps

from newsimg.datatypes import Image
from newsimg.storage.pictures.archives import read_member
from newsimg.storage.pictures.colours import to_srgb
from newsimg.storage.pictures.formats import EXTENSIONS as EXTENSIONS
from newsimg.storage.pictures.formats import open_picture

DECODER_THREADS = 2  # Pillow releases the GIL while it decodes
DECODING = 3  # raised when the same bytes come to give other pixels: embeddings depend on it
JPEG_END = b"\xff\xd9"
JPEG_TABLES = (b"\xff\xc4", b"\xff\xda")
ORIENTATION = 0x0112
# How many times the wanted size is decoded: at once, errors are five grey levels, at twice three.
REDUCING_GAP = 2
# Pillow warns at half its limit; here there is one limit, and what is above it is refused.
warnings.filterwarnings("ignore", category=PILImage.DecompressionBombWarning)


class TruncatedPictureError(ValueError):
    """A picture whose tail is missing; what is there could be decoded."""


@dataclass(frozen=True)
class LoadedImage(Image):
    """A picture whose bytes are in memory, so that what was hashed is what is decoded."""

    content: bytes = field(default=b"", repr=False)


def open_image(image: Image, fill: tuple[int, int] | None = None) -> PILImage.Image:
    """Decode a picture as sRGB, turned upright by its EXIF orientation, transparency on white.

    Of an animation it is the first frame. A picture marked as truncated is decoded as far as it
    goes, the rest is grey.

    Args:
        image: The picture.
        fill: Decode a JPEG at a half, a quarter or an eighth if it then still takes half its size
            to fill this width and height; None decodes all pixels.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is not a picture, or a broken one; names it.
    """
    try:
        return decode_picture(read_image(image), image.truncated, fill)
    except TruncatedPictureError as error:
        raise TruncatedPictureError(f"cannot read the picture {image.uri}: {error}") from error
    except ValueError as error:
        raise ValueError(f"cannot read the picture {image.uri}: {error}") from error


def read_image(image: Image) -> bytes:
    """Return the bytes of a picture's file or archive member.

    Raises:
        FileNotFoundError: If the file, or the member, is not there.
        ValueError: If an archive or its member is damaged, or it is a folder, a pipe or the like.
    """
    if isinstance(image, LoadedImage):
        return image.content
    if not image.path.is_file():
        if image.path.exists():
            raise ValueError("not a regular file")
        raise FileNotFoundError(f"no picture {image.uri}")
    if image.member is not None:
        kind = None
        if image.path.suffix.lower() == ".parquet":
            from newsimg.storage.pictures.column import ParquetPictures  # brings pyarrow

            kind = ParquetPictures
        return read_member(image.path, image.member, kind=kind)
    return image.path.read_bytes()


def decode_picture(
    content: bytes, truncated: bool = False, fill: tuple[int, int] | None = None
) -> PILImage.Image:
    """Decode bytes; see `open_image`.

    Raises:
        TruncatedPictureError: If it is a JPEG whose tail is missing, and `truncated` is false.
        ValueError: If it is no picture, or a broken one.
    """
    try:
        return _decode(_close_jpeg(content) if truncated else content, fill)
    # Decoders meet hostile bytes and raise errors of any type; whatever it is, this picture is bad.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        if not truncated and _is_cut_off(content, error):
            raise TruncatedPictureError(f"truncated: {error}") from error
        raise ValueError(str(error) or type(error).__name__) from error


def measure_picture(content: bytes) -> tuple[int, int]:
    """Return width and height of the upright picture, mostly without decoding it.

    Raises:
        ValueError: If it is no picture.
    """
    try:
        with open_picture(content) as picture:
            if picture.format in ("PNG", "TIFF"):  # may tell their orientation after the pixels
                picture.load()
            turned = _read_orientation(picture) >= 5
            return picture.size[::-1] if turned else picture.size
    except Exception as error:  # as above
        if isinstance(error, MemoryError):
            raise
        raise ValueError(str(error) or type(error).__name__) from error


def read_header(content: bytes) -> tuple[int, int]:
    """Return the width and height that a picture claims to have, without decoding it.

    Raises:
        ValueError: If it is no picture, or claims more pixels than Pillow opens.
    """
    try:
        with open_picture(content) as picture:
            return picture.size
    except Exception as error:  # as above
        if isinstance(error, MemoryError):
            raise
        raise ValueError(str(error) or type(error).__name__) from error


def _decode(content: bytes, fill: tuple[int, int] | None = None) -> PILImage.Image:
    with open_picture(content) as picture:
        if fill is not None:
            _reduce(picture, fill)
        picture.load()  # a TIFF is turned by Pillow itself, and loses the tag
        srgb = to_srgb(picture)
        # Of the picture itself, whose EXIF data may be damaged, Pillow would raise errors.
        srgb.getexif()[ORIENTATION] = _read_orientation(picture)
        ImageOps.exif_transpose(srgb, in_place=True)
        return srgb


def _reduce(picture: PILImage.Image, fill: tuple[int, int]) -> None:
    """Let a JPEG be decoded at a reduced scale, the only format that can."""
    width, height = fill[::-1] if _read_orientation(picture) >= 5 else fill
    scale = REDUCING_GAP * max(width / picture.width, height / picture.height)
    picture.draft(None, (round(picture.width * scale), round(picture.height * scale)))


def _read_orientation(picture: PILImage.Image) -> int:
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data say nothing, and the pixels may well be whole
        return 1


def _close_jpeg(content: bytes) -> bytes:
    """End a JPEG where it was cut off, or before the tables of a scan that were cut off."""
    # Among a scan's own bytes 255 is never followed by one of these.
    start = max(content.rfind(marker) for marker in JPEG_TABLES)
    length = int.from_bytes(content[start + 2 : start + 4])
    whole = start < 0 or start + 2 + length <= len(content) > start + 4
    return (content if whole else content[:start]) + JPEG_END


def _is_cut_off(content: bytes, error: Exception) -> bool:
    if not (isinstance(error, OSError) and "truncated" in str(error)):
        return False
    try:
        _decode(_close_jpeg(content))
    except Exception:  # it is not only the tail that is missing: the first error says it best
        return False
    return True
