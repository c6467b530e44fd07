"""Add picture defects: blur, noise, bad exposure, watermark bars and clickbait marks."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from newsimg.sample.scenes import Scene


def add_defects(image: Image.Image, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Apply the scene's defects, those of the camera before those of later editing.

    Args:
        image: RGB picture at its final size.
        scene: Severities of the defects.
        rng: Random generator of noise and positions.

    Returns:
        A picture of the same size; the same object if the scene has no defect.
    """
    if scene.blur > 0:
        image = image.filter(ImageFilter.GaussianBlur(9 * scene.blur))
    if scene.exposure > 0:
        image = _expose(image, scene.exposure, scene.is_overexposed)
    if scene.noise > 0:
        image = _add_grain(image, scene.noise, rng)
    if scene.watermark > 0:
        image = _add_bars(image, scene.watermark, rng)
    if scene.clickbait > 0:
        _draw_marks(image, scene.clickbait, rng)
    return image


def _expose(image: Image.Image, severity: float, is_over: bool) -> Image.Image:
    if is_over:
        table = [
            min(255, round(255 * severity * 0.6 + v * (1 + severity * 0.3))) for v in range(256)
        ]
    else:
        table = [round(v * (1 - 0.88 * severity)) for v in range(256)]
    return image.point(table * 3)


def _add_grain(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Add coloured noise in blocks of 2x2 pixels, which survive JPEG compression."""
    width, height = image.size
    grain = rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32) * (110 * severity)
    grain = grain.repeat(2, axis=0).repeat(2, axis=1)
    pixels = np.asarray(image, dtype=np.float32) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _add_bars(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Draw slanted, semi-transparent bars across the picture and a solid one at the bottom."""
    veil = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(veil)
    width, height = image.size
    thick, shift = int(8 + 20 * severity), int(rng.uniform(0, 90))
    for x in range(shift - height, width, 92):
        draw.line((x, height, x + height, 0), fill=int(90 + 140 * severity), width=thick)
    edge = int(10 + 34 * severity)
    draw.rectangle((0, height - edge, width, height), fill=235)
    image = image.copy()
    image.paste((226, 226, 230), (0, 0), veil)
    return image


def _draw_marks(image: Image.Image, severity: float, rng: np.random.Generator) -> None:
    """Draw a thick red circle and an arrow with a yellow outline that points at it."""
    draw = ImageDraw.Draw(image)
    x, y = int(rng.uniform(120, 340)), int(rng.uniform(90, 170))
    radius, thick = int(30 + 50 * severity), int(5 + 11 * severity)
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(box, outline=(255, 20, 30), width=thick)
    side = -1 if x > 230 else 1  # the arrow comes from the side with more space
    tip, tail = x + side * (radius + 8), x + side * (radius + 70 + 60 * severity)
    head = tip + side * (24 + 20 * severity)
    for colour, grow in (((255, 226, 30), 6), ((255, 20, 30), 0)):
        draw.line((head, y, tail, y), fill=colour, width=int(8 + 14 * severity + 2 * grow))
        half = 18 + 22 * severity + grow
        draw.polygon([(tip - side * grow, y), (head, y - half), (head, y + half)], fill=colour)
