"""Sheets of the pictures that people judged, with their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PILImage
from PIL import ImageDraw

from newsimg.datatypes import Image
from newsimg.reporting.contact_sheet import (
    COLOURS,
    GAP,
    HEADLINE_HEIGHT,
    MARGIN,
    PAPER,
    draw_text,
    fit_text,
    fit_thumbnail,
)
from newsimg.storage.files import write_atomically

THUMBNAIL = (230, 130)  # the benchmark's 460x260, at a half
PER_SHEET, MAX_SHEETS = 25, 20  # headlines; a sheet of photos takes up to 0.4 MB
CAPTION_HEIGHT = 20
QUALITY = 80
SOFT = COLOURS["unchanged"]


@dataclass(frozen=True)
class JudgedHeadline:
    """A headline that people were asked about.

    Attributes:
        title: The headline.
        pictures: Each picture with its caption.
        note: What else was answered; empty for nothing.
    """

    title: str
    pictures: Sequence[tuple[Image, str]]
    note: str = ""


def write_sheets(judged: Sequence[JudgedHeadline], output_dir: Path) -> int:
    """Write `judged_01.jpg` and so on, of the first headlines; return how many are on them.

    Args:
        judged: The headlines, the most interesting first; at most 500 are drawn.
        output_dir: Where.
    """
    drawn = judged[: PER_SHEET * MAX_SHEETS]
    for number, start in enumerate(range(0, len(drawn), PER_SHEET), start=1):
        with write_atomically(output_dir / f"judged_{number:02}.jpg") as temporary:
            draw_sheet(drawn[start : start + PER_SHEET]).save(temporary, "JPEG", quality=QUALITY)
    return len(drawn)


def draw_sheet(judged: Sequence[JudgedHeadline]) -> PILImage.Image:
    """Draw headlines with their pictures side by side."""
    n_pictures = max(len(one.pictures) for one in judged)
    block = HEADLINE_HEIGHT + THUMBNAIL[1] + CAPTION_HEIGHT + MARGIN
    width = 2 * MARGIN + n_pictures * (THUMBNAIL[0] + GAP) + THUMBNAIL[0]
    sheet = PILImage.new("RGB", (width, MARGIN + block * len(judged)), PAPER)
    for i, one in enumerate(judged):
        top = MARGIN + i * block
        sheet.paste(draw_text(fit_text(one.title, width - 2 * MARGIN), 13), (MARGIN, top))
        top += HEADLINE_HEIGHT
        for j, (image, caption) in enumerate(one.pictures):
            left = MARGIN + j * (THUMBNAIL[0] + GAP)
            _draw_picture(sheet, image, (left, top))
            text = fit_text(caption, THUMBNAIL[0])
            sheet.paste(draw_text(text, 12), (left, top + THUMBNAIL[1] + 3))
        if one.note:
            left = MARGIN + len(one.pictures) * (THUMBNAIL[0] + GAP)
            sheet.paste(draw_text(fit_text(one.note, THUMBNAIL[0]), 12, SOFT), (left, top))
    return sheet


def _draw_picture(sheet: PILImage.Image, image: Image, place: tuple[int, int]) -> None:
    try:
        sheet.paste(fit_thumbnail(image, THUMBNAIL), place)
    except (OSError, ValueError):  # people may have answered that it cannot be judged
        x, y = place
        box = (x, y, x + THUMBNAIL[0] - 1, y + THUMBNAIL[1] - 1)
        ImageDraw.Draw(sheet).rectangle(box, outline=SOFT)
        sheet.paste(draw_text("cannot be read", 12, SOFT), (x + GAP, y + GAP))
