"""Render pictures in the benchmark's format: PNG, 460x260, RGB."""

import io

import numpy as np
from PIL import Image as PILImage
from scipy.ndimage import gaussian_filter, uniform_filter

from newsimg.datatypes import FloatArray, Image
from newsimg.storage.pictures.images import open_image
from newsimg.submission.layouts import PICTURE_SIZE

CROPS = ("center", "saliency")
SALIENCY_SIZE = 64


def render_picture(image: Image, crop: str) -> bytes:
    """Crop and resize a picture to 460x260 and return it as PNG.

    Args:
        image: A picture.
        crop: "center", or "saliency" to keep the most salient region.

    Raises:
        FileNotFoundError: If the picture does not exist.
        ValueError: If it cannot be decoded.
    """
    picture = open_image(image, PICTURE_SIZE)
    box = find_box(picture, crop)
    buffer = io.BytesIO()
    picture.resize(PICTURE_SIZE, PILImage.Resampling.LANCZOS, box=box).save(buffer, "PNG")
    return buffer.getvalue()


def find_box(picture: PILImage.Image, crop: str) -> tuple[float, float, float, float]:
    """Return the crop box: the largest one with the benchmark's aspect ratio."""
    width, height = picture.size
    scale = min(width / PICTURE_SIZE[0], height / PICTURE_SIZE[1])
    inner = PICTURE_SIZE[0] * scale, PICTURE_SIZE[1] * scale
    left, top = (width - inner[0]) / 2, (height - inner[1]) / 2
    if crop == "saliency":
        saliency = measure_saliency(picture)
        left += find_shift(saliency.sum(axis=0), inner[0] / width) * (width - inner[0])
        top += find_shift(saliency.sum(axis=1), inner[1] / height) * (height - inner[1])
    return left, top, left + inner[0], top + inner[1]


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
