"""The metadata embedded in a picture: IPTC, XMP and EXIF.

Where IPTC records and XMP both have a field, XMP is used, unless Photoshop's digest of the records
says that only these were changed later: Metadata Working Group (2010), "Guidelines for handling
image metadata", version 2.0, chapter 3. A record that is the beginning of the XMP text was cut to
IPTC's length. EXIF is used for what both lack, as cameras write their own name as a caption; its
date comes first, as the guidelines have it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image as PILImage

from newsimg.storage.metadata.exif import read_exif
from newsimg.storage.metadata.fields import METADATA, clean_metadata, merge_metadata
from newsimg.storage.metadata.iptc import read_iptc
from newsimg.storage.metadata.xmp import read_xmp
from newsimg.storage.pictures.formats import open_picture
from newsimg.storage.pictures.png_chunks import SIGNATURE, put_texts_first

log = logging.getLogger(__name__)

JPEG = b"\xff\xd8\xff"
HEAD_BYTES = 1 << 22  # of a JPEG, whose metadata come before its pixels


def read_metadata(content: bytes) -> tuple[dict[str, str], int]:
    """Return the metadata in an encoded picture, and the number of values cut or dropped.

    Damaged, hostile or too large metadata are dropped; the pixels are not decoded.
    """
    try:
        with open_picture(_without_pixels(content)) as picture:
            return _read_all(picture)
    except Exception as error:  # of a picture that cannot be opened, or of a decoder
        if isinstance(error, MemoryError):
            raise
        return {}, 0


def add_embedded(given: Mapping[str, str] | None, content: bytes) -> tuple[dict[str, str], int]:
    """Return what is known of a picture: what was given, and else what its bytes say.

    Returns:
        The values by field; the number of values cut or dropped.
    """
    embedded, n_cut = read_metadata(content)
    merged, n_more = merge_metadata(given or {}, embedded)
    return merged, n_cut + n_more


def _without_pixels(content: bytes) -> bytes:
    if content.startswith(JPEG):
        return content[:HEAD_BYTES]
    return put_texts_first(content) if content.startswith(SIGNATURE) else content


def _read_all(picture: PILImage.Image) -> tuple[dict[str, str], int]:
    n_cut = 0

    def attempt(read: Callable[[], tuple[Any, bool]]) -> tuple[dict[str, str], bool]:
        nonlocal n_cut
        try:
            values, is_newer = read()
        except Exception as error:  # damaged data raise errors of any type
            if isinstance(error, MemoryError):
                raise
            log.debug("metadata dropped: %s", error)
            n_cut += 1
            return {}, False
        cleaned, cut = clean_metadata(values)
        n_cut += cut
        return cleaned, is_newer

    iptc, is_newer = attempt(lambda: read_iptc(picture))
    packet = picture.info.get("xmp")
    xmp, _ = attempt(lambda: (read_xmp(packet) if isinstance(packet, bytes) else {}, False))
    exif, _ = attempt(lambda: (read_exif(picture), False))
    first, second = (iptc, xmp) if is_newer else (xmp, iptc)
    found = {}
    for name in METADATA:
        value = first.get(name) or second.get(name) or exif.get(name)
        if name == "date":
            value = exif.get(name) or value
        if is_newer and value and xmp.get(name, "").startswith(value):
            value = xmp[name]  # IPTC limits the length of its records
        if value:
            found[name] = value
    return found, n_cut
