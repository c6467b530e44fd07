"""IPTC IIM records: texts by field.

IPTC (2014), "IPTC Photo Metadata Standard 2014", "IIM Mapping".
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image as PILImage
from PIL import IptcImagePlugin

UTF_8 = b"\x1b%G"  # value of 1:90, the coded character set
DIGEST = 0x0425  # Photoshop's resource with the MD5 of the records that XMP was written with
RECORDS = 0x0404  # Photoshop's resource of the records
MAX_BYTES = 1 << 18
Records = Mapping[tuple[int, int], bytes | Sequence[bytes]]


def read_iptc(picture: PILImage.Image) -> tuple[dict[str, Any], bool]:
    """Return the texts of a picture's IPTC records by field.

    Returns:
        The texts; whether a program that knows of no XMP has changed them since XMP was written:
        then they are the newer ones.

    Raises:
        ValueError: If they are larger than the limit.
        Exception: Pillow's, if they are damaged.
    """
    resources = picture.info.get("photoshop")
    content = resources.get(RECORDS, b"") if isinstance(resources, dict) else b""
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes of IPTC records, the limit is {MAX_BYTES}")
    records: Records = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]
    digest = resources.get(DIGEST) if isinstance(resources, dict) else None
    is_newer = digest is not None and digest != hashlib.md5(content, usedforsecurity=False).digest()
    return _name_fields(records), is_newer


def _name_fields(records: Records) -> dict[str, Any]:
    is_utf_8 = _first(records.get((1, 90))) == UTF_8

    def read(dataset: int) -> str:
        return _decode(_first(records.get((2, dataset))), is_utf_8)

    date, time = read(55), read(60)
    keywords = records.get((2, 25)) or []
    return {
        "title": read(105) or read(5),  # headline, else the title, often only a reference
        "caption": read(120),
        "keywords": [
            _decode(one, is_utf_8)
            for one in ([keywords] if isinstance(keywords, bytes) else keywords)
        ],
        "date": f"{date[:8]}T{time}" if date and time else date,
        "place": ", ".join(filter(None, map(read, (92, 90, 95, 101)))),
        "credit": read(110),
        "source": read(115),
        "author": read(80),
        "licence": read(116),
    }


def _first(value: bytes | Sequence[bytes] | None) -> bytes:
    if value is None or isinstance(value, bytes):
        return value or b""
    return next((one for one in value if one), b"")


def _decode(value: bytes | None, is_utf_8: bool) -> str:
    """Decode as UTF-8; without its marker, text that is not UTF-8 is read as Latin-1."""
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return (value or b"").decode("utf-8" if is_utf_8 else "latin-1", "replace")
