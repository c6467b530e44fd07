"""Crops of tall pictures, boxes and the letterbox."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw

from newsimg.datatypes import Image
from newsimg.submission.rendering import (
    Box,
    encode_picture,
    find_box,
    find_shift,
    measure_saliency,
    prefer_top,
    render_picture,
)

Figure = tuple[PILImage.Image, tuple[float, float]]


def draw_background(random: np.random.Generator, width: int, height: int) -> PILImage.Image:
    """Draw a smooth gradient with a blurred pattern and noise."""
    coarse = random.integers(60, 200, (6, 4, 3), dtype=np.uint8)
    smooth = PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)
    noise = random.normal(0, 3, (height, width, 3))
    return PILImage.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def draw_figure(seed: int, share: tuple[float, float], foot: tuple[float, float]) -> Figure:
    """Draw a standing figure; return the picture, and top and bottom of the head.

    Its body has more contrast than its head, like a penguin's or a patterned dress.

    Args:
        seed: Of the random numbers.
        share: Range of the figure's share of the picture's height.
        foot: Range of the empty share below the figure.
    """
    random = np.random.default_rng(seed)
    width, height = [(400, 600), (450, 600), (338, 600)][random.integers(3)]
    picture = draw_background(random, width, height)
    draw = ImageDraw.Draw(picture)
    tall = height * random.uniform(*share)
    bottom = height * (1 - random.uniform(*foot))
    top, head = bottom - tall, tall * random.uniform(0.15, 0.22)
    middle = width * random.uniform(0.35, 0.65)
    dark, light = [
        tuple(int(c) for c in random.integers(*ends, 3)) for ends in ((0, 60), (200, 256))
    ]
    girth = tall * random.uniform(0.15, 0.22)
    draw.ellipse((middle - head / 2, top, middle + head / 2, top + head), fill=dark)
    draw.rectangle((middle - girth, top + head, middle + girth, bottom), fill=light)
    for y in np.arange(top + head + tall * 0.3, bottom - 8, tall * 0.08):  # hem and feet
        draw.rectangle((middle - girth, y, middle + girth, y + tall * 0.03), fill=dark)
    return picture, (top, top + head)


def find_box_without_prior(picture: PILImage.Image) -> Box:
    width, height = picture.size
    inner = width * 260 / 460
    shift = find_shift(measure_saliency(picture).sum(axis=1), inner / height)
    top = (height - inner) / 2 + shift * (height - inner)
    return 0, top, width, top + inner


def count_beheaded(figures: list[Figure], find: Callable[[PILImage.Image], Box]) -> int:
    """Count the figures less than 80 % of whose head is in the crop."""
    n = 0
    for picture, (top, bottom) in figures:
        box = find(picture)
        n += min(bottom, box[3]) - max(top, box[1]) < 0.8 * (bottom - top)
    return n


def find_salient(picture: PILImage.Image) -> Box:
    return find_box(picture, "saliency")


def test_the_prior_of_the_saliency_crop_keeps_the_heads_of_tall_figures() -> None:
    figures = [draw_figure(seed, (0.7, 0.9), (0.02, 0.1)) for seed in range(100)]
    assert count_beheaded(figures, find_box_without_prior) >= 50
    assert count_beheaded(figures, find_salient) <= 10


def test_the_saliency_crop_finds_a_small_figure_at_the_bottom() -> None:
    figures = [draw_figure(seed, (0.25, 0.35), (0.02, 0.06)) for seed in range(100)]
    assert count_beheaded(figures, find_salient) <= 10
    assert count_beheaded(figures, lambda picture: (0, 0, 1, picture.width * 260 / 460)) == 100


@pytest.mark.parametrize("size", [(460, 260), (920, 260), (3000, 400)])
def test_pictures_that_lose_no_height_are_cropped_as_without_a_prior(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    picture = draw_background(random, *size)
    left = find_box(picture, "saliency")[0]
    inner = size[1] * 460 / 260
    shift = find_shift(measure_saliency(picture).sum(axis=0), inner / size[0])
    assert left == pytest.approx((size[0] - inner) / 2 + shift * (size[0] - inner))


def test_the_prior_falls_from_top_to_bottom_and_changes_gradually_with_the_proportions() -> None:
    np.testing.assert_array_equal(prefer_top(64, 0), np.ones(64))
    shares = np.linspace(0, 0.999, 1000)
    priors = np.stack([prefer_top(64, lost) for lost in shares])
    assert (np.diff(priors[1:], axis=1) < 0).all()
    assert np.abs(np.diff(priors, axis=0)).max() < 0.02
    y = np.array([1 / 6, 5 / 6]) * 64 - 0.5  # in the middle of the upper and the lower third
    lost = 1 - 2 / 3 * 260 / 460
    upper, lower = np.exp(np.interp(y, np.arange(64), np.log(prefer_top(64, lost))))
    assert lower / upper == pytest.approx(0.11, abs=0.005)


def decode(content: bytes) -> np.ndarray:
    return np.asarray(PILImage.open(io.BytesIO(content)), np.float64)


@pytest.mark.parametrize("size", [(300, 900), (920, 300), (460, 260), (5, 400)])
def test_a_letterboxed_picture_is_whole_on_white(size: tuple[int, int]) -> None:
    shown = decode(encode_picture(PILImage.new("RGB", size, (200, 0, 0)), "letterbox"))
    assert shown.shape == (260, 460, 3)
    scale = min(460 / size[0], 260 / size[1])
    red = (shown == (200, 0, 0)).all(axis=2)
    white = (shown == 255).all(axis=2)
    assert (red | white).all()
    assert abs(red.any(axis=0).sum() - size[0] * scale) <= 1
    assert abs(red.any(axis=1).sum() - size[1] * scale) <= 1
    for axis in (0, 1):  # in the middle
        before, after = (np.argmax(side) for side in (red.any(axis), red.any(axis)[::-1]))
        assert abs(before - after) <= 1


def test_a_box_is_cropped_as_by_pillow(tmp_path: Path) -> None:
    picture = draw_background(np.random.default_rng(3), 920, 1000)
    picture.save(tmp_path / "a.png")
    box = (0.25, 0.1, 0.75, 0.36)
    expected = picture.resize((460, 260), PILImage.Resampling.LANCZOS, box=(230, 100, 690, 360))
    shown = decode(render_picture(Image("a", tmp_path / "a.png"), box))
    np.testing.assert_array_equal(shown, np.asarray(expected))


@pytest.mark.parametrize(("height", "fits"), [(0.26, True), (0.2609, True), (0.2615, False)])
def test_a_box_must_have_the_proportions_up_to_a_pixel(height: float, fits: bool) -> None:
    picture = PILImage.new("RGB", (920, 1000))
    box = (0.25, 0.1, 0.75, 0.1 + height)
    if fits:
        assert find_box(picture, box) == pytest.approx((230, 100, 690, 100 + 1000 * height))
    else:
        with pytest.raises(ValueError, match=r"proportions 460x260, got 460x261.5"):
            find_box(picture, box)
