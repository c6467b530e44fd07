"""Preprocessing of a dual encoder's pictures, by one of three ways of decoding."""

from collections.abc import Callable, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from newsimg.backbone.pictures.device_decoding import (
    DeviceDecoder,
    check_device_decoding,
    describe_device_decoding,
    read_jpeg,
)
from newsimg.backbone.pictures.preprocessing import (
    PIXELS,
    PixelPreprocessor,
    find_preprocessor,
    find_target_size,
    move_inputs,
)
from newsimg.datatypes import Image
from newsimg.storage.models.checkpoints import Checkpoint
from newsimg.storage.models.stacked import StackedInputs
from newsimg.storage.pictures.images import DECODING, REDUCING_GAP, open_image
from newsimg.storage.text.suggest import check_choice

if TYPE_CHECKING:
    import torch

DECODINGS = ("exact", "reduced", "gpu")


class PictureInputs:
    """Turns pictures into the inputs of a model, as its image processor does.

    Args:
        checkpoint: The model's checkpoint.
        decoding: "exact", "reduced" or "gpu"; see `DualEncoder`.
        find_device: Returns the model's device.

    Raises:
        ValueError: If `decoding` is none of these.
    """

    def __init__(
        self, checkpoint: Checkpoint, decoding: str, find_device: Callable[[], str]
    ) -> None:
        check_choice("backbone.decoding", decoding, DECODINGS)
        self.checkpoint = checkpoint
        self.decoding = decoding
        self._find_device = find_device
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Exclude what another process loads again."""
        excluded = {"_lock", "processor", "_decoder"}
        return {name: value for name, value in vars(self).items() if name not in excluded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = Lock()

    def describe(self) -> Any:
        """Return what pixels depend on besides the model, for fingerprints.

        Raises:
            ImportError: If a package is missing; names the extra that has it.
        """
        if self.decoding == "gpu":
            return describe_device_decoding()
        return (
            DECODING
            if self.decoding == "exact"
            else f"{DECODING}, at {REDUCING_GAP} times the size"
        )

    @cached_property
    def processor(self) -> Any:
        """The model's image processor."""
        return self.checkpoint.load_image_processor()

    @cached_property
    def pixels(self) -> PixelPreprocessor | None:
        """The image processor in 8 bits, or None if it has to be used itself."""
        return find_preprocessor(self.processor)

    @cached_property
    def target_size(self) -> tuple[int, int]:
        """Width and height of the area that the image processor covers with a picture."""
        return find_target_size(self.processor, self.checkpoint.model)

    @cached_property
    def _decoder(self) -> DeviceDecoder:
        import torch

        device = self._find_device()
        pixels = check_device_decoding(self.pixels, device, self.checkpoint.model)
        return DeviceDecoder(pixels, torch.device(device))

    def load(self) -> None:
        """Load what `preprocess` needs.

        Raises:
            ModelError: If the model's pictures cannot be decoded in this way.
        """
        with self._lock:
            _ = self.pixels
            if self.decoding == "reduced":
                _ = self.target_size
            elif self.decoding == "gpu":
                check_device_decoding(self.pixels, self._find_device(), self.checkpoint.model)

    def preprocess(self, image: Image) -> Any:
        """Return the floats of the image processor, 8-bit pixels, or an encoded JPEG."""
        with self._lock:
            resize = self.pixels
            size = self.target_size if self.decoding == "reduced" else None
        encoded = read_jpeg(image) if self.decoding == "gpu" else None
        if encoded is not None:
            return encoded
        picture = open_image(image, size)
        if resize is not None:
            return {PIXELS: resize(picture)[np.newaxis]}
        return self.processor(images=[picture], return_tensors="np")

    def move(
        self,
        images: Sequence[Image],
        inputs: Sequence[Any],
        device: "torch.device",
        dtype: "torch.dtype",
    ) -> "dict[str, torch.Tensor]":
        """Return the arguments of the model for a batch, on its device; see `move_inputs`.

        Raises:
            DamagedPictureError: If a picture is found to be damaged only here.
        """
        if self.decoding == "gpu":
            with self._lock:
                decode = self._decoder
            inputs = StackedInputs({PIXELS: decode(images, inputs)})
        return move_inputs(inputs, self.pixels, device, dtype)
