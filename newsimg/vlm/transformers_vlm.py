"""Vision-language models whose processor prepares the prompt."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from newsimg.vlm.base import ChatVLM

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
        inputs = self.processor(
            images=[picture],
            text=[self.placeholder],
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = inputs.pop("input_ids")
        # Other tensors have the shape of the tokens: attention mask, token types.
        own = {name: value for name, value in inputs.items() if value.shape != tokens.shape}
        return tokens[0].tolist(), own
