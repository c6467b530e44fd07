"""Qwen2-VL and models with the same architecture."""

from typing import TYPE_CHECKING

from PIL import Image as PILImage

from newsimg.vlm.base import ChatVLM

if TYPE_CHECKING:
    import torch


class Qwen2VLM(ChatVLM):
    """Qwen2-VL, Qwen2.5-VL, Qwen3-VL: pictures of any size, and positions in three dimensions.

    Wang et al. (2024), "Qwen2-VL: Enhancing vision-language model's perception of the world at any
    resolution". The tokens of a picture share positions (M-RoPE), so that the positions of the text
    after it are smaller than its token indices.
    """

    placeholder = "<|image_pad|>"

    def encode(self, picture: PILImage.Image) -> tuple[list[int], dict[str, "torch.Tensor"]]:
        """See `ChatVLM.encode`."""
        inputs = self.image_processor(images=[picture], return_tensors="pt")
        n_patches = int(inputs["image_grid_thw"][0].prod())
        n_tokens = n_patches // self.image_processor.merge_size**2
        tokens = [self.model.config.image_token_id] * n_tokens
        return tokens, {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}

    def mark_tokens(self, tokens: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """See `ChatVLM.mark_tokens`."""
        return {"mm_token_type_ids": (tokens == self.model.config.image_token_id).int()}

    def next_offsets(self, n_rows: int) -> "torch.Tensor":
        """See `ChatVLM.next_offsets`."""
        return self.model.model.rope_deltas.reshape(n_rows)
