"""Supported picture formats, and opening of encoded pictures."""

import io
from importlib import import_module
from importlib.util import find_spec

from PIL import Image as PILImage

from newsimg.storage.pictures.png_chunks import SIGNATURE, keep_needed_chunks

# Formats that Pillow identifies but does not decode itself; for EPS it would run Ghostscript.
NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
COMMON = ("JPEG", "PNG", "WEBP")
# Pillow plugin -> extra of newsimg that installs it.
PLUGINS = {"pi_heif": "newsimg[formats]", "pillow_jxl": "newsimg[jxl]"}
PLUGIN_EXTENSIONS = {
    ".heic": "pi_heif",
    ".heif": "pi_heif",
    ".hif": "pi_heif",
    ".jxl": "pillow_jxl",
}
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
JXL_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
# Extensions that do not identify a format; the first bytes of the file do.
GENERIC_EXTENSIONS = ("", ".img", ".image")
SNIFFED_BYTES = 16


def _register() -> tuple[tuple[str, ...], tuple[str, ...]]:
    PILImage.init()
    for plugin in PLUGINS:
        if find_spec(plugin):
            registers = import_module(plugin)
            if plugin == "pi_heif":
                registers.register_heif_opener()
    decoded = [name for name in PILImage.ID if name not in NOT_DECODED]
    # Pillow tries them in this order. Formats without a signature are slower and come last.
    formats = tuple(
        sorted(decoded, key=lambda name: (name not in COMMON, not PILImage.OPEN[name][1]))
    )
    registered = PILImage.registered_extensions().items()
    return formats, tuple(sorted(suffix for suffix, name in registered if name in formats))


FORMATS, EXTENSIONS = _register()
"""Pillow's names of the supported formats, and their file extensions."""


def open_picture(content: bytes) -> PILImage.Image:
    """Open an encoded picture without decoding its pixels.

    Raises:
        ValueError: If it is not a picture, its header is broken, or it is larger than Pillow's
            limit; gives the reason.
    """
    if content.startswith(SIGNATURE):
        content = keep_needed_chunks(content)
    try:
        return PILImage.open(io.BytesIO(content), formats=FORMATS)
    except PILImage.UnidentifiedImageError as error:
        raise ValueError(_explain_failure(content)) from error


def find_format(head: bytes) -> str | None:
    """Return the format whose signature the first 16 bytes of a file match, or None."""
    head = head.ljust(SNIFFED_BYTES, b"\0")  # plugins expect all 16 bytes
    for name in FORMATS:
        accept = PILImage.OPEN[name][1]
        if accept is not None and accept(head) is True:
            return name
    return None


def name_missing_plugin(head: bytes) -> str | None:
    """Return the extra to install to read a file with these first bytes; None if none is needed."""
    plugin = None
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        plugin = "pi_heif"
    elif head.startswith(JXL_SIGNATURES):
        plugin = "pillow_jxl"
    return PLUGINS[plugin] if plugin and not find_spec(plugin) else None


def find_package(suffix: str) -> str | None:
    """Return the extra to install to read files with this extension; None if none is needed."""
    plugin = PLUGIN_EXTENSIONS.get(suffix)
    return PLUGINS[plugin] if plugin and not find_spec(plugin) else None


def _explain_failure(content: bytes) -> str:
    """Return why a picture cannot be opened, by trying the format of its signature again."""
    head = content[:SNIFFED_BYTES]
    if package := name_missing_plugin(head):
        return f"its format needs pip install '{package}'"
    name = find_format(head)
    if name is None:
        return "not a picture"
    try:
        PILImage.OPEN[name][0](io.BytesIO(content), "")
    except Exception as error:
        return f"not a {name} that can be read: {error or type(error).__name__}"
    return "not a picture"
