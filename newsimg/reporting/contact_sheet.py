"""The contact sheet: headlines, relevant images, and first candidates before and after."""

from bisect import bisect_right
from functools import cache, lru_cache
from pathlib import Path

import pandas as pd
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont, ImageOps

from newsimg.datatypes import Candidates, Collection, Image
from newsimg.reporting.console import cut_text
from newsimg.storage.pictures.images import open_image

N_SHOWN = 5
THUMBNAIL = (138, 78)  # the benchmark's 460x260, at three tenths
GAP = 6
MARGIN = 16
HEADLINE_HEIGHT = 24
LABEL_WIDTH = 64
COLOURS = {"helped": "#1a7f37", "hurt": "#cf222e", "unchanged": "#57606a"}
INK, PAPER, FRAME = "#1f2328", "#ffffff", "#1a7f37"


def draw_contact_sheet(
    collection: Collection,
    retrieved: Candidates,
    reranked: Candidates,
    comparison: pd.DataFrame,
    n_queries: int,
) -> PILImage.Image:
    """Draw up to `n_queries` queries, balanced between helped, hurt and unchanged ones.

    Args:
        collection: The queries and images.
        retrieved: The candidates before reranking.
        reranked: The candidates after reranking.
        comparison: Result of `compare_stages`.
        n_queries: Headlines on the sheet, at least 1.
    """
    chosen = choose_queries(comparison, n_queries)
    block = HEADLINE_HEIGHT + 2 * (THUMBNAIL[1] + GAP) + MARGIN
    width = 2 * MARGIN + (N_SHOWN + 1) * (THUMBNAIL[0] + GAP) + LABEL_WIDTH
    sheet = PILImage.new("RGB", (width, MARGIN + block * len(chosen)), PAPER)
    by_id = {image.image_id: image for image in collection.images}
    for i, position in enumerate(chosen):
        row = comparison.iloc[position]
        stages = [stage.rows[position, :N_SHOWN] for stage in (retrieved, reranked)]
        shown = [[retrieved.images[image].image_id for image in rows] for rows in stages]
        by_id |= {
            retrieved.images[i].image_id: retrieved.images[i] for rows in stages for i in rows
        }
        _draw_query(sheet, MARGIN + i * block, row, shown, by_id)
    return sheet


def choose_queries(comparison: pd.DataFrame, n_queries: int) -> list[int]:
    """Pick positions of helped, hurt and unchanged queries in turn, each kind in its own order."""
    kinds = [list((comparison["outcome"] == kind).to_numpy().nonzero()[0]) for kind in COLOURS]
    chosen: list[int] = []
    while len(chosen) < n_queries and any(kinds):
        for kind in kinds:
            if kind and len(chosen) < n_queries:
                chosen.append(int(kind.pop(0)))
    outcomes = list(COLOURS)
    return sorted(chosen, key=lambda i: (outcomes.index(comparison["outcome"].iloc[i]), i))


def _draw_query(
    sheet: PILImage.Image,
    top: int,
    row: pd.Series,
    shown: list[list[str]],
    images: dict[str, Image],
) -> None:
    draw = ImageDraw.Draw(sheet)
    colour = COLOURS[row["outcome"]]
    sheet.paste(draw_text(row["outcome"], 13, colour, bold=True), (MARGIN, top))
    left = MARGIN + 86
    sheet.paste(draw_text(fit_text(row["title"], sheet.width - left - MARGIN), 13), (left, top))
    top += HEADLINE_HEIGHT
    editors = row["image_id"].split()
    if editors[0] in images:
        height = 2 * THUMBNAIL[1] + GAP
        sheet.paste(fit_thumbnail(images[editors[0]], THUMBNAIL), (MARGIN, top))
        sheet.paste(draw_text("editor's picture", 11), (MARGIN, top + THUMBNAIL[1] + 4))
        draw.line(
            (MARGIN + THUMBNAIL[0] + GAP, top, MARGIN + THUMBNAIL[0] + GAP, top + height), FRAME
        )
    for line, (label, image_ids) in enumerate(zip(("before", "after"), shown, strict=True)):
        y = top + line * (THUMBNAIL[1] + GAP)
        x = MARGIN + THUMBNAIL[0] + 2 * GAP
        sheet.paste(draw_text(label, 11), (x, y + THUMBNAIL[1] // 2 - 7))
        for rank, image_id in enumerate(image_ids):
            x = MARGIN + LABEL_WIDTH + GAP + (rank + 1) * (THUMBNAIL[0] + GAP)
            sheet.paste(fit_thumbnail(images[image_id], THUMBNAIL), (x, y))
            if image_id in editors:
                box = (x, y, x + THUMBNAIL[0] - 1, y + THUMBNAIL[1] - 1)
                draw.rectangle(box, outline=FRAME, width=4)


@lru_cache(maxsize=1024)  # the jobs of a sweep show much the same pictures
def fit_thumbnail(image: Image, size: tuple[int, int]) -> PILImage.Image:
    """Return a picture cut to a size."""
    return ImageOps.fit(open_image(image), size, PILImage.Resampling.BICUBIC)


@lru_cache(maxsize=256)  # likewise
def draw_text(text: str, size: int, colour: str = INK, bold: bool = False) -> PILImage.Image:
    """Return a line of text as a picture."""
    font = _font(size, bold)
    _, _, right, bottom = map(int, font.getbbox(text))
    label = PILImage.new("RGB", (right + 1, bottom + 1), PAPER)
    ImageDraw.Draw(label).text((0, 0), text, fill=colour, font=font)
    return label


@lru_cache(maxsize=256)
def fit_text(text: str, width: int) -> str:
    """Cut a headline to what fits on one line."""
    font = _font(13)
    line = cut_text(text, width)  # more letters than there are pixels cannot fit
    if font.getlength(line) <= width:
        return line
    # Found by halving, as measuring a text of hundreds of letters takes its time.
    lengths = range(len(line))
    n = bisect_right(lengths, float(width), key=lambda n: font.getlength(line[:n] + "…"))
    return line[: max(n - 1, 0)].rstrip() + "…"


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    # DejaVu comes with matplotlib and has more alphabets than Pillow's own font.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
