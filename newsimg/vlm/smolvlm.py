"""SmolVLM, SmolVLM2 and Idefics3."""

from typing import TYPE_CHECKING

from PIL import Image as PILImage

from newsimg.vlm.base import ChatVLM

if TYPE_CHECKING:
    import torch


class SmolVLM(ChatVLM):
    """The Idefics3 family: a picture is encoded as tiles followed by a downscaled copy.

    Marafioti et al. (2025), "SmolVLM: Redefining small and efficient multimodal models";
    Laurençon et al. (2024), "Building and better understanding vision-language models".
    """

    placeholder = "<image>"
    picture_axis = 1  # tiles; axis 0 is the prompts

    def encode(self, picture: PILImage.Image) -> tuple[list[int], dict[str, "torch.Tensor"]]:
        """See `ChatVLM.encode`."""
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        inputs = self.image_processor(
            images=[[picture]], return_row_col_info=True, return_tensors="pt"
        )
        config = self.model.config
        height, width = inputs["pixel_values"].shape[-2:]
        patch = config.vision_config.patch_size
        n_tokens = (height // patch) * (width // patch) // config.scale_factor**2
        expansion = get_image_prompt_string(
            inputs["rows"][0][0],
            inputs["cols"][0][0],
            n_tokens,
            fake_token_around_image="<fake_token_around_image>",
            image_token=self.placeholder,
            global_image_token="<global-img>",
        )
        tokens = self.prompts.tokenize(expansion)
        return tokens, {name: inputs[name] for name in ("pixel_values", "pixel_attention_mask")}
