"""Vision-language models whose processor prepares the prompt."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from newsimg.vlm.base import ChatVLM
from newsimg.vlm.prompts import Encoded, EncodedList

if TYPE_CHECKING:
    import torch


class TransformersVLM(ChatVLM):
    """Any image-text-to-text model whose text positions equal token indices.

    Some processors also prepare videos and need torchvision; the classes for Qwen2-VL and SmolVLM
    do not.
    """

    @cached_property
    def processor(self) -> Any:
        """The model's processor."""
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(**self.checkpoint.source)
        self.checkpoint.check_image_processor(processor.image_processor)
        return processor

    @property
    def placeholder(self) -> str:
        """See `ChatVLM.placeholder`."""
        return str(self.processor.image_token)

    def encode(self, picture: PILImage.Image) -> tuple[list[int], dict[str, "torch.Tensor"]]:
        """See `ChatVLM.encode`."""
        return self._process([picture])

    def encode_list(self, pictures: Sequence[PILImage.Image]) -> EncodedList:
        """See `ChatVLM.encode_list`. Families differ in how tensors are joined: the processor does.

        Raises:
            ValueError: If the processor writes pictures in a list otherwise than alone.
        """
        alone = [self.encode(picture)[0] for picture in pictures]
        tokens, inputs = self._process(pictures)
        if tokens != [token for own in alone for token in own]:
            raise ValueError(
                f"the processor of {self.checkpoint.model} writes several pictures otherwise than "
                "each alone: they cannot be shown in one prompt"
            )
        return alone, inputs

    def _process(self, pictures: Sequence[PILImage.Image]) -> Encoded:
        inputs = self.processor(
            images=list(pictures),
            text=[self.placeholder * len(pictures)],
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = inputs.pop("input_ids")
        # Other tensors have the shape of the tokens: attention mask, token types.
        own = {name: value for name, value in inputs.items() if value.shape != tokens.shape}
        return tokens[0].tolist(), own
