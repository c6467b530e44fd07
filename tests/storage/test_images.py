"""Decoding of pictures: colour modes, orientation, damaged files."""

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
def test_pixels_of_lossless_formats_are_unchanged(extension: str, tmp_path: Path) -> None:
    noise().save(tmp_path / f"a.{extension}")
    opened = open_image(Image("a", tmp_path / f"a.{extension}"))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(noise()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_colour_mode_is_converted_to_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        grey = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
        PILImage.fromarray(grey).save(path)
    else:
        noise().convert(mode).save(path)
    opened = open_image(Image("a", path))
    assert opened.mode == "RGB"
    if mode == "I;16":  # 16-bit greys are scaled
        np.testing.assert_allclose(np.asarray(opened)[..., 0], grey / 257, atol=1)


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    noise(size=(40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(Image("a", tmp_path / "a.jpg")).size == (20, 40)


def test_a_missing_picture_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no picture .*a\.jpg"):
        open_image(Image("a", tmp_path / "a.jpg"))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_a_file_that_is_not_a_picture_is_named_in_the_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the picture .*a\.jpg"):
        open_image(Image("a", tmp_path / "a.jpg"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's warnings about optional data
@pytest.mark.parametrize("extension", FORMATS)
def test_a_damaged_picture_is_decoded_or_named_in_the_error(extension: str, tmp_path: Path) -> None:
    """Decoders raise many types of errors; all must be converted to one that names the picture."""
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
    """A gradient that JPEG preserves."""
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
def test_every_kind_of_jpeg_is_decoded(
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
def test_transparent_pixels_are_white(mode: str, kind: str) -> None:
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
    elif mode in ("L", "RGB"):  # one colour is marked as transparent
        content = encode(layer.convert(mode), kind, transparency=10 if mode == "L" else (10,) * 3)
    else:
        content = encode(layer.convert(mode), kind, **options)
    decoded = np.asarray(decode_picture(content))
    assert (decoded[:, :3] == 255).all()
    assert (decoded[:, 3:] == 200).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    frames = [PILImage.new("RGB", (8, 8), (shade, 0, 0)) for shade in (250, 120, 10)]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert decode_picture(content).getpixel((4, 4))[0] >= 245


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_exif_orientations_are_applied_once_and_measured(kind: str, orientation: int) -> None:
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


def test_a_picture_with_damaged_exif_data_is_decoded() -> None:
    content = bytearray(encode(smooth(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"))
    assert decode_picture(bytes(content)).size == (64, 48)


def test_16_bit_greys_of_any_format_are_scaled() -> None:
    shades = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        decoded = np.asarray(decode_picture(encode(PILImage.fromarray(shades), kind)))
        np.testing.assert_allclose(decoded[..., 0], shades / 257, atol=1)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_truncated_in_its_second_half_can_be_accepted(progressive: bool) -> None:
    whole = encode(smooth((200, 160)), "JPEG", quality=90, progressive=progressive)
    for end in range(len(whole) // 2, len(whole), 7):
        assert decode_picture(whole[:end], truncated=True).size == (200, 160)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_distinguished_from_a_damaged_one(progressive: bool) -> None:
    whole = encode(smooth((200, 160)), "JPEG", quality=90, progressive=progressive)
    cut = whole[: len(whole) * 4 // 5]
    with pytest.raises(TruncatedPictureError):
        decode_picture(cut)
    taken, expected = decode_picture(cut, truncated=True), decode_picture(whole)
    assert taken.size == expected.size
    top = np.asarray(taken, np.int16)[:60] - np.asarray(expected, np.int16)[:60]
    assert np.abs(top).mean() < 20  # the first part is intact
    for broken in (b"", b"no picture", whole[:20]):
        with pytest.raises(ValueError, match=r"not a picture|not a JPEG|truncated") as caught:
            decode_picture(broken)
        assert not isinstance(caught.value, TruncatedPictureError)


def test_a_truncated_png_is_an_error() -> None:
    whole = encode(noise(), "PNG")
    with pytest.raises(ValueError, match=r"truncated|broken") as caught:
        decode_picture(whole[: len(whole) // 2])
    assert not isinstance(caught.value, TruncatedPictureError)
