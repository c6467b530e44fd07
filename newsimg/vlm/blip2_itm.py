"""BLIP-2's image-text matching."""

from typing import TYPE_CHECKING, Any

from newsimg.vlm.matching import MatchingModel

if TYPE_CHECKING:
    import torch


class Blip2Matching(MatchingModel):
    """BLIP-2's querying transformer with its matching head, averaged over the queries.

    Li et al. (2023), "BLIP-2: Bootstrapping language-image pre-training with frozen image encoders
    and large language models", section 3.2.
    """

    def load(self) -> Any:
        """See `MatchingModel.load`."""
        from transformers import Blip2ForImageTextRetrieval

        return self.checkpoint.load_model(Blip2ForImageTextRetrieval)

    def encode_picture(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """See `MatchingModel.encode_picture`."""
        return self.model.vision_model(pixel_values=pixels).last_hidden_state

    def match(self, picture: "torch.Tensor", texts: Any) -> "torch.Tensor":
        """See `MatchingModel.match`."""
        import torch

        queries = self.model.query_tokens.expand(len(picture), -1, -1)
        mask = torch.ones(queries.shape[:2], dtype=torch.long, device=queries.device)
        encoded = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=texts["input_ids"], query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([mask, texts["attention_mask"]], dim=1),
            encoder_hidden_states=picture,
            encoder_attention_mask=picture.new_ones(picture.shape[:2]).long(),
        )
        states = encoded.last_hidden_state[:, : queries.shape[1]]
        return self.model.itm_head(states.to(self.model.itm_head.weight.dtype)).mean(dim=1)
