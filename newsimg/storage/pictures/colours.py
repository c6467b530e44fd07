"""Conversion of decoded pictures to 8-bit sRGB: ICC profiles, deep greys, transparency."""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image as PILImage
from PIL import ImageCms

BACKGROUND = (255, 255, 255)  # shown through transparent pixels
# Pillow mode -> colour space that a matching ICC profile has.
SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
CLASSES = ("mntr", "scnr", "prtr", "spac")  # monitors, scanners, printers, colour spaces
MAX_PROFILES = 32  # cached transforms; those of printing presses take 1 to 2 MB each
# Candidates for the white level of files that do not state it; the smallest that no value exceeds.
USUAL_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)
SHADES = np.arange(256, dtype=np.uint8)[None]
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, UNSIGNED, SIGNED = 0, 1, 2


def to_srgb(picture: PILImage.Image) -> PILImage.Image:
    """Convert a decoded picture to 8-bit sRGB on white, without metadata.

    Colours are converted with the embedded ICC profile. A broken profile, or one for another colour
    space, is ignored.
    """
    colours = _read_colours(picture)
    convert = _find_conversion(picture.info.get("icc_profile"), colours.mode)
    srgb = colours.convert("RGB") if convert is None else convert(colours)
    alpha = _read_alpha(picture)
    if alpha is not None:
        canvas = PILImage.new("RGB", srgb.size, BACKGROUND)
        canvas.paste(srgb, mask=alpha)
        srgb = canvas
    srgb.info = {}  # saving the picture would write the old profile and comments
    return srgb


def is_srgb(picture: PILImage.Image) -> bool:
    """Return whether the values of an opened picture in RGB or L are sRGB as they are."""
    return picture.mode in ("RGB", "L") and (
        _find_conversion(picture.info.get("icc_profile"), picture.mode) is None
    )


def _read_colours(picture: PILImage.Image) -> PILImage.Image:
    """Convert the pixels to L, RGB, CMYK or LAB, without transparency."""
    if picture.mode in ("RGB", "L", "CMYK", "LAB"):
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _scale_greys(picture)
    if picture.mode in ("1", "LA"):
        return picture.convert("LA").getchannel("L")
    return picture.convert("RGBA").convert("RGB")


def _read_alpha(picture: PILImage.Image) -> PILImage.Image | None:
    if not picture.has_transparency_data:
        return None
    if picture.mode.startswith("I"):  # one grey level is marked as transparent
        opaque = np.asarray(picture) != picture.info["transparency"]
        return PILImage.fromarray(opaque.astype(np.uint8) * np.uint8(255))
    return picture.convert("RGBA").getchannel("A")


def _scale_greys(picture: PILImage.Image) -> PILImage.Image:
    """Convert grey levels of more than 8 bits to L."""
    values = np.asarray(picture)
    tags = getattr(picture, "tag_v2", {})
    n_bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    kind = tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0]
    whites: tuple[float, ...]
    if picture.mode == "F":
        whites = USUAL_WHITES
    elif n_bits > 16:
        values = values.view(np.uint32) if kind == UNSIGNED else values
        whites = USUAL_WHITES[1:]
    else:
        whites = (2.0 ** (n_bits - (kind == SIGNED)) - 1, USUAL_WHITES[-1])
    largest = float(values.max(where=np.isfinite(values), initial=0))
    white = next((white for white in whites if largest <= white), largest)
    values = np.nan_to_num(values, nan=0, posinf=white, neginf=0)
    shades = values * np.float32(255 / white)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        shades = 255 - shades
    return PILImage.fromarray((shades + 0.5).clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=MAX_PROFILES)
def _find_conversion(
    profile: bytes | None, mode: str
) -> Callable[[PILImage.Image], PILImage.Image] | None:
    """Return the conversion to sRGB; None if the pixels are sRGB or the profile is unusable."""
    if mode == "LAB":  # defined without a profile
        return _build_transform(ImageCms.createProfile("LAB"), mode).apply
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        about = source.profile
        if about.xcolor_space.strip() != SPACES[mode] or about.device_class not in CLASSES:
            return None
        transform = _build_transform(source, mode)
    except (OSError, ImageCms.PyCMSError):
        return None
    if mode == "L":
        shades = np.asarray(transform.apply(PILImage.fromarray(SHADES)))[0, :, 0].tolist()
        return lambda greys: greys.point(shades).convert("RGB")
    return None if mode == "RGB" and _changes_nothing(transform) else transform.apply


def _build_transform(source: object, mode: str) -> ImageCms.ImageCmsTransform:
    # Relative colorimetric with black point compensation is the default of image editors.
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":  # all 256 levels are computed once, so LittleCMS must not approximate
        flags |= ImageCms.Flags.NOOPTIMIZE
    return ImageCms.buildTransform(
        source,  # type: ignore[arg-type]
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=flags,
    )


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether a profile is equivalent to sRGB: no colour changes by more than one level.

    Most embedded profiles are, and skipping them saves time.
    """
    axes = np.meshgrid(*[SHADES[0, ::15]] * 3, indexing="ij")
    colours = np.stack(axes, axis=-1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(PILImage.fromarray(colours)), np.int16) - colours
    return bool(np.abs(moved).max() <= 1)
