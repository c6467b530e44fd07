"""Render pictures in the benchmark's format: PNG, 460x260, RGB."""

import io

import numpy as np
from PIL import Image as PILImage
from PIL import ImageOps
from scipy.ndimage import gaussian_filter, uniform_filter

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.pictures.images import open_image
from newsimg.submission.layouts import PICTURE_SIZE

CROPS = ("center", "saliency", "letterbox")
PADDING = "white"  # as are transparent pixels
SALIENCY_SIZE = 64
DECAY = 14  # of the prior of tall pictures; see `prefer_top`

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a crop; in fractions of the picture if it is an option."""
Crop = str | Box
"""One of `CROPS`, or a box in fractions of the upright picture's width and height."""


def render_picture(image: Image, crop: Crop) -> bytes:
    """Bring a picture to 460x260 and return it as PNG.

    Args:
        image: A picture.
        crop: "center", "saliency" to keep the most salient region, "letterbox" to pad the whole
            picture with white, or a box.

    Raises:
        FileNotFoundError: If the picture does not exist.
        ValueError: If it cannot be decoded, or the box does not have the benchmark's proportions.
    """
    return encode_picture(open_image(image, PICTURE_SIZE), crop)


def encode_picture(picture: PILImage.Image, crop: Crop) -> bytes:
    """Bring a decoded picture to 460x260 and return it as PNG; see `render_picture`."""
    if crop == "letterbox":
        rendered = ImageOps.pad(picture, PICTURE_SIZE, PILImage.Resampling.LANCZOS, color=PADDING)
    else:
        box = find_box(picture, crop)
        rendered = picture.resize(PICTURE_SIZE, PILImage.Resampling.LANCZOS, box=box)
    buffer = io.BytesIO()
    rendered.save(buffer, "PNG")
    return buffer.getvalue()


def find_box(picture: PILImage.Image, crop: Crop) -> Box:
    """Return a crop in pixels: the largest box with the benchmark's proportions, or the given one.

    Raises:
        ValueError: If the given box does not have the benchmark's proportions.
    """
    width, height = picture.size
    if not isinstance(crop, str):
        return scale_box(crop, width, height)
    scale = min(width / PICTURE_SIZE[0], height / PICTURE_SIZE[1])
    inner = PICTURE_SIZE[0] * scale, PICTURE_SIZE[1] * scale
    left, top = (width - inner[0]) / 2, (height - inner[1]) / 2
    if crop == "saliency":
        saliency = measure_saliency(picture)
        rows = saliency.sum(axis=1) * prefer_top(len(saliency), 1 - inner[1] / height)
        left += find_shift(saliency.sum(axis=0), inner[0] / width) * (width - inner[0])
        top += find_shift(rows, inner[1] / height) * (height - inner[1])
    return left, top, left + inner[0], top + inner[1]


def scale_box(box: Box, width: int, height: int) -> Box:
    """Convert a box from fractions to pixels.

    Raises:
        ValueError: If its height, at the benchmark's width, is off by more than a pixel.
    """
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    found = PICTURE_SIZE[0] * (bottom - top) / (right - left)
    if abs(found - PICTURE_SIZE[1]) > 1:
        raise ValueError(
            f"the box {list(box)} of a picture of {width}x{height} must have the proportions "
            f"{PICTURE_SIZE[0]}x{PICTURE_SIZE[1]}, got {PICTURE_SIZE[0]}x{found:.1f}"
        )
    return left, top, right, bottom


def prefer_top(n_rows: int, lost: float) -> FloatArray:
    """Return the prior of the rows of a picture, whose upper third often has the head of a figure.

    exp(-14 * lost * (1 - lost) * y) for a row at the share y of the height: of a picture of 2:3, a
    row in the middle of the lower third counts 0.11 of one in the middle of the upper third. The
    prior fades in with the share of the height that is lost, from a uniform one for pictures that
    lose none, and out again for strips, which rarely show a single figure; it is continuous in
    the proportions.

    Args:
        n_rows: Number of rows.
        lost: Share of the height outside the crop, in [0, 1).
    """
    y = (np.arange(n_rows) + 0.5) / n_rows
    return np.exp(-DECAY * lost * (1 - lost) * y).astype(np.float32)


def measure_saliency(picture: PILImage.Image) -> FloatArray:
    """Return the saliency map of a picture, (64, 64) for any aspect ratio.

    The spectral residual, the log spectrum minus its local mean (Hou and Zhang 2007, "Saliency
    detection: a spectral residual approach").
    """
    side = (SALIENCY_SIZE, SALIENCY_SIZE)
    grey = picture.convert("L").resize(side, PILImage.Resampling.BOX, reducing_gap=2)
    pixels = np.asarray(grey, np.float64)
    if np.ptp(pixels) < 1:  # uniform; logarithms would amplify rounding errors
        return np.ones(side, np.float32)
    # Without a window, the discontinuity of the periodic extension makes the borders salient.
    window = np.hanning(SALIENCY_SIZE + 2)[1:-1] ** 0.25
    spectrum = np.fft.fft2((pixels - pixels.mean()) * np.outer(window, window))
    log_amplitude = np.log(np.abs(spectrum) + 1e-6)
    residual = log_amplitude - uniform_filter(log_amplitude, 3, mode="wrap")
    saliency = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    return gaussian_filter(saliency, 2.5).astype(np.float32)


def find_shift(profile: FloatArray, share: float) -> float:
    """Return the shift of the window over `share` of a profile with the largest sum.

    Returns:
        From -0.5 to 0.5, 0 is the centre; of equal sums the shift nearest to 0.
    """
    width = round(share * len(profile))
    sums = np.convolve(profile, np.ones(width), "valid")
    best = np.flatnonzero(sums >= sums.max() * (1 - 1e-3))
    middle = (len(sums) - 1) / 2
    start = best[np.argmin(np.abs(best - middle))]
    return float((start - middle) / (len(sums) - 1)) if len(sums) > 1 else 0.0
