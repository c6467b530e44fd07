"""JPEGs that are decoded, resized and cropped on a GPU, by nvJPEG through torchvision."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling

from newsimg.backbone.forward import is_device_error
from newsimg.backbone.pictures.device_resizing import (
    FILTERS,
    Sampling,
    pad_pictures,
    resize_on_device,
)
from newsimg.backbone.pictures.preprocessing import PIXELS, PixelPreprocessor
from newsimg.datatypes import Image
from newsimg.storage.models.batches import is_out_of_memory
from newsimg.storage.models.fit import ModelError
from newsimg.storage.pictures.images import (
    DECODING,
    DamagedPictureError,
    decode_picture,
    read_image,
)
from newsimg.storage.pictures.plain_jpeg import find_plain_jpeg

if TYPE_CHECKING:
    import torch

# Names of inputs: (1, n_bytes) uint8, and (1, 3) with orientation and sampling of a `PlainJpeg`.
JPEG, LAYOUT = "jpeg", "layout"
HINT = "add backbone.decoding=exact"

Decode = Callable[[list["torch.Tensor"]], "list[torch.Tensor]"]


def describe_device_decoding() -> dict[str, Any]:
    """Return what pixels decoded on a GPU depend on besides the model, for fingerprints.

    Raises:
        ImportError: If the extra `gpu` is not installed.
    """
    try:
        return {"cpu": DECODING} | describe_gpu_libraries()
    except ModuleNotFoundError as error:
        raise ImportError("backbone.decoding=gpu needs: pip install 'newsimg[gpu]'") from error


def read_jpeg(image: Image) -> dict[str, NDArray[Any]] | None:
    """Return the inputs of a picture that is decoded on the device; None for other pictures.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If an archive or its member is damaged.
    """
    if image.truncated:
        return None
    content = read_image(image)
    try:
        found = find_plain_jpeg(content)
    except Exception:  # of any kind, from a damaged picture; the reason is given when it is decoded
        return None
    if found is None:
        return None
    encoded = np.frombuffer(bytearray(content), np.uint8)[np.newaxis]
    return {JPEG: encoded, LAYOUT: np.array([[found.orientation, *found.sampling]])}


def describe_gpu_libraries() -> dict[str, str | None]:
    """Return the versions of what decodes on a GPU."""
    import torch

    return {"torchvision": version("torchvision"), "cuda": torch.version.cuda}


def check_device_decoding(
    found: PixelPreprocessor | None, device: str, model: str
) -> PixelPreprocessor:
    """Check that pictures can be decoded and resized on the device; return what resizes them.

    Raises:
        ModelError: If they cannot; names the reason.
    """
    if not device.startswith("cuda"):
        raise ModelError(f"backbone.decoding=gpu needs a GPU of NVIDIA, got {device}: {HINT}")
    if found is None or Resampling(found.resample) not in FILTERS:
        raise ModelError(
            "backbone.decoding=gpu needs a model that resizes all pictures to one size with a "
            f"bilinear, bicubic or Lanczos filter, {model} does not: {HINT}"
        )
    return found


def decode_on_device(files: "list[torch.Tensor]") -> "list[torch.Tensor]":
    """Decode JPEGs, (n_bytes,) uint8 each, to (3, height, width) on the current GPU.

    Raises:
        RuntimeError: If one of them is damaged, or the GPU fails.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")


class DeviceDecoder:
    """The pixels of a batch's pictures on a GPU, JPEGs decoded there and others given.

    Args:
        found: Size, filter and crop of the model's image processor.
        device: The model's device.
        decode: Decodes JPEGs, in order; raises RuntimeError if one of them is damaged.
    """

    def __init__(
        self, found: PixelPreprocessor, device: "torch.device", decode: Decode = decode_on_device
    ) -> None:
        import torch

        self.found = found
        self.device = device
        self._decode = decode
        self._lock = Lock()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(
        self, images: Sequence[Image], inputs: Sequence[Mapping[str, NDArray[Any]]]
    ) -> "torch.Tensor":
        """Return the pixels, (n_images, height, width, 3) uint8.

        torchvision decodes into memory that PyTorch may have in use: it waits for none of the work
        on the current stream, to which the memory belongs. Here decoding and resizing have a stream
        of their own, which is idle whenever a batch is decoded.

        Args:
            images: Pictures, for messages.
            inputs: For each picture `JPEG` and `LAYOUT`, or `PIXELS`.

        Raises:
            DamagedPictureError: If a picture can be decoded neither here nor on the CPU.
        """
        import torch

        if self._stream is None:
            return self._make_pixels(images, inputs)
        with self._lock:
            self._stream.synchronize()
            with torch.cuda.stream(self._stream):
                pixels = self._make_pixels(images, inputs)
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            pixels.record_stream(current)
            return pixels

    def _make_pixels(
        self, images: Sequence[Image], inputs: Sequence[Mapping[str, NDArray[Any]]]
    ) -> "torch.Tensor":
        import torch

        encoded = [i for i, own in enumerate(inputs) if JPEG in own]
        if not encoded:
            return torch.from_numpy(np.concatenate([own[PIXELS] for own in inputs])).to(self.device)
        decoded = self._decode_all([(images[i], inputs[i]) for i in encoded])
        pixels = resize_on_device(
            [own for own, _ in decoded], self.found, [sampling for _, sampling in decoded]
        )
        if len(encoded) == len(inputs):
            return pixels
        made = pixels.new_empty(len(inputs), *pixels.shape[1:])
        made[torch.tensor(encoded, device=self.device)] = pixels
        others = [i for i, own in enumerate(inputs) if JPEG not in own]
        given = torch.from_numpy(np.concatenate([inputs[i][PIXELS] for i in others]))
        made[torch.tensor(others, device=self.device)] = given.to(self.device)
        return made

    def _decode_all(
        self, files: "Sequence[tuple[Image, Mapping[str, NDArray[Any]]]]"
    ) -> "list[tuple[torch.Tensor, Sampling]]":
        """Decode JPEGs together, or one by one if one of them is damaged; turn them upright.

        Returns:
            Pixels, and whose colours are still to be smoothed.
        """
        import torch

        try:
            decoded = self._decode([torch.from_numpy(own[JPEG][0]) for _, own in files])
            return [
                turn(pixels, *own[LAYOUT][0].tolist())
                for pixels, (_, own) in zip(decoded, files, strict=True)
            ]
        except RuntimeError as error:
            if is_out_of_memory(error) or is_device_error(error):
                raise
        if len(files) > 1:
            return [self._decode_all([file])[0] for file in files]
        image, own = files[0]
        try:
            picture = decode_picture(own[JPEG].tobytes())
        except ValueError as error:
            raise DamagedPictureError(image, str(error)) from error
        return [(torch.from_numpy(np.array(picture)).to(self.device).permute(2, 0, 1), (1, 1))]


def turn(
    pixels: "torch.Tensor", orientation: int, *sampling: int
) -> "tuple[torch.Tensor, Sampling]":
    """Rotate and mirror a picture, (3, height, width), as its EXIF orientation says.

    Args:
        pixels: The picture.
        orientation: 1 to 8.
        sampling: See `smooth_colours`.

    Returns:
        The picture, and (1, 1) in the place of its sampling if its colours had to be smoothed
        before.
    """
    height, width = sampling
    if orientation == 1:
        return pixels, (height, width)
    smooth = pad_pictures([pixels], (height, width))[0].to(pixels.dtype)
    pixels = smooth[:, : pixels.shape[1], : pixels.shape[2]]
    if orientation >= 5:
        pixels = pixels.mT
    mirrored = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return pixels.flip(mirrored), (1, 1)
