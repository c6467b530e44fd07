"""Files of crops of single pictures, as read by `task.crops`."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from submissions import draw, write_results
from test_submit import open_zipped, submit

from newsimg.datatypes import Image
from newsimg.reporting.results import read_results
from newsimg.submission.crops import read_crops
from newsimg.submission.rendering import render_picture

BOX = [0.1, 0.2, 0.6, 0.2 + 0.5 * 600 / 800 * 260 / 460]  # of a picture of 600x800


@pytest.fixture
def results() -> Path:
    pictures = {f"p{i}": draw(Path(f"p{i}.png"), i, (600, 800)) for i in range(4)}
    ranked = {"1": ["p0", "p1"], "2": ["p1", "p0"], "3": ["p2", "p3"]}
    return write_results(Path("a.parquet"), ranked, pictures)


def row(**changes: Any) -> dict[str, Any]:
    return {"run": "clip", "article_id": "1", "image_id": "p0", "crop": "letterbox"} | changes


def write_crops(*rows: Any, version: Any = 1) -> str:
    Path("crops.json").write_text(json.dumps({"version": version, "crops": rows}))
    return "crops.json"


def read_zipped(article_id: str) -> np.ndarray:
    return np.asarray(open_zipped(f"team_clip/{article_id}_team_clip.png"))


def render(name: str, crop: Any) -> np.ndarray:
    Path("expected.png").write_bytes(render_picture(Image("x", Path(name)), crop))
    return np.asarray(PILImage.open("expected.png"))


def test_crops_of_the_file_apply_to_their_pictures_and_the_default_to_the_others(
    results: Path,
) -> None:
    file = write_crops(row(), row(article_id="2", image_id="p1", crop=BOX))
    metrics = submit({"clip": results}, crops=file)
    np.testing.assert_array_equal(read_zipped("1"), render("p0.png", "letterbox"))
    np.testing.assert_array_equal(read_zipped("2"), render("p1.png", tuple(BOX)))
    np.testing.assert_array_equal(read_zipped("3"), render("p2.png", "center"))
    assert (metrics["n_crops"], metrics["n_unused_crops"]) == (2, 0)


def test_a_crop_of_a_picture_that_is_no_longer_chosen_is_reported_and_not_used(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        metrics = submit({"clip": results}, crops=write_crops(row(image_id="p1")))
    np.testing.assert_array_equal(read_zipped("1"), render("p0.png", "center"))
    assert (metrics["n_crops"], metrics["n_unused_crops"]) == (0, 1)
    assert "the crop of p1 is not used: run clip no longer chooses it for article 1" in caplog.text


def test_a_crop_applies_to_both_sizes_of_2025(results: Path) -> None:
    sizes = {"SMALL": None, "LARGE": None}
    submit({"clip": results}, crops=write_crops(row()), layout=2025, subset=sizes)
    for size in sizes:
        shown = np.asarray(open_zipped(f"team/RET_clip_{size}/1_team_clip.png"))
        np.testing.assert_array_equal(shown, render("p0.png", "letterbox"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row(run="clap"), r"crop 1: unknown run 'clap'; did you mean 'clip'\?; task.runs has clip"),
        (row(article_id="9"), r"crop 1: run clip has no article '9'"),
        (row(article_id=1), r"article_id must be a string, got 1"),
        (row(image_id="p9"), r"run clip has no image 'p9' for article '1'"),
        (row(image_id="p3"), r"run clip has no image 'p3' for article '1'"),
        (row(crop="left"), r"crop must be one of center, saliency, letterbox, or a box .* 'left'"),
        (row(crop=[0, 0, 1]), r"or a box \[left, top, right, bottom\] .*, got \[0, 0, 1\]"),
        (row(crop=[0, 0, 1.5, 1]), r"in fractions of the picture, got \[0, 0, 1.5, 1\]"),
        (row(crop=[0, 0, float("nan"), 1]), r"in fractions of the picture, got \[0, 0, nan, 1\]"),
        (row(crop=[0, 0, 10**400, 1]), r"in fractions of the picture"),
        (row(crop=[0, 0, True, 1]), r"in fractions of the picture, got \[0, 0, True, 1\]"),
        (row(crop=[0.5, 0, 0.5, 1]), r"left < right and top < bottom, got \[0.5, 0, 0.5, 1\]"),
        (row() | {"zoom": 2}, r"must have the keys run, article_id, image_id, crop, got .*'zoom'"),
        ("p0", r"must have the keys .* got p0"),
    ],
)
def test_an_invalid_crop_is_named_with_its_number(wrong: Any, message: str, results: Path) -> None:
    with pytest.raises(ValueError, match=r"crops.json, " + (
        message if message.startswith("crop 1") else "crop 1: .*" + message)):  # fmt: skip
        submit({"clip": results}, crops=write_crops(wrong))
    assert not Path("out/team.zip").exists()


def test_a_box_of_other_proportions_is_refused_with_run_and_article(results: Path) -> None:
    message = r"run clip, article '1': the box \[0.0, 0.0, 1.0, 1.0\] of a picture of 600x800 must"
    with pytest.raises(ValueError, match=message):
        submit({"clip": results}, crops=write_crops(row(crop=[0, 0, 1, 1])))
    assert not Path("out/team.zip").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crops", r"crops.json is not JSON: "),
        ("[" * 100_000, r"crops.json is not JSON: "),
        ("[]", r'crops.json must be \{"version": 1, "crops": \[...\]\}'),
        ('{"version": 1}', r'crops.json must be \{"version": 1, "crops": \[...\]\}'),
        ('{"version": 2, "crops": []}', r"crops.json: version must be 1, got 2"),
        ('{"crops": []}', r"crops.json: version must be 1, got None"),
    ],
)
def test_a_file_that_is_not_of_crops_is_refused(text: str, message: str, results: Path) -> None:
    Path("crops.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_crops(Path("crops.json"), {"clip": read_results(results)})


def test_a_missing_file_and_a_second_crop_of_a_picture_are_refused(results: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file of crops nowhere.json; task.crops is"):
        submit({"clip": results}, crops="nowhere.json")
    with pytest.raises(ValueError, match=r"crop 2: a second crop of run, article and image"):
        submit({"clip": results}, crops=write_crops(row(), row(crop="center")))
