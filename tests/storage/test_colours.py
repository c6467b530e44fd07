"""Conversion of pictures to sRGB, whatever their format, depth and colour profile."""

import base64
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from colour_profiles import (
    cmyk_profile,
    cmyk_to_lab,
    grey_profile,
    grey_to_srgb,
    lab_to_srgb,
    rgb_profile,
    rgb_to_srgb,
)
from PIL import Image as PILImage
from PIL import ImageCms, PngImagePlugin

from newsimg.datatypes import Image
from newsimg.storage.pictures.images import decode_picture, measure_picture, read_header
from newsimg.submission.rendering import render_picture
from newsimg.vlm.openai_vlm import write_data_url

COLOURS = np.array(
    [[200, 100, 50], [60, 120, 180], [128, 128, 128], [30, 140, 60], [250, 240, 200], [0, 255, 0]],
    np.uint8,
)[None]
INKS = [(i >> 3 & 1, i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(16)]
GREYS = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)


def encode(picture: PILImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(content: bytes) -> np.ndarray:
    picture = decode_picture(content)
    assert picture.mode == "RGB"
    assert picture.info == {}
    return np.asarray(picture)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare within one level, because profiles have 16 bits and pixels eight."""
    np.testing.assert_allclose(found, expected, atol=1.01)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_are_converted_with_the_embedded_profile(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(PILImage.fromarray(COLOURS), kind, icc_profile=rgb_profile(), **options)
    assert_close(decode(content), rgb_to_srgb(COLOURS))


def test_a_jpeg_in_adobe_rgb_equals_the_conversion_of_littlecms() -> None:
    content = encode(
        PILImage.fromarray(COLOURS.repeat(16, 0).repeat(16, 1)), "JPEG", icc_profile=rgb_profile()
    )
    profile = ImageCms.ImageCmsProfile(io.BytesIO(rgb_profile()))
    with PILImage.open(io.BytesIO(content)) as opened:
        expected = ImageCms.profileToProfile(opened, profile, ImageCms.createProfile("sRGB"))
        untouched = np.asarray(opened, np.int16)
    assert_close(decode(content), np.asarray(expected))
    assert np.abs(untouched - np.asarray(expected)).max() > 20  # the conversion changes the pixels


def test_greys_are_converted_with_their_profile() -> None:
    shades = np.arange(256, dtype=np.uint8)[None]
    content = encode(PILImage.fromarray(shades), "PNG", icc_profile=grey_profile(1.0))
    assert_close(decode(content)[..., 0], grey_to_srgb(shades, 1.0))
    deep = encode(PILImage.fromarray(GREYS), "PNG", icc_profile=grey_profile(1.0))
    # Quantised to eight bits first: where the curve is steep, one level becomes five.
    expected = grey_to_srgb(GREYS / 257, 1.0)
    np.testing.assert_allclose(decode(deep)[..., 0][GREYS > 8000], expected[GREYS > 8000], atol=2)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_is_converted_with_the_profile_of_the_press(kind: str) -> None:
    inks = np.array(INKS, np.uint8)[None] * 255
    expected = np.array([[lab_to_srgb(*cmyk_to_lab(*ink)) for ink in INKS]])
    if kind == "JPEG":
        inks, expected = (array.repeat(16, 0).repeat(16, 1) for array in (inks, expected))
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    picture = PILImage.fromarray(inks, "CMYK")
    found = decode(encode(picture, kind, icc_profile=cmyk_profile(), **options))
    np.testing.assert_allclose(found, expected, atol=1.01 if kind == "TIFF" else 6)


def test_lab_needs_no_profile() -> None:
    for lab in ((53, 0, 0), (55, 20, -30), (80, -30, 40)):
        held = (round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128)
        content = encode(PILImage.new("LAB", (2, 2), held), "TIFF")
        assert_close(decode(content)[0, 0], lab_to_srgb(held[0] / 2.55, *lab[1:]))


def test_colours_are_converted_before_blending_with_white() -> None:
    alpha = np.array([[0, 255, 128, 255, 64, 255]], np.uint8)[..., None]
    content = encode(
        PILImage.fromarray(np.concatenate([COLOURS, alpha], axis=2)),
        "PNG",
        icc_profile=rgb_profile(),
    )
    expected = 255 + (rgb_to_srgb(COLOURS) - 255) * (alpha / 255)
    assert_close(decode(content), expected)


def test_a_palette_is_converted_like_its_colours() -> None:
    picture = PILImage.new("P", (6, 1))
    picture.putpalette(COLOURS.ravel().tolist())
    picture.putdata(list(range(6)))
    assert_close(decode(encode(picture, "PNG", icc_profile=rgb_profile())), rgb_to_srgb(COLOURS))


@pytest.mark.parametrize(
    "profile",
    [cmyk_profile(), grey_profile(2.2), b"no profile", rgb_profile()[:200], b"\0" * 400],
    ids=["of inks", "of greys", "text", "cut off", "zeros"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_broken_or_unsuitable_profile_is_ignored(kind: str, profile: bytes) -> None:
    picture = PILImage.fromarray(COLOURS)
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = decode(encode(picture, kind, **options))
    found = decode(encode(picture, kind, icc_profile=profile, **options))
    np.testing.assert_array_equal(found, plain)


def test_a_profile_equivalent_to_srgb_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encode(PILImage.fromarray(COLOURS), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode(content), COLOURS)


def test_a_profile_is_shared_by_threads() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(24)]
    contents = [
        encode(PILImage.fromarray(one), "PNG", icc_profile=rgb_profile()) for one in pictures
    ]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(decode, contents * 3))
    for one, pixels in zip(pictures * 3, found, strict=True):
        assert_close(pixels, rgb_to_srgb(one))


def write_tiff(
    values: np.ndarray, order: str, *, sample_format: int = 1, photometric: int = 1, turn: int = 1
) -> bytes:
    """Write an uncompressed grey TIFF in one strip; order "<" is little-endian, ">" big-endian."""
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    shorts = {256: width, 257: height, 258: values.itemsize * 8, 259: 1, 262: photometric}
    shorts |= {273: 8, 274: turn, 277: 1, 278: height, 279: len(pixels), 339: sample_format}
    entries = [struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    beginning = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(pixels))
    return b"".join(
        [beginning, pixels, struct.pack(f"{order}H", len(entries)), *entries, b"\0" * 4]
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("values", "sample_format"),
    [
        (GREYS, 1),
        ((GREYS // 2).astype(np.int16), 2),
        (GREYS.astype(np.int32), 2),
        ((GREYS / 65535).astype(np.float32), 3),
        ((GREYS / 257).astype(np.float32), 3),
        (GREYS.astype(np.float32), 3),
    ],
    ids=["16 bits", "signed", "32 bits", "float to 1", "float to 255", "float to 65535"],
)
def test_deep_greys_are_scaled_in_both_byte_orders(
    values: np.ndarray, sample_format: int, order: str
) -> None:
    found = decode(write_tiff(values, order, sample_format=sample_format))
    np.testing.assert_allclose(found, (GREYS / 257)[..., None].repeat(3, 2), atol=0.51)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_big_endian_greys_are_scaled(compression: str | None) -> None:
    picture = PILImage.frombytes("I;16B", (8, 8), GREYS.astype(">u2").tobytes())
    content = encode(picture, "TIFF", compression=compression)
    np.testing.assert_allclose(decode(content)[..., 0], GREYS / 257, atol=0.51)


def test_inverted_greys_and_32_bit_greys_are_scaled() -> None:
    for values, sample_format in ((65535 - GREYS, 1), ((1 - GREYS / 65535).astype(np.float32), 3)):
        content = write_tiff(values, "<", sample_format=sample_format, photometric=0)
        np.testing.assert_allclose(decode(content)[..., 0], GREYS / 257, atol=0.51)
    full = write_tiff(GREYS.astype(np.uint32) * 65537, "<")
    np.testing.assert_allclose(decode(full)[..., 0], GREYS / 257, atol=0.51)


def test_twelve_bit_greys_are_scaled_to_white() -> None:
    first, second = (GREYS >> 4).ravel()[::2], (GREYS >> 4).ravel()[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    content = bytearray(write_tiff(packed.astype(np.uint8).reshape(8, 12), "<"))
    at = 8 + packed.size + 2
    content[at + 8], content[at + 2 * 12 + 8] = 8, 12  # width and bits per pixel
    np.testing.assert_allclose(decode(bytes(content))[..., 0], (GREYS >> 4) / 4095 * 255, atol=0.51)


def test_nan_is_black_and_leaves_other_pixels_unchanged() -> None:
    values = (GREYS / 65535).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    found = decode(write_tiff(values, "<", sample_format=3))[..., 0]
    assert found[0, :3].tolist() == [0, 255, 0]
    np.testing.assert_allclose(found[1:], GREYS[1:] / 257, atol=0.51)


def test_deep_greys_are_rotated_and_measured() -> None:
    content = write_tiff(GREYS[:4], ">", turn=6)
    np.testing.assert_allclose(decode(content)[..., 0], np.rot90(GREYS[:4], -1) / 257, atol=0.51)
    assert measure_picture(content) == (4, 8)


def test_a_deep_grey_level_can_be_transparent() -> None:
    content = encode(PILImage.fromarray(GREYS), "PNG", transparency=int(GREYS[0, 3]))
    expected = GREYS / 257
    expected[0, 3] = 255
    np.testing.assert_allclose(decode(content)[..., 0], expected, atol=0.51)


def chunk(name: bytes, data: bytes, *, intact: bool = True) -> bytes:
    checksum = zlib.crc32(name + data) ^ (0 if intact else 1)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def insert(content: bytes, *chunks: bytes, at_end: bool = False) -> bytes:
    """Insert chunks after a PNG's header or before its end."""
    place = len(content) - 12 if at_end else 33
    return content[:place] + b"".join(chunks) + content[place:]


PNG = encode(PILImage.fromarray(COLOURS), "PNG")
BOMB = zlib.compress(b"\0" * (1 << 25), 9)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "added",
    [
        [chunk(b"tEXt", b"Comment\0" + b"x" * 5_000_000)],
        [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 5_000_000))],
        [chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 5_000_000))],
        [chunk(b"tEXt", b"Comment\0" + b"x" * 1_000_000)] * 70,
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)],
        [chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB)],
        [chunk(b"iCCP", b"bomb\0\0" + BOMB)],
        [chunk(b"iCCP", b"bomb\0\0" + BOMB)] * 500,
        [chunk(b"iCCP", b"broken\0\0no zlib")],
        [chunk(b"iCCP", b"no end")],
        [chunk(b"pHYs", b"short")],
        [chunk(b"tEXt", b"Comment\0hello", intact=False)],
        [chunk(b"gAMA", struct.pack(">I", 45455), intact=False)],
        [chunk(b"iCCP", b"press\0\0" + zlib.compress(rgb_profile()), intact=False)],
    ],
    ids=range(14),
)
def test_damaged_or_large_ancillary_chunks_do_not_affect_the_pixels(
    added: list[bytes], at_end: bool
) -> None:
    content = insert(PNG, *added, at_end=at_end)
    np.testing.assert_array_equal(decode(content), COLOURS)
    assert read_header(content) == measure_picture(content) == (6, 1)


