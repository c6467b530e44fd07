"""Pictures on disk: upright, in RGB, in order, and named when they are broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.images import open_image, open_images

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}


def noise(seed: int = 0, size: tuple[int, int] = (31, 23)) -> PILImage.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return PILImage.fromarray(pixels)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
def test_pixels_come_as_they_were_saved(extension: str, tmp_path: Path) -> None:
    noise().save(tmp_path / f"a.{extension}")
    opened = open_image(Image("a", tmp_path / f"a.{extension}"))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(noise()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        grey = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
        PILImage.fromarray(grey).save(path)
    else:
        noise().convert(mode).save(path)
    opened = open_image(Image("a", path))
    assert opened.mode == "RGB"
    if mode == "I;16":  # sixteen bits of grey keep their shades
        np.testing.assert_allclose(np.asarray(opened)[..., 0], grey / 257, atol=1)


def test_a_picture_is_turned_upright_by_its_exif_orientation(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    noise(size=(40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(Image("a", tmp_path / "a.jpg")).size == (20, 40)


def test_many_pictures_come_in_order(tmp_path: Path) -> None:
    images = []
    for i in range(20):
        PILImage.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
        images.append(Image(str(i), tmp_path / f"{i}.png"))
    assert [image.getpixel((0, 0))[0] for image in open_images(images)] == list(range(20))


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no picture .*a\.jpg"):
        open_image(Image("a", tmp_path / "a.jpg"))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_what_is_no_picture_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the picture .*a\.jpg"):
        open_image(Image("a", tmp_path / "a.jpg"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on the bytes that it can do without
@pytest.mark.parametrize("extension", FORMATS)
def test_a_picture_cut_off_anywhere_or_with_bytes_changed_opens_or_is_named(
    extension: str, tmp_path: Path
) -> None:
    """Decoders raise errors of many types; a user needs the one that says which picture it was."""
    path = tmp_path / f"a.{extension}"
    noise(1).save(path, FORMATS[extension])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    broken = [whole[: int(end)] for end in random.integers(0, len(whole), 60)]
    for _ in range(150):
        changed = bytearray(whole)
        for position in random.integers(0, min(len(whole), 400), 3):
            changed[position] = random.integers(256)
        broken.append(bytes(changed))
    refused, messages = 0, set()
    for content in broken:
        path.write_bytes(content)
        try:
            open_image(Image("a", path))
        except ValueError as error:
            refused += 1
            messages.add(str(error).partition(":")[0])
    assert messages == {f"cannot read the picture {path}"}
    assert refused > 20


def test_a_broken_picture_among_many_is_the_one_that_is_named(tmp_path: Path) -> None:
    images = []
    for i in range(6):
        noise(i).save(tmp_path / f"{i}.jpg")
        images.append(Image(str(i), tmp_path / f"{i}.jpg"))
    content = images[4].path.read_bytes()
    images[4].path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"4\.jpg"):
        list(open_images(images))
