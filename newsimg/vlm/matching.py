"""Base class of image-text matching models, which read a picture and a text together."""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.storage.models.checkpoints import Checkpoint, check_positive
from newsimg.storage.pictures.images import DECODING, open_image

if TYPE_CHECKING:
    import torch

ANSWERS = ("no", "yes")  # in the order of the head's outputs


class MatchingModel(VisionLanguageModel):
    """A cross-encoder with a head for image-text matching (ITM), loaded at first use.

    It answers "yes" or "no" to whether a text describes a picture, and nothing else.

    Args:
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: float32, tf32, bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Texts per forward pass.
        text_length: Tokens to which texts are truncated.
        architectures: Names of the accepted model classes; None accepts any.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str,
        dtype: str,
        device: str,
        batch_size: int,
        text_length: int,
        architectures: list[str] | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(
            *("vlm", model, revision, dtype, device, False), architectures=architectures
        )
        check_positive("vlm", batch_size=batch_size, text_length=text_length)
        self.batch_size = batch_size
        self.text_length = text_length

    @cached_property
    def fingerprint(self) -> str:
        """See `ChatModel.fingerprint`."""
        return json.dumps(
            {
                "class": type(self).__name__,
                **self.checkpoint.describe(),
                **self.checkpoint.arithmetic,
                "decoding": DECODING,
                "text_length": self.text_length,
            }
        )

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`. A question is the text to match.

        Raises:
            ValueError: If the answers are not "yes" and "no".
        """
        if not set(answers) <= set(ANSWERS):
            raise ValueError(
                f"{self.checkpoint.model} matches pictures and texts: it answers yes or no, not "
                f"{', '.join(answers)}; reranker=itm reads it"
            )
        columns = [ANSWERS.index(answer) for answer in answers]
        found = []
        with self.checkpoint.inference():
            for image, texts in zip(images, questions, strict=True):
                found.append(self._match(image, texts)[:, columns])
                if keep:
                    keep(len(found) - 1, dict(enumerate(found[-1])))
        return found

    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """See `VisionLanguageModel.write`.

        Raises:
            ValueError: Always, as the model writes no text.
        """
        raise ValueError(
            f"{self.checkpoint.model} matches pictures and texts and writes nothing; reranker=itm "
            "reads it"
        )

    @abstractmethod
    def load(self) -> Any:
        """Load the model."""

    @abstractmethod
    def encode_picture(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Return the states of a picture, (1, n_patches, dim)."""

    @abstractmethod
    def match(self, picture: "torch.Tensor", texts: Any) -> "torch.Tensor":
        """Return the logits of the head, (n_texts, 2).

        Args:
            picture: States of a picture, once per text: (n_texts, n_patches, dim).
            texts: Tokenised texts: `input_ids` and `attention_mask`, (n_texts, n_tokens).
        """

    @cached_property
    def model(self) -> Any:
        """The model, loaded."""
        return self.load()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.checkpoint.load_tokenizer()

    @cached_property
    def image_processor(self) -> Any:
        """The model's image processor."""
        return self.checkpoint.load_image_processor()

    def _match(self, image: Image, texts: Sequence[str]) -> FloatArray:
        device, dtype = self.model.device, self.model.dtype
        inputs = self.image_processor(images=[open_image(image)], return_tensors="pt")
        picture = self.encode_picture(inputs["pixel_values"].to(device, dtype))
        rows = []
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            tokens = self.tokenizer(
                batch,
                padding=True,
                truncation=True,
                max_length=self.text_length,
                return_tensors="pt",
            ).to(device)
            logits = self.match(picture.expand(len(batch), -1, -1), tokens)
            rows.append(logits.float().softmax(-1).cpu().numpy())
        return np.concatenate(rows)