def test_a_large_profile_of_a_png_is_used() -> None:
    """Profiles of printing presses exceed Pillow's limit of 1 MB."""
    inks = np.array(INKS, np.uint8)[None] * 255
    profile = cmyk_profile(padding=1_300_000)
    expected = np.array([[lab_to_srgb(*cmyk_to_lab(*ink)) for ink in INKS]])
    content = encode(PILImage.fromarray(inks, "CMYK"), "TIFF", icc_profile=profile)
    assert_close(decode(content), expected)
    large = rgb_profile() + np.random.default_rng(0).bytes(2_000_000)
    assert_close(
        decode(encode(PILImage.fromarray(COLOURS), "PNG", icc_profile=large)), rgb_to_srgb(COLOURS)
    )


def test_the_orientation_in_text_chunks_is_applied() -> None:
    xmp = b'<x:xmpmeta xmlns:tiff="t"><r tiff:Orientation="6"/></x:xmpmeta>'
    for text in (b"\0\0\0\0\0" + xmp, b"\0\1\0\0\0" + zlib.compress(xmp)):
        content = insert(PNG, chunk(b"iTXt", b"XML:com.adobe.xmp" + text))
        np.testing.assert_array_equal(decode(content), np.rot90(COLOURS, -1))
        assert measure_picture(content) == (1, 6)


