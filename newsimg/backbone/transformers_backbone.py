"""Dual encoders with transformers' feature interface: CLIP, SigLIP, SigLIP 2, ALIGN, Jina CLIP."""

from typing import TYPE_CHECKING, Any

from newsimg.backbone.base import DualEncoder

if TYPE_CHECKING:
    import torch


class TransformersBackbone(DualEncoder):
    """Any `AutoModel` that implements `get_text_features` and `get_image_features`."""

    def load_model(self) -> Any:
        """See `DualEncoder.load_model`."""
        from transformers import AutoModel

        model = self.checkpoint.load_model(AutoModel)
        if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
            raise ValueError(
                f"backbone.model={self.checkpoint.model} is a {type(model).__name__}, expected a "
                "dual encoder with get_text_features and get_image_features, such as CLIP"
            )
        return model

    def text_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.text_features`."""
        return _to_tensor(self.model.get_text_features(**inputs))

    def image_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.image_features`."""
        return _to_tensor(self.model.get_image_features(**inputs))


def _to_tensor(output: Any) -> "torch.Tensor":
    # transformers 5 returns an output object, models with remote code may return a tensor.
    return getattr(output, "pooler_output", output)
