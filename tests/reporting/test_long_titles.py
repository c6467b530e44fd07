"""Titles of any length: whatever shows them takes a line of them, and no more time than that."""

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Outcome
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from newsimg.reporting import contact_sheet
from newsimg.reporting.console import cut_text
from newsimg.reporting.plots import plot_curves
from newsimg.reranker.captions import clean_caption, parse_captions

N_LETTERS = 25_000
WORDS = ["storm", "ferry", "minister", "Überschwemmung", "洪水で橋が閉鎖", "Aviation", "VAT"]
LONG = {
    "words": "storm over bridge " * N_LETTERS,
    "one word": "x" * N_LETTERS,
    "quotes": '"' * N_LETTERS,
    "numbers": "1. " * N_LETTERS,
    "formulas": "${1} " * N_LETTERS,
    "narrow letters": "il" * N_LETTERS,
}


@given(text=st.text(max_size=40), n_letters=st.integers(2, 30))
def test_a_cut_text_is_one_line_of_so_many_letters_and_says_that_it_is_cut(
    text: str, n_letters: int
) -> None:
    cut, line = cut_text(text, n_letters), " ".join(text.split())
    assert len(cut) <= n_letters
    assert "\n" not in cut
    if len(text) <= n_letters:
        assert cut == line
    elif cut.endswith("…"):
        assert line.startswith(cut[:-1]) or text.endswith("…")
    else:
        assert cut == line


def test_a_headline_on_the_sheet_is_as_long_as_the_line_has_room() -> None:
    font = contact_sheet._font(13)

    def cut_by_one(text: str, width: int) -> str:
        if font.getlength(text) <= width:
            return text
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        return text.rstrip() + "…"

    choose = random.Random(0)
    for _ in range(12):
        title = " ".join(choose.choice(WORDS) for _ in range(choose.randint(1, 25)))
        width = choose.randint(20, 400)
        assert contact_sheet.fit_text(title, width) == cut_by_one(title, width)


@pytest.mark.parametrize("kind", LONG)
def test_endless_headlines_and_labels_are_drawn(kind: str, tmp_path: Path) -> None:
    """Measured letter by letter, or drawn in full, each of them takes from seconds to hours."""
    line = contact_sheet.fit_text(LONG[kind], 700)
    assert contact_sheet.draw_text(line, 13).width <= 701
    assert contact_sheet.fit_text(LONG[kind] * 40, 700) == line
    curve = pd.DataFrame({"w_lo": [0.0], "w_hi": [1.0], "hits_at_1": [0.5]})
    plot_curves({LONG[kind]: curve}, "hits_at_1", tmp_path / "curves.png")
    assert PILImage.open(tmp_path / "curves.png").size == (700, 420)


def test_an_endless_list_mark_is_no_caption() -> None:
    assert parse_captions(LONG["numbers"], "Storm", 5) == []
    assert clean_caption('"1. “a wave”"') == "a wave"


def test_a_run_over_titles_of_25_000_letters_says_what_it_says_of_others(
    tmp_path: Path, tiny_clip: Path, newsimg_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "pictures").mkdir()
    titles = ['""'.join(text[:N_LETTERS].split('"'))[:N_LETTERS] for text in LONG.values()]
    rows = [f'a{i},"{title}",{i}' for i, title in enumerate(titles)]
    for i in range(len(rows)):
        PILImage.new("RGB", (8, 8), (i * 9, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    csv_path = tmp_path / "a.csv"
    csv_path.write_text("\n".join(["article_id,article_title,image_id", *rows]), encoding="utf-8")
    options = [
        "data=newsimages",
        f"data.csv_path={csv_path}",
        f"data.image_dir={tmp_path / 'pictures'}",
        "data.split=all",
        f"backbone.model={tiny_clip}",
        "reranker=identity",
        "top_k=3",
        "tracking=none",
    ]
    measured = newsimg_here(*options, f"hydra.run.dir={tmp_path / 'run'}")
    assert measured.code == 0, measured.stderr
    assert "6 queries, 6 images" in measured.stdout
    assert (tmp_path / "run" / "report.html").is_file()
    sheet = PILImage.open(tmp_path / "run" / "contact_sheet.jpg")
    found = newsimg_here(*options, "task=infer", f"query={LONG['words'][:N_LETTERS]}")
    assert found.code == 0, found.stderr
    assert "1 headline, 6 pictures" in found.stdout
    assert len(found.stdout) < 5000
    assert sheet.width < 1100
