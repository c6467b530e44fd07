"""Which picture formats can be read, and how a picture's bytes are opened."""

import io
from importlib import import_module
from importlib.util import find_spec

from PIL import Image as PILImage

from newsimg.storage.pictures.png_chunks import SIGNATURE, keep_needed_chunks

# What Pillow names but does not decode by itself; for EPS it would run Ghostscript.
NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
COMMON = ("JPEG", "PNG", "WEBP")
# Plugins of Pillow -> what installs them.
PLUGINS = {"pi_heif": "newsimg[formats]", "pillow_jxl": "newsimg[jxl]"}
PLUGIN_EXTENSIONS = {
    ".heic": "pi_heif",
    ".heif": "pi_heif",
    ".hif": "pi_heif",
    ".jxl": "pillow_jxl",
}
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
JXL_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
# Names of files that do not say what is in them: their first bytes do.
UNTOLD = ("", ".img", ".image")
SNIFFED_BYTES = 16


def _register() -> tuple[tuple[str, ...], tuple[str, ...]]:
    PILImage.init()
    for plugin in PLUGINS:
        if find_spec(plugin):
            registers = import_module(plugin)
            if plugin == "pi_heif":
                registers.register_heif_opener()
    decoded = [name for name in PILImage.ID if name not in NOT_DECODED]
    # They are tried in turn: those without a signature look further into the file, and come last.
    formats = tuple(
        sorted(decoded, key=lambda name: (name not in COMMON, not PILImage.OPEN[name][1]))
    )
    registered = PILImage.registered_extensions().items()
    return formats, tuple(sorted(suffix for suffix, name in registered if name in formats))


FORMATS, EXTENSIONS = _register()
"""Pillow's names of the formats, and the extensions of their files."""


def open_picture(content: bytes) -> PILImage.Image:
    """Open a picture; its pixels are decoded by `load`.

    Raises:
        ValueError: If it is no picture, or its header is broken, or it claims more pixels than
            Pillow opens; says why.
    """
    if content.startswith(SIGNATURE):
        content = keep_needed_chunks(content)
    try:
        return PILImage.open(io.BytesIO(content), formats=FORMATS)
    except PILImage.UnidentifiedImageError as error:
        raise ValueError(_say_why(content)) from error


def find_format(head: bytes) -> str | None:
    """Return the format that the first 16 bytes of a file are a signature of, if there is one."""
    head = head.ljust(SNIFFED_BYTES, b"\0")  # plugins take it for granted that all are there
    for name in FORMATS:
        accept = PILImage.OPEN[name][1]
        if accept is not None and accept(head) is True:
            return name
    return None


def name_missing_plugin(head: bytes) -> str | None:
    """Return what would have to be installed to read a file with these first bytes."""
    plugin = None
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        plugin = "pi_heif"
    elif head.startswith(JXL_SIGNATURES):
        plugin = "pillow_jxl"
    return PLUGINS[plugin] if plugin and not find_spec(plugin) else None


def find_package(suffix: str) -> str | None:
    """Return what would have to be installed to read files with this extension."""
    plugin = PLUGIN_EXTENSIONS.get(suffix)
    return PLUGINS[plugin] if plugin and not find_spec(plugin) else None


def _say_why(content: bytes) -> str:
    """Return why a picture could not be opened: Pillow tells it only of the formats one by one."""
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
