"""Draw subjects with people: players, protesters and singers."""

from newsimg.sample.pen import BLACK, BROWN, DARK, GREY, LAMP, PALE, SKIN, Colour, Pen, mix


def _person(pen: Pen, x: float, height: float, shirt: Colour) -> None:
    """Draw a standing figure of the given height."""
    pen.line([(x - 0.06 * height, 0), (x - 0.03 * height, 0.42 * height)], 0.09 * height, BLACK)
    pen.line([(x + 0.06 * height, 0), (x + 0.03 * height, 0.42 * height)], 0.09 * height, BLACK)
    pen.rect(x - 0.13 * height, 0.4 * height, x + 0.13 * height, 0.76 * height, shirt)
    pen.disc(x, 0.87 * height, 0.1 * height, SKIN)


def footballer(pen: Pen, colour: Colour) -> None:
    """Draw a running player in a shirt of the main colour, and a ball."""
    pen.line([(0, 0.45), (-0.24, 0.24), (-0.32, 0.04)], 0.09, SKIN)
    pen.line([(0, 0.45), (0.2, 0.26), (0.3, 0.02)], 0.09, SKIN)
    pen.rect(-0.13, 0.36, 0.13, 0.52, PALE)
    pen.poly([(-0.16, 0.48), (0.16, 0.48), (0.2, 0.84), (-0.14, 0.84)], colour)
    pen.line([(0.14, 0.8), (0.36, 0.62)], 0.08, colour)
    pen.line([(-0.1, 0.8), (-0.32, 0.66)], 0.08, colour)
    pen.disc(0.05, 0.95, 0.1, SKIN)
    pen.disc(0.5, 0.09, 0.09, (250, 250, 250))
    pen.disc(0.5, 0.09, 0.035, BLACK)


def protester(pen: Pen, colour: Colour) -> None:
    """Draw a wide banner in the main colour over the heads of a crowd."""
    for x, height, shirt in ((-0.4, 0.56, GREY), (-0.14, 0.6, BROWN), (0.36, 0.57, DARK)):
        _person(pen, x, height, shirt)
    _person(pen, 0.12, 0.55, (92, 110, 140))
    for x in (-0.42, 0.42):
        pen.line([(x, 0.3), (x, 1.0)], 0.035, BROWN)
    pen.rect(-0.54, 0.66, 0.54, 1.02, colour)
    ink = mix(colour, BLACK, 0.75)
    for y, half in ((0.92, 0.42), (0.83, 0.34), (0.75, 0.4)):
        pen.rect(-half, y - 0.02, half, y + 0.02, ink)


def singer(pen: Pen, colour: Colour) -> None:
    """Draw a singer under a cone of light in the main colour, on a stage with loudspeakers."""
    beam = mix(colour, (255, 255, 255), 0.25)
    pen.poly([(-0.08, 1.35), (0.08, 1.35), (0.46, 0.12), (-0.46, 0.12)], beam, glow=True)
    pen.rect(-0.56, 0, 0.56, 0.14, BLACK)
    pen.rect(-0.56, 0.14, -0.38, 0.6, DARK)
    pen.rect(0.38, 0.14, 0.56, 0.6, DARK)
    for x in (-0.47, 0.47):
        pen.disc(x, 0.26, 0.06, GREY)
        pen.disc(x, 0.46, 0.06, GREY)
    pen.poly([(-0.16, 0.14), (0.16, 0.14), (0.09, 0.7), (-0.09, 0.7)], BLACK)
    pen.disc(0, 0.8, 0.1, SKIN)
    pen.line([(0.22, 0.14), (0.2, 0.7), (0.12, 0.76)], 0.025, LAMP)
    pen.line([(0.08, 0.62), (0.2, 0.68)], 0.06, BLACK)