def test_a_damaged_png_header_is_reported() -> None:
    damaged = bytearray(PNG)
    damaged[20] ^= 1
    for read in (decode_picture, read_header, measure_picture):
        with pytest.raises(ValueError, match=r"not a PNG that can be read: .*checksum in b'IHDR'"):
            read(bytes(damaged))
    with pytest.raises(ValueError, match=r"^not a picture$"):
        read_header(b"<html>not found</html>")


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_written_pictures_have_no_profile(mode: str, tmp_path: Path) -> None:
    profile = cmyk_profile(padding=1_300_000) if mode == "CMYK" else rgb_profile()
    picture = PILImage.fromarray(COLOURS.repeat(60, 0).repeat(20, 1)).convert(mode)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "from elsewhere")
    kinds = ["TIFF", "JPEG"] if mode == "CMYK" else ["PNG", "TIFF", "JPEG"]
    for kind in kinds:
        path = tmp_path / f"a.{kind.lower()}"
        options: dict[str, object] = {"pnginfo": texts} if kind == "PNG" else {}
        picture.save(path, kind, icc_profile=profile, **options)
        image = Image("a", path)
        rendered = render_picture(image, "center")
        names = {rendered[i - 4 : i] for i in _chunk_ends(rendered)}
        assert names <= {b"IHDR", b"IDAT", b"IEND"}
        assert b"ICC_PROFILE" not in base64.b64decode(
            write_data_url(image, 200, 90).partition(",")[2]
        )


def _chunk_ends(content: bytes) -> list[int]:
    places, position = [], 8
    while position < len(content):
        places.append(position + 8)
        position += 12 + int.from_bytes(content[position : position + 4])
    return places
