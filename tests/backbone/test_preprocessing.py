"""Preprocessing in 8 bits against the image processors of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image as PILImage

import newsimg
from newsimg.backbone.pictures.preprocessing import (
    find_preprocessor,
    move_inputs,
    normalize_pixels,
    take_on_device,
)
from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.datatypes import Image
from newsimg.storage.models.stacked import StackedInputs, select_inputs, stack_inputs
from newsimg.storage.pictures.images import open_image

SAMPLE = Path(newsimg.__file__).parent / "sample" / "clip"
SIZES = ((97, 61), (61, 97), (1, 9), (9, 1), (1, 1), (400, 375), (33, 32), (224, 224))
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessor", {}),
    "clip, large crop": (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 48}},
    ),
    "clip, not resized": ("CLIPImageProcessor", {"do_resize": False}),
    "clip, not normalised": ("CLIPImageProcessor", {"do_normalize": False}),
    "chinese_clip": (
        "ChineseCLIPImageProcessor",
        {"size": {"shortest_edge": 31}, "crop_size": {"height": 31, "width": 31}},
    ),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 56, "width": 64}}),
    "siglip, bilinear": ("SiglipImageProcessor", {"resample": 2}),
    "siglip, other scale": ("SiglipImageProcessor", {"rescale_factor": 1 / 127.5}),
    "align": ("EfficientNetImageProcessor", {"size": {"height": 58, "width": 58}}),
    "align, shifted": (
        "EfficientNetImageProcessor",
        {"size": {"height": 64, "width": 64}, "do_center_crop": True, "crop_size": 57}
        | {"rescale_offset": True, "include_top": False},
    ),
    "blip": ("BlipImageProcessor", {"size": {"height": 38, "width": 38}}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "patches": ("Siglip2ImageProcessor", {}),
    "padded": ("CLIPImageProcessor", {"do_pad": True}),
    "of any size": ("CLIPImageProcessor", {"do_center_crop": False}),
    "limited": (
        "SiglipImageProcessor",
        {"size": {"shortest_edge": 20, "longest_edge": 40}},
    ),
    "with other steps": ("VideoMAEImageProcessor", {}),
}


def make_processor(name: str, settings: dict[str, Any]) -> Any:
    return getattr(transformers, f"{name}Pil")(**settings)


def draw(size: tuple[int, int]) -> PILImage.Image:
    rng = np.random.default_rng(sum(size))
    return PILImage.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("known", PROCESSORS)
def test_pixels_and_floats_are_bit_for_bit_those_of_the_processor(known: str) -> None:
    processor = make_processor(*PROCESSORS[known])
    found = find_preprocessor(processor)
    assert found is not None
    for picture in map(draw, SIZES):
        steps = {"do_rescale": False, "do_normalize": False}
        steps |= {"include_top": False} if hasattr(processor, "include_top") else {}
        before = processor(picture, return_tensors="np", **steps)["pixel_values"][0]
        pixels = found(picture)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1), before)
        floats = processor(picture, return_tensors="np")["pixel_values"]
        batch = torch.from_numpy(pixels[np.newaxis].copy())
        made = normalize_pixels(batch, found.table, torch.device("cpu"), torch.float32)
        np.testing.assert_array_equal(made.numpy(), floats)
        on_device = take_on_device(batch, torch.from_numpy(found.table))  # as on a GPU
        assert torch.equal(on_device, made)
        assert made.is_contiguous()
        assert on_device.is_contiguous()


@pytest.mark.parametrize("other", OTHERS)
def test_a_processor_with_other_steps_is_used_itself(other: str) -> None:
    name, settings = OTHERS[other]
    if not hasattr(transformers, f"{name}Pil"):
        pytest.skip(f"this transformers has no {name}Pil")
    assert find_preprocessor(make_processor(name, settings)) is None


def test_a_processor_that_overrides_a_step_or_computes_other_pixels_is_used_itself() -> None:
    from transformers import CLIPImageProcessorPil

    class Mirrored(CLIPImageProcessorPil):
        def resize(self, image: Any, *arguments: Any, **settings: Any) -> Any:
            return super().resize(image, *arguments, **settings)[..., ::-1]

    class Turned(CLIPImageProcessorPil):
        def _prepare_image_like_inputs(self, *arguments: Any, **settings: Any) -> Any:
            found = super()._prepare_image_like_inputs(*arguments, **settings)
            return [image[:, ::-1] for image in found]

    assert find_preprocessor(CLIPImageProcessorPil()) is not None
    assert find_preprocessor(Mirrored()) is None
    assert find_preprocessor(Turned()) is None  # found by the probes alone
    assert find_preprocessor(object()) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_floats_are_rounded_once_from_the_processors_float32(dtype: torch.dtype) -> None:
    processor = make_processor("SiglipImageProcessor", {})
    found = find_preprocessor(processor)
    assert found is not None
    picture = draw((300, 200))
    expected = processor(picture, return_tensors="pt")["pixel_values"].to(dtype)
    batch = torch.from_numpy(found(picture)[np.newaxis].copy())
    made = normalize_pixels(batch, found.table, torch.device("cpu"), dtype)
    assert made.dtype == dtype
    assert torch.equal(made, expected)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """Pictures of all colour modes: palette, CMYK, alpha, grey, deep grey."""
    folder = tmp_path_factory.mktemp("pictures")
    images = []
    for number, (mode, kind) in enumerate(
        (m, k) for m, k in (("P", "png"), ("CMYK", "jpg"), ("L", "jpg"), ("LA", "png"))
    ):
        picture = draw((120 + number, 97)).convert("RGB" if mode == "LA" else mode)
        picture = picture.convert(mode) if mode == "LA" else picture
        path = folder / f"{number}.{kind}"
        picture.save(path)
        images.append(Image(str(number), path))
    clear = draw((64, 80)).convert("RGBA")
    clear.putalpha(draw((64, 80)).convert("L"))
    clear.save(folder / "clear.png")
    deep = np.random.default_rng(3).integers(0, 65536, (50, 70), dtype=np.uint16)
    PILImage.fromarray(deep).save(folder / "deep.png")
    return [*images, *(Image(name, folder / f"{name}.png") for name in ("clear", "deep"))]


def make_backbone(**changes: Any) -> TransformersBackbone:
    settings: dict[str, Any] = {"revision": "main", "dtype": "float32", "device": "cpu"}
    settings |= {"batch_size": 4, "text_padding": "longest", "text_length": 48}
    return TransformersBackbone(model=str(SAMPLE), query_template="{title}", **settings | changes)


def test_embeddings_of_any_colour_mode_are_those_of_the_processors_floats(
    pictures: list[Image],
) -> None:
    fast, slow = make_backbone(), make_backbone()
    vars(slow.pictures)["pixels"] = None  # the processor is used itself
    assert set(slow.preprocess(pictures[0])) == {"pixel_values"}
    assert set(fast.preprocess(pictures[0])) == {"pixels"}
    np.testing.assert_array_equal(fast.embed_images(pictures), slow.embed_images(pictures))
    assert fast.fingerprint == slow.fingerprint


def test_reduced_decoding_has_the_pixels_of_the_processor(tmp_path: Path) -> None:
    draw((1600, 1200)).save(tmp_path / "large.jpg")
    image = Image("large", tmp_path / "large.jpg")
    backbone = make_backbone(decoding="reduced")
    pixels = backbone.preprocess(image)["pixels"]
    opened = open_image(image, (96, 96))
    assert opened.size != (1600, 1200)
    floats = backbone.image_processor(opened, return_tensors="np")["pixel_values"]
    where = torch.device("cpu"), torch.float32
    made = move_inputs([{"pixels": pixels}], backbone.pictures.pixels, *where)
    np.testing.assert_array_equal(made["pixel_values"].numpy(), floats)


def test_stacked_inputs_are_a_sequence_of_the_pictures_inputs() -> None:
    rng = np.random.default_rng(0)
    inputs = [{"a": rng.normal(size=(1, 2, 3)), "b": rng.integers(0, 9, (1, 4))} for _ in range(5)]
    stacked = stack_inputs(inputs)
    assert stack_inputs(stacked) is stacked
    assert len(stacked) == 5
    for one, own in zip(stacked, inputs, strict=True):
        assert one.keys() == own.keys()
        for name in own:
            np.testing.assert_array_equal(one[name], own[name])
    part = stacked[1:3]
    assert isinstance(part, StackedInputs)
    np.testing.assert_array_equal(part.tensors["b"].numpy()[1:], inputs[2]["b"])
    assert select_inputs(stacked, range(5)) is stacked
    again = stack_inputs(select_inputs(stacked, [4, 0]))
    np.testing.assert_array_equal(again.tensors["a"].numpy()[0], inputs[4]["a"][0])
