"""Draw vehicles: ships, trains, cars, airplanes and rockets."""

from newsimg.sample.pen import (
    BLACK,
    BROWN,
    DARK,
    FLAME,
    GLASS,
    GREY,
    LAMP,
    PALE,
    Colour,
    Pen,
)


def _wheels(pen: Pen, places: tuple[float, ...], radius: float) -> None:
    for x in places:
        pen.disc(x, radius, radius, BLACK)
        pen.disc(x, radius, radius * 0.45, GREY)


def rocket(pen: Pen, colour: Colour) -> None:
    """Draw a rocket on a tail of fire, with fins and nose in the main colour."""
    for x, radius in ((-0.26, 0.15), (0.26, 0.15), (0, 0.18), (-0.42, 0.1), (0.42, 0.1)):
        pen.disc(x, 0.08, radius, PALE)
    pen.poly([(-0.12, 0.4), (0.12, 0.4), (0, -0.02)], FLAME, glow=True)
    pen.poly([(-0.06, 0.4), (0.06, 0.4), (0, 0.15)], LAMP, glow=True)
    pen.rect(-0.12, 0.4, 0.12, 1.05, (240, 240, 240))
    pen.rect(-0.12, 0.62, 0.12, 0.82, colour)
    pen.poly([(-0.12, 1.05), (0.12, 1.05), (0, 1.32)], colour)
    pen.poly([(-0.12, 0.4), (-0.12, 0.6), (-0.28, 0.36)], colour)
    pen.poly([(0.12, 0.4), (0.12, 0.6), (0.28, 0.36)], colour)


def ferry(pen: Pen, colour: Colour) -> None:
    """Draw a ferry: a hull in the main colour, white decks, a funnel."""
    pen.poly([(-0.56, 0.3), (0.62, 0.3), (0.46, 0.02), (-0.46, 0.02)], colour)
    pen.rect(-0.42, 0.3, 0.36, 0.48, (244, 244, 240))
    pen.rect(-0.3, 0.48, 0.2, 0.62, (244, 244, 240))
    for x in (-0.34, -0.2, -0.06, 0.08, 0.22):
        pen.rect(x, 0.35, x + 0.08, 0.43, DARK)
    pen.rect(-0.2, 0.62, -0.04, 0.84, colour)
    pen.disc(-0.22, 0.92, 0.07, GREY)
    pen.line([(-0.6, 0.03), (0.6, 0.03)], 0.03, PALE)


def train(pen: Pen, colour: Colour) -> None:
    """Draw a train: two coaches in the main colour on rails with sleepers."""
    for x in range(-6, 7):
        pen.rect(x / 10 - 0.025, -0.06, x / 10 + 0.025, 0.02, BROWN)
    pen.rect(-0.66, 0, 0.66, 0.035, DARK)
    _wheels(pen, (-0.45, -0.2, 0.14, 0.4), 0.06)
    pen.rect(-0.58, 0.09, -0.05, 0.46, colour)
    pen.poly([(-0.02, 0.09), (0.62, 0.09), (0.5, 0.46), (-0.02, 0.46)], colour)
    for left in (-0.53, -0.36, -0.19, 0.03, 0.2):
        pen.rect(left, 0.26, left + 0.11, 0.4, GLASS)
    pen.poly([(0.38, 0.26), (0.56, 0.26), (0.51, 0.4), (0.38, 0.4)], BLACK)
    pen.disc(0.57, 0.16, 0.03, LAMP, glow=True)


def bus(pen: Pen, colour: Colour) -> None:
    """Draw a bus: a long high box in the main colour with a row of windows."""
    pen.rect(-0.56, 0.1, 0.56, 0.66, colour)
    for x in (-0.5, -0.28, -0.06, 0.16):
        pen.rect(x, 0.38, x + 0.17, 0.58, GLASS)
    pen.rect(0.39, 0.14, 0.53, 0.58, DARK)
    pen.rect(-0.56, 0.27, 0.36, 0.31, BLACK)
    _wheels(pen, (-0.34, 0.24), 0.12)


