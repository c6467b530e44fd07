"""BLIP with the contrastive heads of its image-text retrieval checkpoints."""

from typing import TYPE_CHECKING, Any

from newsimg.backbone.base import DualEncoder

if TYPE_CHECKING:
    import torch


class BlipBackbone(DualEncoder):
    """BLIP's projections of the first text and image token.

    These are the embeddings of the image-text contrastive loss (ITC) in Li et al. (2022), "BLIP:
    Bootstrapping language-image pre-training", section 3.2.
    """

    def load_model(self) -> Any:
        """See `DualEncoder.load_model`."""
        from transformers import BlipForImageTextRetrieval

        return self.checkpoint.load_model(BlipForImageTextRetrieval)

    def text_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.text_features`."""
        encoded = self.model.text_encoder(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        )
        return self.model.text_proj(encoded.last_hidden_state[:, 0])

    def image_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.image_features`."""
        encoded = self.model.vision_model(pixel_values=inputs["pixel_values"])
        return self.model.vision_proj(encoded.last_hidden_state[:, 0])
