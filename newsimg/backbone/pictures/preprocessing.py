"""The image processors of transformers in 8 bits: Pillow resizes and crops, a table does the rest.

The processors of the dual encoders here convert a picture to float32, in NumPy and under Python's
global lock, and only then rescale and normalise it. Both are functions of one 8-bit value, so that
a table of 256 values per channel gives the same floats, on the device and for a whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from newsimg.datatypes import FloatArray
from newsimg.storage.models.fit import ModelError
from newsimg.storage.models.stacked import stack_inputs

if TYPE_CHECKING:
    import torch

# Methods of transformers' PilBackend that are repeated here: none of them may be overridden.
REPEATED = ("preprocess", "process_image", "convert_to_rgb", "resize", "center_crop")
PROBES = ((67, 45), (45, 131), (9, 8))  # width and height of pictures that are compared
N_LEVELS = 256
PIXELS = "pixels"  # name of 8-bit inputs, (1, height, width, 3)


@dataclass(frozen=True)
class PixelPreprocessor:
    """Resizing and cropping of an image processor, in 8 bits.

    Attributes:
        size: Height and width, or the length of the shorter side; None does not resize.
        resample: Filter of Pillow.
        crop: Height and width of the part in the middle, with black borders where the picture is
            smaller; None does not crop.
        table: (3, 256) float32, what the processor makes of each 8-bit value of a channel.
    """

    size: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    table: FloatArray

    def __call__(self, picture: PILImage.Image) -> NDArray[np.uint8]:
        """Resize and crop an RGB picture: (height, width, 3), the layout of Pillow."""
        size, box = self.place(picture.width, picture.height)
        if self.size is not None:
            picture = picture.resize(size, PILImage.Resampling(self.resample))
        if self.crop is not None:
            picture = picture.crop(box)
        return np.asarray(picture)

    def place(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Return width and height of a resized picture, and left, top, right, bottom of the crop.

        The longer side is rounded down.
        """
        size = width, height
        if isinstance(self.size, tuple):
            size = self.size[::-1]
        elif self.size is not None:
            longer = int(self.size * max(width, height) / min(width, height))
            size = (self.size, longer) if width <= height else (longer, self.size)
        if self.crop is None:
            return size, (0, 0, *size)
        height, width = self.crop
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return size, (left, top, left + width, top + height)


def find_preprocessor(processor: Any) -> PixelPreprocessor | None:
    """Return what gives the same as an image processor, bit for bit; None if nothing here does.

    The settings are those of the processor, as is the table, which it computes itself. Probes find
    what differs nevertheless, such as in another version of transformers.

    Args:
        processor: An image processor of transformers with the Pillow backend, or any other.
    """
    if not _has_known_steps(processor):
        return None
    size = _read_sides(processor.size) if processor.do_resize else None
    crop = _read_sides(processor.crop_size) if processor.do_center_crop else None
    fixed = isinstance(crop, tuple) or isinstance(size, tuple)
    known = size is not None or not processor.do_resize
    resample = PILImage.Resampling.BILINEAR if processor.resample is None else processor.resample
    # Padding comes after the normalisation, with a float of its own.
    if not (fixed and known and isinstance(resample, int)) or processor.do_pad:
        return None
    assert not isinstance(crop, int)
    levels = np.repeat(np.arange(N_LEVELS, dtype=np.uint8)[None, :, None], 3, axis=2)
    steps = {"do_resize": False, "do_center_crop": False}
    table = processor(PILImage.fromarray(levels), return_tensors="np", **steps)["pixel_values"]
    found = PixelPreprocessor(size, int(resample), crop, np.ascontiguousarray(table[0, :, 0]))
    return found if all(_is_equal(processor, found, shape) for shape in PROBES) else None


def find_target_size(processor: Any, model: str) -> tuple[int, int]:
    """Return width and height of the area that an image processor covers with a picture.

    Raises:
        ModelError: If it does not resize all pictures to one size.
    """
    size = getattr(processor, "size", None)
    sides = {} if size is None or isinstance(size, int) else dict(size)
    width, height = sides.get("width"), sides.get("height")
    if width is None or height is None:
        width = height = sides.get("shortest_edge")
    if width is None or height is None or not processor.do_resize:
        raise ModelError(
            "backbone.decoding=reduced needs a model that resizes all pictures to one size, "
            f"{model} has size={size}: add backbone.decoding=exact"
        )
    return width, height


