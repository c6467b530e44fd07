"""PNG files without the chunks that say nothing of their pixels, however large or damaged."""

import zlib

from PIL import PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_INFLATED = 1 << 24  # bytes of a colour profile or of XMP: real ones take less than 4 MB
# Ancillary chunks that decoding needs: transparency, colour profile, orientation.
NEEDED = (b"tRNS", b"iCCP", b"eXIf")
# Texts that may tell the orientation, too; of other texts nothing is used.
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
# Pillow's own limit, of 1 MB, refuses pictures with the colour profiles of printing presses.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_INFLATED


def keep_needed_chunks(content: bytes) -> bytes:
    """Return a PNG without the chunks that decoding does not need, or cannot use.

    Ancillary chunks whose checksum is wrong are left out, as libpng does. Critical ones stay as
    they are: whether they are sound is for the decoder to say.
    """
    kept, start, position = [], 0, len(SIGNATURE)
    seen: set[bytes] = set()
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        if end > len(content):  # cut off
            break
        if not _is_needed(content, position, end, seen):
            kept.append(content[start:position])
            start = end
        position = end
    return b"".join([*kept, content[start:]]) if kept else content


def _is_needed(content: bytes, position: int, end: int, seen: set[bytes]) -> bool:
    name = content[position + 4 : position + 8]
    if not name[0] & 32:  # a capital: critical
        return True
    if name not in NEEDED and name not in TEXTS:
        return False
    data = content[position + 8 : end - 4]
    keyword = data[:80].partition(b"\0")[0]
    if name in TEXTS and keyword not in KEYWORDS:
        return False
    kind = name + keyword * (name in TEXTS)
    if kind in seen:  # there may be one of each, and a thousand would take long to inflate
        return False
    seen.add(kind)
    return (
        len(data) <= MAX_INFLATED
        and zlib.crc32(name + data) == int.from_bytes(content[end - 4 : end])
        and _can_be_inflated(name, data[len(keyword) + 1 :])
    )


def _can_be_inflated(name: bytes, data: bytes) -> bool:
    """Tell whether what follows the keyword is compressed well, and no decompression bomb."""
    if name == b"iTXt" and data[:1] == b"\1":  # flag, method, language, translated keyword, text
        method, text = data[1:2], data[2:].split(b"\0", 2)[-1]
    elif name in (b"iCCP", b"zTXt"):
        method, text = data[:1], data[1:]
    else:
        return True
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(text, MAX_INFLATED)
    except zlib.error:
        return False
    return method == b"\0" and not inflater.unconsumed_tail
