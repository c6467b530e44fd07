"""Pictures on disk: upright, in RGB, in order, and named when they are broken."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from newsimg.datatypes import Image
from newsimg.storage.pictures.images import (
    TruncatedPictureError,
    decode_picture,
    measure_picture,
    open_image,
)

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


def encode(picture: PILImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(size: tuple[int, int] = (64, 48)) -> PILImage.Image:
    """Shades that survive JPEG."""
    across = np.linspace(0, 255, size[0])[None, :].repeat(size[1], axis=0)
    down = np.linspace(255, 0, size[1])[:, None].repeat(size[0], axis=1)
    return PILImage.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "options", "tolerance"),
    [
        ("RGB", {}, 12),
        ("RGB", {"progressive": True}, 12),
        ("L", {}, 8),
        ("CMYK", {}, 24),
    ],
)
def test_every_kind_of_jpeg_shows_what_was_saved(
    mode: str, options: dict[str, object], tolerance: int
) -> None:
    picture = smooth()
    decoded = decode_picture(encode(picture.convert(mode), "JPEG", quality=95, **options))
    expected = picture.convert(mode).convert("RGB")
    assert decoded.mode == "RGB"
    difference = np.asarray(decoded, np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "L", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_what_is_transparent_is_white(mode: str, kind: str) -> None:
    if (kind == "GIF" and mode != "P") or (kind == "WEBP" and mode not in ("RGBA", "LA")):
        pytest.skip(f"{kind} has no {mode}")
    layer = PILImage.new("RGBA", (6, 4), (200, 200, 200, 255))
    layer.paste((10, 10, 10, 0), (0, 0, 3, 4))
    options: dict[str, object] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if mode == "P":
        palette = PILImage.new("P", (6, 4), 1)
        palette.putpalette([10, 10, 10, 200, 200, 200])
        palette.paste(0, (0, 0, 3, 4))
        content = encode(palette, kind, transparency=0)
    elif mode in ("L", "RGB"):  # one colour is declared to be transparent
        content = encode(layer.convert(mode), kind, transparency=10 if mode == "L" else (10,) * 3)
    else:
        content = encode(layer.convert(mode), kind, **options)
    decoded = np.asarray(decode_picture(content))
    assert (decoded[:, :3] == 255).all()
    assert (decoded[:, 3:] == 200).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_it_is_the_first_frame(kind: str) -> None:
    frames = [PILImage.new("RGB", (8, 8), (shade, 0, 0)) for shade in (250, 120, 10)]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert decode_picture(content).getpixel((4, 4))[0] >= 245


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_of_exif_are_applied_once_and_measured(
    kind: str, orientation: int
) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    picture = smooth((40, 24))
    options: dict[str, object] = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    content = encode(picture, kind, exif=exif, **options)
    turns = PILImage.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation)
    expected = picture if turn is None else picture.transpose(turn)
    decoded = decode_picture(content)
    assert decoded.size == expected.size == measure_picture(content)
    difference = np.asarray(decoded, np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference).mean() < 6


def test_broken_exif_data_do_not_cost_the_picture() -> None:
    content = bytearray(encode(smooth(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"))
    assert decode_picture(bytes(content)).size == (64, 48)


def test_sixteen_bit_grey_of_any_format_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        decoded = np.asarray(decode_picture(encode(PILImage.fromarray(shades), kind)))
        np.testing.assert_allclose(decoded[..., 0], shades / 257, atol=1)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_may_be_cut_off_anywhere_in_its_second_half(progressive: bool) -> None:
    whole = encode(smooth((200, 160)), "JPEG", quality=90, progressive=progressive)
    for end in range(len(whole) // 2, len(whole), 7):
        assert decode_picture(whole[:end], truncated=True).size == (200, 160)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_told_from_a_broken_one_and_can_be_taken(progressive: bool) -> None:
    whole = encode(smooth((200, 160)), "JPEG", quality=90, progressive=progressive)
    cut = whole[: len(whole) * 4 // 5]
    with pytest.raises(TruncatedPictureError):
        decode_picture(cut)
    taken, expected = decode_picture(cut, truncated=True), decode_picture(whole)
    assert taken.size == expected.size
    top = np.asarray(taken, np.int16)[:60] - np.asarray(expected, np.int16)[:60]
    assert np.abs(top).mean() < 20  # what is there is the picture
    for broken in (b"", b"no picture", whole[:20]):
        with pytest.raises(ValueError, match=r"identify|truncated") as caught:
            decode_picture(broken)
        assert not isinstance(caught.value, TruncatedPictureError)


def test_a_truncated_png_is_broken() -> None:
    whole = encode(noise(), "PNG")
    with pytest.raises(ValueError, match=r"truncated|broken") as caught:
        decode_picture(whole[: len(whole) // 2])
    assert not isinstance(caught.value, TruncatedPictureError)
