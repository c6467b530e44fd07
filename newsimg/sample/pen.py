"""Draw simple shapes in the coordinates of a subject."""

from collections.abc import Sequence

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

BLACK: Colour = (30, 30, 34)
GREY: Colour = (128, 132, 138)
DARK: Colour = (70, 74, 82)
PALE: Colour = (222, 222, 214)
BROWN: Colour = (120, 82, 50)
SKIN: Colour = (226, 178, 142)
GLASS: Colour = (150, 190, 214)
LAMP: Colour = (255, 226, 130)
FLAME: Colour = (255, 140, 30)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; `share` is that of the second one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Pen:
    """Draws shapes around an origin, y upwards, in units of `size` pixels, under coloured light."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        light: tuple[float, float, float],
        origin: Point,
        size: float,
        facing: int = 1,
    ) -> None:
        """Set the canvas and the coordinates.

        Args:
            draw: The canvas.
            light: Factor on each channel of every colour.
            origin: Pixel of the subject's bottom centre.
            size: Pixels per unit.
            facing: 1, or -1 to mirror left and right.
        """
        self.draw, self.light, self.origin, self.size, self.facing = (
            draw,
            light,
            origin,
            size,
            facing,
        )

    def shade(self, colour: Colour) -> Colour:
        """Return a colour under the light."""
        red, green, blue = (min(255, round(c * f)) for c, f in zip(colour, self.light, strict=True))
        return red, green, blue

    def place(self, x: float, y: float) -> Point:
        """Return the pixel of a point in the subject's coordinates."""
        return (
            self.origin[0] + x * self.size * self.facing,
            self.origin[1] - y * self.size,
        )

    def poly(self, points: Sequence[Point], colour: Colour, glow: bool = False) -> None:
        """Fill a polygon; with `glow` the light is ignored (lamps, flames)."""
        fill = colour if glow else self.shade(colour)
        self.draw.polygon([self.place(x, y) for x, y in points], fill=fill)

    def rect(
        self, x0: float, y0: float, x1: float, y1: float, colour: Colour, glow: bool = False
    ) -> None:
        """Fill a rectangle given by two opposite corners."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, glow)

    def disc(self, x: float, y: float, radius: float, colour: Colour, glow: bool = False) -> None:
        """Fill a circle."""
        centre, pixels = self.place(x, y), radius * self.size
        box = (centre[0] - pixels, centre[1] - pixels, centre[0] + pixels, centre[1] + pixels)
        self.draw.ellipse(box, fill=colour if glow else self.shade(colour))

    def line(
        self, points: Sequence[Point], width: float, colour: Colour, glow: bool = False
    ) -> None:
        """Draw a line of `width` units, at least one pixel."""
        fill = colour if glow else self.shade(colour)
        pixels = max(1, round(width * self.size))
        self.draw.line([self.place(x, y) for x, y in points], fill=fill, width=pixels)
