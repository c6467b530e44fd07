"""BLIP's image-text matching."""

from typing import TYPE_CHECKING, Any

from newsimg.vlm.matching import MatchingModel

if TYPE_CHECKING:
    import torch


class BlipMatching(MatchingModel):
    """BLIP's text encoder, which attends to the picture, with its matching head.

    Li et al. (2022), "BLIP: Bootstrapping language-image pre-training", section 3.2.
    """

    def load(self) -> Any:
        """See `MatchingModel.load`."""
        from transformers import BlipForImageTextRetrieval

        return self.checkpoint.load_model(BlipForImageTextRetrieval)

    def encode_picture(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """See `MatchingModel.encode_picture`."""
        return self.model.vision_model(pixel_values=pixels).last_hidden_state

    def match(self, picture: "torch.Tensor", texts: Any) -> "torch.Tensor":
        """See `MatchingModel.match`."""
        encoded = self.model.text_encoder(
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
            encoder_hidden_states=picture,
            encoder_attention_mask=picture.new_ones(picture.shape[:2]).long(),
        )
        return self.model.itm_head(encoded.last_hidden_state[:, 0])
