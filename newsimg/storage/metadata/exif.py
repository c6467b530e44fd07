"""EXIF texts by field.

CIPA DC-008 (2023), "Exchangeable image file format for digital still cameras: Exif 3.0".
"""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

from PIL import Image as PILImage
from PIL.ExifTags import GPS, IFD, Base

MAX_BYTES = 1 << 17
MAX_ENTRIES = 200  # of a directory; cameras write up to 100
DIRECTORIES = (IFD.Exif, IFD.GPSInfo)
# Pillow warns of each damaged entry; what cannot be read is dropped and counted.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def read_exif(picture: PILImage.Image) -> dict[str, Any]:
    """Return the texts of a picture's EXIF data by field; the place is coordinates.

    Raises:
        ValueError: If they are larger than the limit.
        Exception: Pillow's, if they are damaged.
    """
    _check_size(picture.info.get("exif") or b"")
    exif = picture.getexif()
    taken = exif.get_ifd(IFD.Exif)
    # Windows writes XP... beside the others, in UTF-16.
    return {
        "title": _decode_wide(exif.get(Base.XPTitle)),
        "caption": _repair(exif.get(Base.ImageDescription))
        or _decode_wide(exif.get(Base.XPSubject)),
        "keywords": [word.strip() for word in _decode_wide(exif.get(Base.XPKeywords)).split(";")],
        "date": _repair(taken.get(Base.DateTimeOriginal)),
        "place": _read_coordinates(exif.get_ifd(IFD.GPSInfo)),
        "author": _repair(exif.get(Base.Artist)) or _decode_wide(exif.get(Base.XPAuthor)),
        "licence": _repair(exif.get(Base.Copyright)),
    }


def _check_size(content: bytes) -> None:
    """Check the sizes of the directories, as thousands of entries may each refer to all bytes."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes of EXIF data, the limit is {MAX_BYTES}")
    content = content.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"

    def read(position: int, size: int) -> int:
        return int.from_bytes(content[position : position + size], order)

    directories = [read(4, 4)] if content else []
    for start in directories:  # grows by the directories that the first one refers to
        n_entries = read(start, 2)
        if n_entries > MAX_ENTRIES:
            raise ValueError(f"{n_entries} EXIF entries, the limit is {MAX_ENTRIES}")
        entries = range(start + 2, start + 2 + 12 * n_entries, 12)
        if start == directories[0] and len(directories) == 1:
            directories += [read(at + 8, 4) for at in entries if read(at, 2) in DIRECTORIES]


def _repair(value: Any) -> str:
    """Return a text that Pillow has decoded as Latin-1 and most programs write as UTF-8."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    try:
        return text.encode("latin-1").decode().strip("\0 ")
    except UnicodeError:
        return text.strip("\0 ")


def _decode_wide(value: Any) -> str:
    if isinstance(value, tuple):
        value = bytes(number for number in value if isinstance(number, int) and 0 <= number < 256)
    return value.decode("utf-16-le", "replace").strip("\0 ") if isinstance(value, bytes) else ""


def _read_coordinates(values: Mapping[int, Any]) -> str:
    """Return latitude and longitude in degrees, such as "59.3293, 18.0686"; "" without them."""
    numbers = []
    for degrees, side, most in (
        (GPS.GPSLatitude, GPS.GPSLatitudeRef, 90),
        (GPS.GPSLongitude, GPS.GPSLongitudeRef, 180),
    ):
        try:
            parts = [float(part) for part in values[degrees]]
            number = sum(part / 60**i for i, part in enumerate(parts[:3]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return ""
        if not 0 <= number <= most:
            return ""
        numbers.append(-number if values.get(side) in ("S", "W") else number)
    return ", ".join(f"{number:.4f}" for number in numbers)
