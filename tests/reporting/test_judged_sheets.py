"""Sheets of judged pictures: what is drawn where, and how much."""

from pathlib import Path

import pytest
from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.reporting.judged import sheets
from newsimg.reporting.judged.sheets import JudgedHeadline, draw_sheet, write_sheets

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Image]:
    images = []
    for name, colour in (("red", RED), ("blue", BLUE)):
        path = tmp_path / f"{name}.png"
        PILImage.new("RGB", (460, 260), colour).save(path)
        images.append(Image(name, path))
    return images


def test_the_pictures_of_a_headline_are_side_by_side_with_the_others_answers_beside(
    pictures: list[Image],
) -> None:
    red, blue = pictures
    judged = [
        JudgedHeadline("A headline", [(red, "plain: 2"), (blue, "reranked: 1")], "tie 1"),
        JudgedHeadline("Another", [(blue, "plain: 0"), (Image("gone", Path("gone.png")), "x: 3")]),
    ]
    sheet = draw_sheet(judged)
    width, height = sheets.THUMBNAIL
    middle = sheets.MARGIN + sheets.HEADLINE_HEIGHT + height // 2
    first, second = sheets.MARGIN + width // 2, sheets.MARGIN + sheets.GAP + width * 3 // 2
    assert sheet.getpixel((first, middle)) == RED
    assert sheet.getpixel((second, middle)) == BLUE
    below = (sheet.height - sheets.MARGIN) // 2
    assert sheet.getpixel((first, middle + below)) == BLUE
    assert sheet.getpixel((second, middle + below)) == (255, 255, 255)  # it cannot be read


def test_only_the_first_headlines_are_drawn_on_sheets_of_a_bounded_number(
    pictures: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "PER_SHEET", 2)
    monkeypatch.setattr(sheets, "MAX_SHEETS", 2)
    judged = [JudgedHeadline(f"Headline {i}", [(pictures[0], "a")]) for i in range(5)]
    assert write_sheets(judged, tmp_path) == 4
    written = sorted(path.name for path in tmp_path.glob("judged_*"))
    assert written == ["judged_01.jpg", "judged_02.jpg"]
    assert write_sheets(judged[:0], tmp_path / "none") == 0
