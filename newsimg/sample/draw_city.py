"""Draw subjects of the city: buildings, screens, cranes and bridges."""

from newsimg.sample.pen import BLACK, BROWN, DARK, GLASS, GREY, LAMP, PALE, Colour, Pen


def court(pen: Pen, colour: Colour) -> None:
    """Draw a court house: steps, columns, a pediment in the main colour."""
    pen.rect(-0.62, 0, 0.62, 0.06, GREY)
    pen.rect(-0.56, 0.06, 0.56, 0.12, PALE)
    pen.rect(-0.5, 0.12, 0.5, 0.6, DARK)
    for x in (-0.45, -0.27, -0.09, 0.09, 0.27, 0.45):
        pen.rect(x - 0.05, 0.12, x + 0.05, 0.6, PALE)
    pen.rect(-0.56, 0.6, 0.56, 0.68, PALE)
    pen.poly([(-0.6, 0.68), (0.6, 0.68), (0, 0.95)], colour)
    pen.disc(0, 0.77, 0.06, PALE)


def chart(pen: Pen, colour: Colour) -> None:
    """Draw a stock chart: a jagged line in the main colour on a dark screen."""
    pen.rect(-0.08, 0, 0.08, 0.15, GREY)
    pen.rect(-0.56, 0.12, 0.56, 0.95, BLACK)
    pen.rect(-0.52, 0.16, 0.52, 0.91, (18, 30, 52), glow=True)
    for y in (0.3, 0.46, 0.62, 0.78):
        pen.line([(-0.5, y), (0.5, y)], 0.008, (70, 84, 110), glow=True)
    heights = (0.34, 0.5, 0.42, 0.62, 0.52, 0.74, 0.6, 0.82)
    points = [(-0.48 + 0.137 * i, y) for i, y in enumerate(heights)]
    pen.line(points, 0.06, colour, glow=True)
    for x, y in points:
        pen.rect(x - 0.025, 0.17, x + 0.025, y * 0.45, colour, glow=True)


def hospital(pen: Pen, colour: Colour) -> None:
    """Draw a hospital: a pale block with rows of windows and a cross in the main colour."""
    pen.rect(-0.56, 0, 0.56, 0.62, PALE)
    pen.rect(-0.22, 0.5, 0.22, 0.98, PALE)
    for y in (0.14, 0.36):
        for x in (-0.45, -0.3, 0.3, 0.45):
            pen.rect(x - 0.05, y, x + 0.05, y + 0.13, GLASS)
    pen.rect(-0.1, 0, 0.1, 0.2, DARK)
    pen.rect(-0.06, 0.56, 0.06, 0.92, colour)
    pen.rect(-0.17, 0.68, 0.17, 0.8, colour)
    pen.rect(-0.56, 0.58, -0.22, 0.62, colour)
    pen.rect(0.22, 0.58, 0.56, 0.62, colour)


def ballot_box(pen: Pen, colour: Colour) -> None:
    """Draw a ballot box on a table: a paper half in the slot."""
    pen.rect(-0.5, 0, -0.42, 0.22, BROWN)
    pen.rect(0.42, 0, 0.5, 0.22, BROWN)
    pen.rect(-0.54, 0.2, 0.54, 0.28, BROWN)
    pen.rect(-0.34, 0.28, 0.34, 0.74, colour)
    pen.rect(-0.38, 0.7, 0.38, 0.78, DARK)
    pen.poly([(-0.14, 0.74), (0.1, 0.74), (0.18, 1.0), (-0.06, 1.0)], (250, 250, 246))
    pen.line([(-0.04, 0.84), (0.02, 0.79), (0.1, 0.94)], 0.03, BLACK)
    pen.rect(-0.16, 0.4, 0.16, 0.6, PALE)


def crane(pen: Pen, colour: Colour) -> None:
    """Draw a harbour crane: a tall portal with a long arm and a hanging container."""
    pen.rect(-0.5, 0, 0.4, 0.07, GREY)
    for x in (-0.3, 0.1):
        pen.rect(x - 0.04, 0.07, x + 0.04, 0.9, colour)
    pen.rect(-0.34, 0.4, 0.14, 0.46, colour)
    pen.rect(-0.45, 0.74, 0.66, 0.82, colour)
    pen.line([(-0.1, 1.0), (0.6, 0.8)], 0.025, DARK)
    pen.line([(-0.1, 1.0), (-0.4, 0.8)], 0.025, DARK)
    pen.line([(0.5, 0.76), (0.5, 0.42)], 0.02, BLACK)
    pen.rect(0.36, 0.28, 0.64, 0.42, BROWN)


def bridge(pen: Pen, colour: Colour) -> None:
    """Draw a suspension bridge: two pylons, cables and a deck in the main colour."""
    pen.rect(-0.7, 0.22, 0.7, 0.3, colour)
    for x in (-0.36, 0.36):
        pen.rect(x - 0.04, -0.02, x + 0.04, 0.85, colour)
    cable = [(x / 10, 0.34 + 0.48 * (x / 3.6) ** 2) for x in range(-3, 4)]
    pen.line([(-0.36, 0.82), *cable, (0.36, 0.82)], 0.022, DARK)
    pen.line([(-0.7, 0.34), (-0.36, 0.82)], 0.022, DARK)
    pen.line([(0.36, 0.82), (0.7, 0.34)], 0.022, DARK)
    for x, y in cable:
        pen.line([(x, 0.3), (x, y)], 0.012, DARK)


def tower(pen: Pen, colour: Colour) -> None:
    """Draw a tower block: tall, in the main colour, with a grid of lit windows."""
    pen.rect(-0.3, 0, 0.3, 1.15, colour)
    pen.rect(-0.34, 1.12, 0.34, 1.18, DARK)
    pen.rect(-0.02, 1.18, 0.02, 1.32, DARK)
    for row in range(6):
        for column in range(3):
            x, y = -0.22 + 0.17 * column, 0.14 + 0.16 * row
            pen.rect(x, y, x + 0.1, y + 0.09, LAMP if (row + column) % 3 else BLACK, glow=True)
