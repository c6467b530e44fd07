"""BLIP as the original system used it: a captioning checkpoint in the dual encoder BlipModel."""

import json
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from newsimg.backbone.base import DualEncoder

if TYPE_CHECKING:
    import torch

SEED = 28  # of the original system, which drew the missing weights anew in each run


class BlipCaptioningBackbone(DualEncoder):
    """`BlipModel` of transformers, with random weights where the checkpoint has none.

    A captioning checkpoint has BLIP's picture encoder (Li et al. 2022, "BLIP: Bootstrapping
    language-image pre-training"), but no text encoder and no projections, so that its rankings are
    random. It is only here for comparison with the original system. A checkpoint of a complete
    `BlipModel` has no random weights.
    """

    @cached_property
    def fingerprint(self) -> str:
        """See `DualEncoder.fingerprint`; the drawn weights depend on the versions of libraries."""
        versions = {name: version(name) for name in ("torch", "transformers")}
        facts = json.loads(super().fingerprint)
        return json.dumps(facts | {"missing_weights": {"seed": SEED, **versions}})

    def load_model(self) -> Any:
        """See `DualEncoder.load_model`."""
        import torch
        from transformers import BlipModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.checkpoint.load_model(BlipModel, draw_missing=True)

    def text_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.text_features`."""
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return self.model.get_text_features(**texts).pooler_output

    def image_features(self, inputs: Any) -> "torch.Tensor":
        """See `DualEncoder.image_features`."""
        return self.model.get_image_features(**inputs).pooler_output
