"""Decoding of pictures."""

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
# Scale at which JPEGs are decoded, relative to the target size. The error is five grey levels at
# scale 1 and three at scale 2.
REDUCING_GAP = 2
# Pillow warns at half its limit; here there is one limit, and what is above it is refused.
warnings.filterwarnings("ignore", category=PILImage.DecompressionBombWarning)


class TruncatedPictureError(ValueError):
    """A truncated picture whose first part could be decoded."""


class DamagedPictureError(ValueError):
    """A picture that is found to be damaged in the batch of a model.

    Args:
        image: The picture.
        reason: What is wrong with it.
    """

    def __init__(self, image: Image, reason: str) -> None:
        super().__init__(f"cannot read the picture {image.uri}: {reason}")
        self.image = image
        self.reason = reason


@dataclass(frozen=True)
class LoadedImage(Image):
    """A picture with its encoded bytes, so that the hashed bytes are the decoded ones."""

    content: bytes = field(default=b"", repr=False)


def save_picture(picture: PILImage.Image, path: Path, **options: Any) -> None:
    """Write a picture in the format of the file's extension.

    Pillow's own writing of JPEGs to a file raises errors without the system's number, such as that
    of a full disk.

    Raises:
        OSError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    picture.save(buffer, PILImage.registered_extensions()[path.suffix], **options)
    path.write_bytes(buffer.getvalue())


def open_image(image: Image, fill: tuple[int, int] | None = None) -> PILImage.Image:
    """Decode a picture to sRGB on white, rotated by its EXIF orientation.

    The first frame of an animation is used. The missing part of a picture marked as truncated is
    grey.

    Args:
        image: The picture.
        fill: Width and height to fill. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is
            still twice as large; None decodes at full size.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a picture or is damaged; names it.
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
        FileNotFoundError: If the file or the member does not exist.
        ValueError: If an archive or its member is damaged, or the path is not a regular file.
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
            from newsimg.storage.pictures.column import ParquetPictures  # imports pyarrow

            kind = ParquetPictures
        return read_member(image.path, image.member, kind=kind)
    return image.path.read_bytes()


def decode_picture(
    content: bytes, truncated: bool = False, fill: tuple[int, int] | None = None
) -> PILImage.Image:
    """Decode bytes; see `open_image`.

    Raises:
        TruncatedPictureError: If it is a truncated JPEG and `truncated` is false.
        ValueError: If it is not a picture or is damaged.
    """
    try:
        return _decode(_close_jpeg(content) if truncated else content, fill)
    # Decoders of corrupt data raise errors of any type.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        if not truncated and _is_cut_off(content, error):
            raise TruncatedPictureError(f"truncated: {error}") from error
        raise ValueError(str(error) or type(error).__name__) from error


def measure_picture(content: bytes) -> tuple[int, int]:
    """Return width and height of the upright picture; most formats are not decoded.

    Raises:
        ValueError: If it is not a picture.
    """
    try:
        with open_picture(content) as picture:
            if picture.format in ("PNG", "TIFF"):  # the orientation may be stored after the pixels
                picture.load()
            turned = read_orientation(picture) >= 5
            return picture.size[::-1] if turned else picture.size
    except Exception as error:  # as above
        if isinstance(error, MemoryError):
            raise
        raise ValueError(str(error) or type(error).__name__) from error


def read_header(content: bytes) -> tuple[int, int]:
    """Return the width and height in a picture's header, without decoding it.

    Raises:
        ValueError: If it is not a picture or is larger than Pillow's limit.
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
        picture.load()  # Pillow itself rotates a TIFF and drops the tag
        srgb = to_srgb(picture)
        # Of the picture itself, whose EXIF data may be damaged, Pillow would raise errors.
        srgb.getexif()[ORIENTATION] = read_orientation(picture)
        ImageOps.exif_transpose(srgb, in_place=True)
        return srgb


def _reduce(picture: PILImage.Image, fill: tuple[int, int]) -> None:
    """Decode at a reduced scale; only JPEG supports it."""
    width, height = fill[::-1] if read_orientation(picture) >= 5 else fill
    scale = REDUCING_GAP * max(width / picture.width, height / picture.height)
    picture.draft(None, (round(picture.width * scale), round(picture.height * scale)))


def read_orientation(picture: PILImage.Image) -> int:
    """Return the EXIF orientation of an opened picture; 1 if it has none or it is damaged."""
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels may be intact although the EXIF data are damaged
        return 1


def _close_jpeg(content: bytes) -> bytes:
    """Append the end marker to a truncated JPEG, after removing an incomplete table."""
    # In scan data, 0xFF is never followed by the second byte of one of these markers.
    start = max(content.rfind(marker) for marker in JPEG_TABLES)
    length = int.from_bytes(content[start + 2 : start + 4])
    whole = start < 0 or start + 2 + length <= len(content) > start + 4
    return (content if whole else content[:start]) + JPEG_END


def _is_cut_off(content: bytes, error: Exception) -> bool:
    if not (isinstance(error, OSError) and "truncated" in str(error)):
        return False
    try:
        _decode(_close_jpeg(content))
    except Exception:  # damaged otherwise: the original error is raised
        return False
    return True
