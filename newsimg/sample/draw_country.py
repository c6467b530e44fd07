"""Draw subjects of the country: damaged houses, masts, volcanoes and dishes."""

import math

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
    mix,
)


def flood(pen: Pen, colour: Colour) -> None:
    """Draw a flooded house: only roof and upper walls above brown water."""
    pen.rect(-0.36, 0.05, 0.36, 0.45, colour)
    pen.poly([(-0.46, 0.45), (0.46, 0.45), (0, 0.85)], (150, 70, 50))
    pen.rect(-0.24, 0.2, -0.08, 0.36, GLASS)
    pen.rect(0.08, 0.2, 0.24, 0.36, GLASS)
    pen.rect(0.18, 0.6, 0.28, 0.85, DARK)
    waves = [(-0.62 + 0.155 * i, 0.1 + 0.05 * (i % 2)) for i in range(9)]
    pen.poly([*waves, (0.62, -0.1), (-0.62, -0.1)], (134, 116, 84))
    pen.line(waves, 0.025, PALE)


def turbine(pen: Pen, colour: Colour) -> None:
    """Draw a wind turbine: a white mast and three blades in the main colour."""
    pen.poly([(-0.035, 0), (0.035, 0), (0.018, 0.8), (-0.018, 0.8)], PALE)
    for turn in (0.3, 2.394, 4.489):
        tip = (0.42 * math.cos(turn), 0.8 + 0.42 * math.sin(turn))
        pen.line([(0, 0.8), tip], 0.05, colour)
    pen.disc(0, 0.8, 0.05, DARK)


def cabin_on_fire(pen: Pen, colour: Colour) -> None:
    """Draw a cabin with flames on its roof, smoke, and a fir tree beside it."""
    for x, y, radius in ((0.1, 1.1, 0.16), (0.24, 1.3, 0.2), (-0.02, 0.95, 0.12)):
        pen.disc(x, y, radius, (92, 88, 90))
    for x, height in ((-0.3, 0.8), (-0.1, 1.05), (0.12, 0.95), (0.3, 0.75)):
        pen.poly([(x - 0.13, 0.35), (x + 0.13, 0.35), (x + 0.02, height)], FLAME, glow=True)
        pen.poly([(x - 0.07, 0.35), (x + 0.07, 0.35), (x, height - 0.2)], LAMP, glow=True)
    pen.rect(-0.34, 0, 0.34, 0.36, colour)
    pen.poly([(-0.42, 0.36), (0.42, 0.36), (0.2, 0.52), (-0.2, 0.52)], BLACK)
    pen.rect(-0.06, 0, 0.1, 0.22, FLAME, glow=True)
    for base in (0.08, 0.28, 0.48):
        pen.poly([(-0.66, base), (-0.34, base), (-0.5, base + 0.3)], (34, 88, 52))


def pylon(pen: Pen, colour: Colour) -> None:
    """Draw a power pylon: a lattice mast in the main colour with sagging cables."""
    pen.line([(-0.24, 0), (-0.05, 1.0)], 0.045, colour)
    pen.line([(0.24, 0), (0.05, 1.0)], 0.045, colour)
    for low, high in ((0.05, 0.35), (0.35, 0.62)):
        pen.line([(-0.24 + 0.19 * low, low), (0.24 - 0.19 * high, high)], 0.025, colour)
        pen.line([(0.24 - 0.19 * low, low), (-0.24 + 0.19 * high, high)], 0.025, colour)
    for y, half in ((0.68, 0.42), (0.9, 0.32)):
        pen.rect(-half, y - 0.025, half, y + 0.025, colour)
        for side in (-1, 1):
            sag = [(side * half, y), (side * (half + 0.2), y - 0.1), (side * 0.75, y - 0.12)]
            pen.line(sag, 0.015, BLACK)
            pen.rect(side * half - 0.02, y - 0.12, side * half + 0.02, y, DARK)


def volcano(pen: Pen, colour: Colour) -> None:
    """Draw a volcano: a dark cone, lava in the main colour, a column of ash."""
    for x, y, radius in ((0, 0.95, 0.12), (0.1, 1.12, 0.17), (0.26, 1.26, 0.2)):
        pen.disc(x, y, radius, (110, 104, 106))
    pen.poly([(-0.72, 0), (0.72, 0), (0.14, 0.8), (-0.14, 0.8)], (84, 64, 58))
    pen.poly([(-0.14, 0.8), (0.14, 0.8), (0.06, 0.68), (-0.06, 0.72)], colour, glow=True)
    pen.poly([(-0.06, 0.76), (0.06, 0.76), (0.3, 0.1), (0.14, 0.1)], colour, glow=True)
    pen.poly([(-0.1, 0.76), (0, 0.76), (-0.2, 0.2), (-0.3, 0.2)], colour, glow=True)
    pen.line([(0, 0.8), (-0.14, 1.0)], 0.04, colour, glow=True)
    pen.line([(0, 0.8), (0.04, 1.05)], 0.04, colour, glow=True)


def dish(pen: Pen, colour: Colour) -> None:
    """Draw a radio telescope: a tilted bowl in the main colour on a lattice stand."""
    pen.poly([(-0.28, 0), (0.28, 0), (0.08, 0.42), (-0.08, 0.42)], GREY)
    pen.line([(-0.2, 0.05), (0.08, 0.36)], 0.03, DARK)
    pen.line([(0.2, 0.05), (-0.08, 0.36)], 0.03, DARK)
    bowl = [(0.5 * math.cos(t / 8), 0.68 + 0.34 * math.sin(t / 8)) for t in range(17, 43)]
    pen.poly(bowl, colour)
    pen.poly([bowl[0], bowl[-1], bowl[-4], bowl[3]], mix(colour, PALE, 0.5))
    pen.line([(-0.1, 0.55), (0.2, 1.05)], 0.025, DARK)
    pen.line([(0.4, 0.6), (0.2, 1.05)], 0.025, DARK)
    pen.disc(0.2, 1.05, 0.05, BROWN)
