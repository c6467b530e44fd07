"""Validation and decoding of pictures, with the reason if one is rejected."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from newsimg.datatypes import Image, Rejected, ValidationRules
from newsimg.interfaces import Backbone
from newsimg.storage.metadata.reading import add_embedded
from newsimg.storage.models.fit import ModelError
from newsimg.storage.pictures.images import (
    LoadedImage,
    TruncatedPictureError,
    measure_picture,
    open_image,
    read_header,
    read_image,
)
from newsimg.storage.text.suggest import check_choice

TRUNCATED = ("reject", "accept")
MAX_REASON = 300  # characters
PILLOW_MAX_PIXELS = 178_956_970  # twice Pillow's MAX_IMAGE_PIXELS, where it refuses to open


def check_rules(on_truncated: str, max_pixels: int, min_side: int) -> ValidationRules:
    """Return the rules of a config; see `ValidationRules`.

    Raises:
        ValueError: If a value is invalid.
    """
    check_choice("task.on_truncated", on_truncated, TRUNCATED)
    if not 1 <= max_pixels <= PILLOW_MAX_PIXELS:
        raise ValueError(f"task.max_pixels must be in [1, {PILLOW_MAX_PIXELS}], got {max_pixels}")
    if min_side < 1:
        raise ValueError(f"task.min_side must be at least 1, got {min_side}")
    return ValidationRules(on_truncated, max_pixels, min_side)


@dataclass(frozen=True)
class Loaded:
    """A picture whose bytes are in memory and whose header is valid."""

    image: LoadedImage
    width: int
    height: int
    n_cut: int  # of its metadata; see `Accepted`


@dataclass(frozen=True)
class Prepared:
    """A preprocessed picture, ready for the model."""

    image: LoadedImage
    inputs: Any


def load_picture(image: Image, rules: ValidationRules) -> Loaded | Rejected:
    """Read and hash a picture's bytes, check its header, and read its metadata."""
    try:
        content = read_image(image)
        if not content:
            return Rejected(image.uri, "zero bytes")
        width, height = read_header(content)
        if width * height > rules.max_pixels:
            reason = f"{width}x{height}: more than {rules.max_pixels} pixels"
            return Rejected(image.uri, reason)
        if min(width, height) < rules.min_side:
            return Rejected(
                image.uri, f"{width}x{height}: less than {rules.min_side} pixels a side"
            )
        width, height = _measure(content, (width, height))
    except FileNotFoundError:
        return Rejected(image.uri, "no such file")
    except (OSError, ValueError) as error:  # disk error, damaged member, not a picture
        return Rejected(image.uri, _shorten(error))
    metadata, n_cut = add_embedded(image.metadata, content)
    loaded = LoadedImage(
        image_id=image.image_id,
        path=image.path,
        member=image.member,
        digest=hashlib.sha256(content).hexdigest(),
        truncated=image.truncated,
        metadata=metadata,
        content=content,
    )
    return Loaded(loaded, width, height, n_cut)


def prepare_picture(
    image: LoadedImage, backbone: Backbone, rules: ValidationRules
) -> Prepared | Rejected:
    """Decode and preprocess a picture.

    Raises:
        ModelError: If the model cannot be used at all.
    """
    try:
        return Prepared(image, _prepare(image, backbone))
    except TruncatedPictureError as error:
        if rules.on_truncated == "reject":
            return Rejected(image.uri, _name_reason(image, error))
        marked = replace(image, truncated=True)
        return Prepared(marked, _prepare(marked, backbone))
    except ModelError:
        raise  # not an error of this picture
    except ValueError as error:
        return Rejected(image.uri, _name_reason(image, error))


def without_content(image: Image) -> Image:
    """Return a copy of the picture without its bytes."""
    return Image(
        image.image_id, image.path, image.member, image.digest, image.truncated, image.metadata
    )


def _prepare(image: LoadedImage, backbone: Backbone) -> Any:
    inputs = backbone.preprocess(image)
    if inputs is image:  # the backbone decodes later; damaged pictures must be rejected here
        open_image(image)
    return inputs


def _measure(content: bytes, header: tuple[int, int]) -> tuple[int, int]:
    try:
        return measure_picture(content)
    except ValueError:  # reported, or accepted, when the picture is decoded
        return header


def _name_reason(image: Image, error: ValueError) -> str:
    return _shorten(error).removeprefix(f"cannot read the picture {image.uri}: ")


def _shorten(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:MAX_REASON]