def plough(pen: Pen, colour: Colour) -> None:
    """Draw a snow plough: a truck in the main colour pushing a heap of snow."""
    pen.disc(0.55, 0.06, 0.16, (248, 250, 255))
    pen.disc(0.66, 0.02, 0.12, (248, 250, 255))
    pen.rect(-0.52, 0.16, 0.1, 0.5, DARK)
    pen.rect(0.1, 0.14, 0.36, 0.68, colour)
    pen.rect(0.18, 0.44, 0.36, 0.62, GLASS)
    pen.rect(-0.52, 0.12, 0.36, 0.24, colour)
    pen.poly([(0.4, 0.02), (0.56, 0.0), (0.48, 0.4), (0.4, 0.4)], FLAME)
    pen.rect(0.17, 0.68, 0.25, 0.76, FLAME, glow=True)
    _wheels(pen, (-0.36, -0.1, 0.24), 0.11)


def airplane(pen: Pen, colour: Colour) -> None:
    """Draw an airplane in the air, its tail and wing in the main colour."""
    y = 0.72
    pen.poly([(-0.56, y + 0.06), (-0.46, y + 0.06), (-0.42, y + 0.36), (-0.58, y + 0.36)], colour)
    pen.poly(
        [(-0.56, y + 0.1), (0.46, y + 0.1), (0.62, y), (0.5, y - 0.08), (-0.46, y - 0.06)],
        (244, 244, 244),
    )
    pen.poly([(0.16, y), (-0.06, y), (-0.36, y - 0.32), (-0.22, y - 0.32)], colour)
    pen.poly([(0.08, y + 0.1), (-0.06, y + 0.1), (-0.24, y + 0.28), (-0.14, y + 0.28)], colour)
    for x in (-0.36, -0.24, -0.12, 0, 0.12, 0.24, 0.36):
        pen.disc(x, y + 0.045, 0.022, DARK)


def tractor(pen: Pen, colour: Colour) -> None:
    """Draw a tractor: a big rear wheel, a small front wheel, a cab and a plough behind."""
    pen.rect(-0.1, 0.24, 0.48, 0.46, colour)
    pen.rect(-0.3, 0.3, 0.06, 0.5, colour)
    pen.rect(-0.26, 0.5, 0.04, 0.8, GLASS)
    pen.rect(-0.32, 0.78, 0.08, 0.85, colour)
    pen.rect(0.34, 0.46, 0.39, 0.68, BLACK)
    pen.line([(-0.3, 0.24), (-0.6, 0.16), (-0.62, 0.0)], 0.05, BROWN)
    _wheels(pen, (-0.2,), 0.24)
    _wheels(pen, (0.38,), 0.13)


def police_car(pen: Pen, colour: Colour) -> None:
    """Draw a police car: a low car, a stripe in the main colour, two lamps on the roof."""
    pen.poly([(-0.28, 0.34), (0.26, 0.34), (0.14, 0.56), (-0.2, 0.56)], BLACK)
    pen.poly([(-0.2, 0.36), (-0.04, 0.36), (-0.04, 0.52), (-0.14, 0.52)], GLASS)
    pen.poly([(0.02, 0.36), (0.19, 0.36), (0.11, 0.52), (0.02, 0.52)], GLASS)
    pen.rect(-0.56, 0.1, 0.56, 0.36, (236, 238, 242))
    pen.rect(-0.56, 0.17, 0.56, 0.3, colour)
    pen.rect(-0.14, 0.56, 0.0, 0.66, (235, 40, 40), glow=True)
    pen.rect(0.0, 0.56, 0.14, 0.66, (50, 90, 255), glow=True)
    pen.disc(0.54, 0.24, 0.05, LAMP, glow=True)
    _wheels(pen, (-0.34, 0.34), 0.12)