def move_inputs(
    inputs: Sequence[Any],
    found: PixelPreprocessor | None,
    device: "torch.device",
    dtype: "torch.dtype",
) -> "dict[str, torch.Tensor]":
    """Return the arguments of a model on its device, with 8-bit pixels normalised.

    Args:
        inputs: What a backbone's `preprocess` returned for each picture of a batch.
        found: What has made 8-bit pixels.
        device: The model's device.
        dtype: The model's type, for all floats.
    """
    tensors = stack_inputs(inputs).tensors
    if PIXELS in tensors:
        assert found is not None
        return {"pixel_values": normalize_pixels(tensors[PIXELS], found.table, device, dtype)}
    return {
        name: own.to(device, dtype if own.is_floating_point() else None, non_blocking=True)
        for name, own in tensors.items()
    }


def normalize_pixels(
    pixels: "torch.Tensor", table: FloatArray, device: "torch.device", dtype: "torch.dtype"
) -> "torch.Tensor":
    """Rescale and normalise pictures as their image processor does.

    Args:
        pixels: (n_images, height, width, 3) uint8.
        table: See `PixelPreprocessor`.
        device: Where the result is computed.
        dtype: Type of the result, to which the processor's float32 is rounded.

    Returns:
        (n_images, 3, height, width).
    """
    import torch

    if device.type == "cpu":
        return _take_on_cpu(pixels, table).to(dtype)
    values = torch.from_numpy(table).to(device, dtype)
    return take_on_device(pixels.to(device, non_blocking=True), values)


def take_on_device(pixels: "torch.Tensor", values: "torch.Tensor") -> "torch.Tensor":
    """Look up the values of 8-bit pixels, (n_images, height, width, 3), as in `normalize_pixels`.

    Args:
        pixels: On the same device as `values`.
        values: (3, 256).
    """
    n_images, height, width, n_channels = pixels.shape
    made = values.new_empty(n_images, n_channels, height, width)
    for channel, own in enumerate(values):
        positions = pixels[..., channel].int().flatten()
        made[:, channel] = own.index_select(0, positions).view(n_images, height, width)
    return made


def _take_on_cpu(pixels: "torch.Tensor", table: FloatArray) -> "torch.Tensor":
    import torch

    n_images, height, width, n_channels = pixels.shape
    made = torch.empty((n_images, n_channels, height, width))
    for channel, values in enumerate(table):  # NumPy needs a quarter of torch's time
        own = pixels[..., channel].numpy()
        np.take(values, own, out=made[:, channel].numpy(), mode="clip")
    return made


def _has_known_steps(processor: Any) -> bool:
    try:
        from transformers.image_processing_backends import PilBackend
        from transformers.models.efficientnet import image_processing_pil_efficientnet as align
    except ImportError:  # an older version of transformers
        return False
    kind = type(processor)
    orders = (PilBackend._preprocess, align.EfficientNetImageProcessorPil._preprocess)
    return (
        isinstance(processor, PilBackend)
        and kind._preprocess in orders
        and all(getattr(kind, name) is getattr(PilBackend, name) for name in REPEATED)
    )


def _read_sides(size: Any) -> tuple[int, int] | int | None:
    """Return height and width, or the shorter side; None if the size is given otherwise."""
    sides = {name: side for name, side in dict(size or {}).items() if side is not None}
    if set(sides) == {"height", "width"}:
        return int(sides["height"]), int(sides["width"])
    return int(sides["shortest_edge"]) if set(sides) == {"shortest_edge"} else None


def _is_equal(processor: Any, found: PixelPreprocessor, shape: tuple[int, int]) -> bool:
    """Return whether a picture of noise becomes the same floats, and nothing besides."""
    width, height = shape
    noise = np.random.default_rng(0).integers(0, N_LEVELS, (height, width, 3), dtype=np.uint8)
    picture = PILImage.fromarray(noise)
    expected = processor(picture, return_tensors="np")
    pixels = found(picture)
    own = np.stack([found.table[channel][pixels[..., channel]] for channel in range(3)])
    return set(expected) == {"pixel_values"} and np.array_equal(expected["pixel_values"][0], own)
