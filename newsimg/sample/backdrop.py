"""Draw sky, ground and weather."""

import numpy as np
from PIL import Image, ImageDraw

from newsimg.sample.pen import Colour, mix

Light = tuple[float, float, float]

# Colours at the top and bottom of the sky, and the light on the ground.
SKIES: dict[str, tuple[Colour, Colour, Light]] = {
    "day": ((88, 158, 224), (196, 224, 244), (1.0, 1.0, 1.0)),
    "dawn": ((152, 150, 206), (255, 206, 178), (0.92, 0.82, 0.84)),
    "dusk": ((86, 60, 116), (250, 134, 66), (0.82, 0.62, 0.56)),
    "night": ((10, 14, 40), (36, 44, 84), (0.42, 0.45, 0.6)),
}
GROUNDS: dict[str, Colour] = {
    "field": (112, 152, 76),
    "street": (134, 132, 134),
    "sea": (52, 106, 142),
    "flood": (134, 116, 84),
    "pitch": (70, 150, 70),
    "hall": (150, 118, 92),
    "runway": (156, 154, 140),
}


def light_of(time: str, weather: str) -> Light:
    """Return the light on the ground, darker in a storm and in rain."""
    dim = {"storm": 0.72, "rain": 0.85}.get(weather, 1.0)
    red, green, blue = SKIES[time][2]
    return red * dim, green * dim, blue * dim


def lit(colour: Colour, light: Light) -> Colour:
    """Return a colour under a light."""
    red, green, blue = (min(255, round(c * f)) for c, f in zip(colour, light, strict=True))
    return red, green, blue


def paint_sky(size: tuple[int, int], time: str, weather: str) -> Image.Image:
    """Paint the sky as a vertical gradient, less saturated in bad weather."""
    top, bottom, _ = SKIES[time]
    cover = {"clear": 0.0, "snow": 0.45, "rain": 0.55, "fog": 0.5, "storm": 0.7}[weather]
    grey = lit((128, 134, 146), light_of(time, weather))
    top, bottom = mix(top, grey, cover), mix(bottom, grey, cover)
    shares = np.minimum(np.arange(size[1]) / 330, 1.0)[:, None]  # the horizon is at about 330
    column = np.array(top) * (1 - shares) + np.array(bottom) * shares
    return Image.fromarray(column.round().astype(np.uint8)[:, None]).resize(
        size, Image.Resampling.NEAREST
    )


def draw_lights_in_sky(
    draw: ImageDraw.ImageDraw, time: str, weather: str, width: int, rng: np.random.Generator
) -> None:
    """Draw sun, moon and stars in clear weather, and clouds otherwise."""
    x, y = int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(40, 90))
    if weather == "clear":
        if time == "night":
            for sx, sy in zip(rng.integers(0, width, 40), rng.integers(0, 260, 40), strict=True):
                draw.rectangle((sx, sy, sx + 3, sy + 3), fill=(230, 230, 250))
        y = {"day": y, "dawn": 250, "dusk": 270, "night": y}[time]
        disc = {"day": (255, 246, 190), "dawn": (255, 236, 170), "dusk": (255, 90, 50)}
        radius = {"day": 38, "night": 30}.get(time, 54)
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=disc.get(time, (236, 238, 246))
        )
    light = light_of(time, weather)
    tone = {"clear": 250, "snow": 214, "fog": 206, "rain": 150, "storm": 92}[weather]
    for _ in range({"clear": 1, "fog": 0, "snow": 3, "rain": 5, "storm": 7}[weather]):
        cx, cy = int(rng.uniform(0, width)), int(rng.uniform(20, 130))
        for shift, radius in ((-52, 26), (-14, 40), (34, 34), (70, 20)):
            box = (cx + shift - radius, cy - radius * 0.8, cx + shift + radius, cy + radius * 0.8)
            draw.ellipse(box, fill=lit((tone, tone, tone + 4), light))


