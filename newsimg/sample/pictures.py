"""Draw pictures of scenes; as a module, the worker process of `drawing_pool`."""

import io
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from newsimg.sample.backdrop import (
    add_weather,
    draw_ground,
    draw_lights_in_sky,
    light_of,
    paint_sky,
)
from newsimg.sample.defects import add_defects
from newsimg.sample.drawing_pool import SYSTEM_ERROR
from newsimg.sample.pen import Colour, Pen
from newsimg.sample.scenes import Scene, scene_from_row
from newsimg.sample.subjects import SUBJECTS
from newsimg.storage.csv_table import read_table

WIDTH, HEIGHT = 460, 260
JPEG_QUALITY = 85
PAINTS: dict[str, Colour] = {
    "red": (214, 40, 46),
    "blue": (36, 84, 214),
    "green": (30, 156, 72),
    "yellow": (250, 206, 30),
    "white": (248, 248, 250),
    "purple": (146, 52, 176),
}
# Largest size of a subject, left and right edge of the group, baseline; at twice the final size.
FRAMES: dict[str, tuple[float, float, float, float]] = {
    "near": (330, 20, 900, 500),
    "far": (145, 130, 790, 385),
    "left": (230, 10, 490, 455),
    "right": (230, 430, 910, 455),
}


def draw_picture(scene: Scene) -> Image.Image:
    """Draw a scene, deterministically.

    Returns:
        An RGB picture of 460 x 260 pixels.
    """
    rng = np.random.default_rng(scene.detail)
    size = (2 * WIDTH, 2 * HEIGHT)  # drawn at twice the size and reduced for antialiasing
    image = paint_sky(size, scene.time, scene.weather)
    draw = ImageDraw.Draw(image)
    light = light_of(scene.time, scene.weather)
    draw_lights_in_sky(draw, scene.time, scene.weather, size[0], rng)
    horizon = int(rng.uniform(315, 345))
    draw_ground(draw, SUBJECTS[scene.subject].setting, scene.weather, light, horizon, rng)
    _draw_subjects(draw, scene, light, rng)
    image = add_weather(image, scene.weather, scene.time, rng)
    return add_defects(image.reduce(2), scene, rng)


def _draw_subjects(
    draw: ImageDraw.ImageDraw,
    scene: Scene,
    light: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    largest, left, right, baseline = FRAMES[scene.view]
    size = min(largest, (right - left) / (scene.count * 1.22)) * rng.uniform(0.92, 1.05)
    facing = 1 if rng.random() < 0.5 else -1
    step = min((right - left) / scene.count, size * 1.5)
    middle = (left + right) / 2 + rng.uniform(-15, 15)
    for number in range(scene.count):
        x = middle + (number - (scene.count - 1) / 2) * step
        y = baseline + rng.uniform(-8, 8)
        pen = Pen(draw, light, (x, y), size, facing)
        SUBJECTS[scene.subject].draw(pen, PAINTS[scene.colour])


def save_picture(scene: Scene, path: Path) -> None:
    """Draw a scene and save it as a JPEG."""
    buffer = io.BytesIO()  # errors of Pillow's own writing to files lack the system's number
    draw_picture(scene).save(buffer, "JPEG", quality=JPEG_QUALITY)
    path.write_bytes(buffer.getvalue())


def save_share(folder: Path, worker: int, n_workers: int) -> None:
    """Draw every `n_workers`-th scene of `folder`/scenes.csv to `folder`/newsimages."""
    rows = list(read_table(folder / "scenes.csv"))
    parent = os.getppid()
    for row in rows[worker::n_workers]:
        if os.getppid() != parent:  # the parent was killed
            sys.exit(1)
        save_picture(scene_from_row(row), folder / "newsimages" / f"{row['image_id']}.jpg")


if __name__ == "__main__":
    try:
        save_share(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except OSError as error:  # such as a full disk
        sys.exit(SYSTEM_ERROR + error.errno if error.errno else 1)
