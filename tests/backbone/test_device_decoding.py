"""Decoding and resizing on a GPU, with Pillow in the place of nvJPEG: the rest is the same code."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographs import PREPROCESSORS, SIZES, TABLE, draw, save, to_tensor
from PIL import Image as PILImage
from PIL import ImageCms, ImageOps

from newsimg.backbone.pictures import device_decoding, device_resizing, inputs
from newsimg.backbone.pictures.device_decoding import (
    JPEG,
    LAYOUT,
    DeviceDecoder,
    check_device_decoding,
    read_jpeg,
    turn,
)
from newsimg.backbone.pictures.device_resizing import group_sizes, pad_pictures, resize_on_device
from newsimg.backbone.pictures.preprocessing import PIXELS, PixelPreprocessor
from newsimg.datatypes import Accepted, Image, Rejected, ValidationRules
from newsimg.engine.listing import write_listing
from newsimg.engine.local import LocalEngine
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.stacked import JoinedInputs, StackedInputs, share_inputs


def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
    """Decode as nvJPEG: without orientation and profiles; RuntimeError if a file is damaged."""
    try:
        return [to_tensor(PILImage.open(io.BytesIO(file.numpy().tobytes()))) for file in files]
    except (OSError, SyntaxError) as error:
        raise RuntimeError("nvjpegDecode failed: 8") from error


@pytest.mark.parametrize("known", PREPROCESSORS)
def test_pictures_are_resized_and_cropped_as_by_pillow(known: str) -> None:
    found = PREPROCESSORS[known]
    rng = np.random.default_rng(0)
    pictures = [draw(size) for size in SIZES]
    pictures += [PILImage.fromarray(rng.integers(0, 256, (77, 120, 3), dtype=np.uint8))]
    made = resize_on_device(
        [to_tensor(picture) for picture in pictures], found, [(1, 1)] * len(pictures)
    ).numpy()
    expected = np.stack([found(picture) for picture in pictures])
    difference = np.abs(made.astype(int) - expected)
    assert made.dtype == np.uint8
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.98  # halves are rounded otherwise


def test_pictures_that_do_not_fit_together_are_resized_in_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = PREPROCESSORS["clip"]
    pictures = [to_tensor(draw(size)) for size in SIZES]
    samplings = [(2, 2) if i % 3 else (1, 1) for i in range(len(SIZES))]
    alone = [
        resize_on_device([one], found, [own]) for one, own in zip(pictures, samplings, strict=True)
    ]
    monkeypatch.setattr(device_resizing, "MAX_PIXELS", 400_000)
    groups = list(group_sizes(pictures, samplings))
    assert len(groups) > 3
    assert sorted(i for group in groups for i in group) == list(range(len(SIZES)))
    for group in groups:
        assert len({samplings[i] for i in group}) == 1
        sides = np.max([pictures[i].shape[1:] for i in group], axis=0)
        assert len(group) == 1 or len(group) * sides.prod() <= 400_000
    together = resize_on_device(pictures, found, samplings)
    assert (together.int() - torch.cat(alone).int()).abs().max() <= 1


@pytest.mark.parametrize("sampling", [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("size", [(97, 61), (64, 64), (33, 50)])
def test_repeated_colours_are_smoothed_as_libjpeg_smooths_them(
    size: tuple[int, int], sampling: tuple[int, int]
) -> None:
    width, height = size
    rng = np.random.default_rng(width)
    light = PILImage.fromarray(rng.integers(60, 190, (height, width), dtype=np.uint8))
    few = (-(-height // sampling[0]), -(-width // sampling[1]))
    shared = rng.integers(108, 148, (2, *few)).astype(np.float64)
    repeated = shared.repeat(sampling[0], 1).repeat(sampling[1], 2)[:, :height, :width]
    smooth = shared
    for axis, factor in enumerate(sampling, start=1):
        if factor == 2:  # libjpeg's triangle filter
            before = np.concatenate([smooth.take([0], axis), smooth], axis).take(
                range(smooth.shape[axis]), axis
            )
            after = np.concatenate([smooth, smooth.take([-1], axis)], axis).take(
                range(1, smooth.shape[axis] + 1), axis
            )
            pair = np.stack([0.75 * smooth + 0.25 * before, 0.75 * smooth + 0.25 * after], axis + 1)
            smooth = pair.reshape([n * (2 if i == axis else 1) for i, n in enumerate(smooth.shape)])
    smooth = smooth[:, :height, :width]

    def to_rgb(differences: np.ndarray) -> torch.Tensor:
        planes = [PILImage.fromarray(plane.round().astype(np.uint8)) for plane in differences]
        return to_tensor(PILImage.merge("YCbCr", [light, *planes]))

    found = pad_pictures([to_rgb(repeated)], sampling)[0, :, :height, :width]
    difference = (found - to_rgb(smooth)).abs()
    assert difference.max() <= 3  # 8-bit colour differences are rounded twice
    assert difference.mean() < 0.6
    assert (to_rgb(repeated) - to_rgb(smooth).float()).abs().mean() > 3  # what was to be mended


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_orientation_says(
    orientation: int, tmp_path: Path
) -> None:
    image = save(tmp_path / "a.png", draw((13, 8)), orientation)
    with PILImage.open(image.path) as stored:
        expected = to_tensor(ImageOps.exif_transpose(stored))
        found, sampling = turn(to_tensor(stored), orientation, 1, 1)
        assert torch.equal(found, expected)
        assert sampling == (1, 1)


def test_what_a_gpu_decodes_otherwise_or_slowly_is_left_to_the_cpu(tmp_path: Path) -> None:
    photograph = draw((120, 90))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    on_device = [
        save(tmp_path / "plain.jpg", photograph),
        save(tmp_path / "turned.jpg", photograph, 6),
        save(tmp_path / "grey.jpg", photograph.convert("L")),
        save(tmp_path / "srgb.jpg", photograph, icc_profile=lab),
        save(tmp_path / "followed.jpg", photograph),
        save(tmp_path / "full colour.jpg", photograph, subsampling=0),
        save(tmp_path / "half colour.jpg", photograph, subsampling="4:2:2"),
    ]
    on_device[4].path.write_bytes(on_device[4].path.read_bytes() + b"and more")
    on_cpu = [
        save(tmp_path / "progressive.jpg", photograph, progressive=True),
        save(tmp_path / "print.jpg", photograph.convert("CMYK")),
        save(tmp_path / "stored.jpg", photograph, keep_rgb=True),
        save(tmp_path / "cut.jpg", photograph),
        save(tmp_path / "small.jpg", draw((40, 15))),
        save(tmp_path / "drawing.png", photograph),
        save(tmp_path / "photograph.webp", photograph),
    ]
    cut = on_cpu[3].path
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    on_cpu.append(Image("none", tmp_path / "none.jpg"))
    on_cpu.append(Image("marked", on_device[0].path, truncated=True))
    for image in on_device:
        found = read_jpeg(image)
        assert found is not None, image
        assert found[JPEG].tobytes() == image.path.read_bytes()
        layout = [6 if image.image_id == "turned.jpg" else 1, 2, 2]
        if image.image_id in ("grey.jpg", "full colour.jpg"):
            layout[1:] = [1, 1]
        elif image.image_id == "half colour.jpg":
            layout[1:] = [1, 2]
        assert found[LAYOUT].tolist() == [layout]
    assert [image for image in on_cpu if read_jpeg(image) is not None] == []


def test_inputs_of_any_shape_come_back_as_they_went_into_shared_memory() -> None:
    arrays = [
        {JPEG: np.arange(7, dtype=np.uint8)[None], LAYOUT: np.array([[6, 2, 2]])},
        {PIXELS: np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)},
        {JPEG: np.arange(3, dtype=np.uint8)[None], LAYOUT: np.array([[1, 1, 1]])},
    ]
    shared = share_inputs(arrays)
    assert isinstance(shared, JoinedInputs)
    assert shared.data.is_shared()
    assert len(shared) == 3
    for found in (list(shared), shared[0:3], [shared[-3], shared[1], shared[2]]):
        for own, expected in zip(found, arrays, strict=True):
            assert own.keys() == expected.keys()
            for name in own:
                assert own[name].dtype == expected[name].dtype
                np.testing.assert_array_equal(own[name], expected[name])
    assert isinstance(share_inputs(arrays[1:2] * 2), StackedInputs)


def test_a_model_without_a_gpu_or_with_pictures_of_many_sizes_is_refused() -> None:
    found = PREPROCESSORS["clip"]
    check_device_decoding(found, "cuda:1", "m")
    with pytest.raises(ModelError, match=r"needs a GPU of NVIDIA, got cpu: add backbone.deco.*=ex"):
        check_device_decoding(found, "cpu", "m")
    for other in (None, PixelPreprocessor(64, PILImage.Resampling.NEAREST, (64, 64), TABLE)):
        with pytest.raises(ModelError, match=r"one size with a bilinear.*, m does not: add backb"):
            check_device_decoding(other, "cuda", "m")


@pytest.fixture
def collection(tmp_path: Path) -> list[Image]:
    """Twelve JPEGs of two sizes and a PNG; one JPEG is damaged in the middle, twice."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = [
        save(folder / f"{i:02}.jpg", draw((120 + i, 90 if i % 2 else 140)), 1 + i % 8, quality=95)
        for i in range(12)
    ]
    images.insert(5, save(folder / "drawing.png", draw((90, 90))))
    content = bytearray(images[3].path.read_bytes())
    start = content.rindex(b"\xff\xda")
    content[start + 2 : start + 14] = bytes(12)  # the header of the scan
    for name in ("damaged", "again"):
        (folder / f"{name}.jpg").write_bytes(content)
        images.insert(7, Image(name, folder / f"{name}.jpg"))
    return images


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_collection_is_embedded_as_with_exact_decoding_and_damaged_pictures_are_rejected(
    n_workers: int,
    collection: list[Image],
    tiny_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from newsimg.backbone.transformers_backbone import TransformersBackbone

    settings: dict[str, Any] = {"revision": "main", "dtype": "float32", "device": "cpu"}
    settings |= {"batch_size": 6, "text_padding": "longest", "text_length": 48}
    settings |= {"model": str(tiny_clip), "query_template": "{title}"}
    rules = ValidationRules("reject", 10**8, 2)

    def embed(decoding: str) -> list[Accepted | Rejected]:
        backbone = TransformersBackbone(decoding=decoding, **settings)
        _ = backbone.fingerprint  # which other processes get with it
        cached = CachedBackbone(backbone, OutputCache(tmp_path / f"{decoding}_{n_workers}"))
        listing = write_listing(collection, tmp_path / f"{decoding}.arrow", 12)
        engine = LocalEngine(n_workers=n_workers)
        return list(engine.embed(listing, range(listing.n_chunks), cached, rules, 2))

    exact = embed("exact")
    used: list[int] = []

    def count(files: list[torch.Tensor]) -> list[torch.Tensor]:
        used.append(len(files))
        return decode(files)

    monkeypatch.setattr(inputs, "check_device_decoding", lambda pixels, *_: pixels)
    monkeypatch.setattr(device_decoding, "describe_gpu_libraries", dict)
    monkeypatch.setattr(
        inputs, "DeviceDecoder", lambda found, device: DeviceDecoder(found, device, count)
    )
    found = embed("gpu")
    assert sum(used) >= 12
    assert [type(one) for one in found] == [type(one) for one in exact]
    assert sum(isinstance(one, Rejected) for one in found) == 2
    for one, expected in zip(found, exact, strict=True):
        if isinstance(one, Rejected):
            assert one == expected
        else:
            assert isinstance(expected, Accepted)
            assert one.image == expected.image
            assert one.embedding @ expected.embedding > 0.999