def draw_ground(
    draw: ImageDraw.ImageDraw,
    setting: str,
    weather: str,
    light: Light,
    horizon: int,
    rng: np.random.Generator,
) -> None:
    """Draw the ground below the horizon, with the marks of its setting."""
    width, height = 920, 520
    ground = GROUNDS[setting]
    if weather == "snow" and setting not in ("sea", "flood"):
        ground = mix(ground, (244, 247, 252), 0.3 if setting == "hall" else 0.78)
    if setting in ("street", "hall"):
        _draw_walls(draw, setting, light, horizon, rng)
    elif setting not in ("sea", "flood"):
        hills = [
            (x, horizon - int(h))
            for x, h in zip(range(0, 1001, 125), rng.uniform(5, 60, 9), strict=True)
        ]
        draw.polygon(
            [*hills, (1000, horizon + 4), (0, horizon + 4)],
            fill=lit(mix(ground, (60, 80, 110), 0.5), light),
        )
    draw.rectangle((0, horizon, width, height), fill=lit(ground, light))
    stripe = lit(mix(ground, (255, 255, 255), 0.45), light)
    if setting in ("sea", "flood"):
        for x, y in zip(
            rng.integers(0, 880, 26), rng.integers(horizon + 8, height, 26), strict=True
        ):
            draw.line((x, y, x + 46, y), fill=stripe, width=4)
    elif setting in ("street", "runway"):
        for x in range(-20, width, 130):
            draw.rectangle((x, 496, x + 70, 504), fill=stripe)
    elif setting == "pitch":
        draw.line((0, horizon + 50, width, horizon + 50), fill=stripe, width=7)
        draw.ellipse((310, horizon + 70, 610, height - 10), outline=stripe, width=7)
    elif setting == "field":
        for x in range(-300, width + 300, 120):
            draw.line(
                (460 + (x - 460) * 0.4, horizon + 6, x, height),
                fill=lit(mix(ground, (70, 60, 30), 0.25), light),
                width=6,
            )


def _draw_walls(
    draw: ImageDraw.ImageDraw, setting: str, light: Light, horizon: int, rng: np.random.Generator
) -> None:
    """Draw a row of houses behind a street, or the windows of a hall."""
    if setting == "hall":
        frame = lit((176, 146, 118), light)
        draw.rectangle((0, 0, 920, 34), fill=frame)
        draw.rectangle((0, horizon - 40, 920, horizon), fill=frame)
        for x in range(-10, 930, 184):
            draw.rectangle((x, 0, x + 26, horizon), fill=frame)
        return
    x = 0
    while x < 920:
        step, tall = int(rng.uniform(60, 130)), int(rng.uniform(40, 130))
        shade = int(rng.uniform(130, 180))
        draw.rectangle(
            (x, horizon - tall, x + step - 6, horizon),
            fill=lit((shade, shade - 8, shade - 4), light),
        )
        x += step


def add_weather(
    image: Image.Image, weather: str, time: str, rng: np.random.Generator
) -> Image.Image:
    """Add fog, rain, snow or lightning.

    Args:
        image: The picture, modified in place except for fog.
        weather: One of `WEATHERS`.
        time: Time of day, for the colours.
        rng: Random generator of the positions of drops and flakes.

    Returns:
        The picture with its weather (a new one for fog, else the same).
    """
    if weather == "fog":
        grey = lit((214, 218, 222), light_of(time, "clear"))
        return Image.blend(image, Image.new("RGB", image.size, grey), 0.5)
    draw = ImageDraw.Draw(image)
    light = light_of(time, "clear")
    if weather in ("rain", "storm"):
        drop, slant = lit((206, 222, 244), (light[0] + 0.2, light[1] + 0.2, light[2] + 0.2)), 14
        for x, y in zip(rng.integers(0, 960, 130), rng.integers(-30, 520, 130), strict=True):
            draw.line((x, y, x - slant, y + 40), fill=drop, width=3)
    if weather == "storm":
        x = int(rng.uniform(120, 800))
        bolt = [
            (x, 0),
            (x - 40, 110),
            (x - 4, 104),
            (x - 60, 250),
            (x + 34, 84),
            (x, 90),
            (x + 40, 0),
        ]
        draw.polygon(bolt, fill=(255, 250, 190))
    if weather == "snow":
        flake = mix(lit((255, 255, 255), light), (255, 255, 255), 0.35)
        for x, y, r in zip(
            rng.integers(0, 920, 170),
            rng.integers(0, 520, 170),
            rng.integers(3, 8, 170),
            strict=True,
        ):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=flake)
    return image
