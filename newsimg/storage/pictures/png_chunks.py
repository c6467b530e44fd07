"""Removal of PNG chunks that decoding does not need, which may be large or damaged."""

import zlib

from PIL import PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_INFLATED = 1 << 24  # bytes of a colour profile or of XMP; real ones are below 4 MB
# Ancillary chunks that decoding needs: transparency, colour profile, orientation.
NEEDED = (b"tRNS", b"iCCP", b"eXIf")
# Text chunks with these keywords may contain the orientation; other text chunks are unused.
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
# Pillow's default of 1 MB rejects pictures with the colour profiles of printing presses.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_INFLATED


def keep_needed_chunks(content: bytes) -> bytes:
    """Return a PNG without the chunks that decoding does not need or cannot use.

    Ancillary chunks with a wrong checksum are removed, as in libpng. Critical chunks are left to
    the decoder to check.
    """
    kept, start, position = [], 0, len(SIGNATURE)
    seen: set[bytes] = set()
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        if end > len(content):  # truncated
            break
        if not _is_needed(content, position, end, seen):
            kept.append(content[start:position])
            start = end
        position = end
    return b"".join([*kept, content[start:]]) if kept else content


def _is_needed(content: bytes, position: int, end: int, seen: set[bytes]) -> bool:
    name = content[position + 4 : position + 8]
    if not name[0] & 32:  # upper case means critical
        return True
    if name not in NEEDED and name not in TEXTS:
        return False
    data = content[position + 8 : end - 4]
    keyword = data[:80].partition(b"\0")[0]
    if name in TEXTS and keyword not in KEYWORDS:
        return False
    kind = name + keyword * (name in TEXTS)
    if kind in seen:  # one of each is allowed; a thousand would be slow to inflate
        return False
    seen.add(kind)
    return (
        len(data) <= MAX_INFLATED
        and zlib.crc32(name + data) == int.from_bytes(content[end - 4 : end])
        and _can_be_inflated(name, data[len(keyword) + 1 :])
    )


def _can_be_inflated(name: bytes, data: bytes) -> bool:
    """Return whether the data after the keyword inflate without error and within the limit."""
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


def put_texts_first(content: bytes) -> bytes:
    """Return a PNG with EXIF and XMP before the pixels, so that they are read with the header."""
    late, pixels, position = [], 0, len(SIGNATURE)
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        name = content[position + 4 : position + 8]
        if name == b"IDAT" and not pixels:
            pixels = position
        elif pixels and (name in TEXTS or name == b"eXIf"):
            late.append(content[position:end])
        position = end
    return b"".join([content[:pixels], *late, content[pixels:]]) if late else content
