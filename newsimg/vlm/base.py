"""Base class of vision-language models loaded with transformers."""

import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PILImage

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.storage.models.checkpoints import Checkpoint, check_positive, greedy_settings
from newsimg.storage.pictures.images import DECODING, open_image
from newsimg.vlm.prefix_cache import (
    Prefix,
    can_be_repeated,
    extend_prefix,
    group_by_beginning,
    pad_left,
    pad_right,
    read_after,
    read_cache,
    read_last,
)
from newsimg.vlm.prompts import PicturePrompts

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class ChatVLM(VisionLanguageModel):
    """A vision-language chat model, loaded at first use.

    A picture is shown before its question in one user turn, in the model's own chat template.

    Args:
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: Type of weights and activations: float32, tf32 (float32, products in TF32 on a GPU),
            bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Questions per forward pass.
        share_prefix: Whether the picture and the common prefix of its questions are computed once
            (prefix caching). Otherwise, and for models with recurrent layers, whose state cannot
            be shared, every question is run with its full prompt.
        answer_prefix: Text that the model writes before the answer, such as a space.
        max_new_tokens: Maximum length of a generated answer.
        system: System prompt; empty for none.
        trust_remote_code: Whether to run Python code from the model's repository.
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
        share_prefix: bool,
        answer_prefix: str,
        max_new_tokens: int,
        system: str = "",
        trust_remote_code: bool = False,
        architectures: list[str] | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(
            *("vlm", model, revision, dtype, device, trust_remote_code), architectures=architectures
        )
        check_positive("vlm", batch_size=batch_size, max_new_tokens=max_new_tokens)
        self.batch_size = batch_size
        self.share_prefix = share_prefix
        self.answer_prefix = answer_prefix
        self.max_new_tokens = max_new_tokens
        self.system = system
        self._last: tuple[Image, list[int], Prefix] | None = None
        self._cannot_share = False

    @cached_property
    def fingerprint(self) -> str:
        """See `VisionLanguageModel.fingerprint`.

        Chat template and image processing are part of the model's files. Padding does not change
        answers: on the right it follows the tokens that are read, on the left it is masked.
        """
        return json.dumps(
            {
                "class": type(self).__name__,
                **self.checkpoint.describe(),
                **self.checkpoint.arithmetic,
                "decoding": DECODING,
                "padding_sides": {"expected": "right", "generate": "left"},
                "attention_mask": {"expected": "causal", "generate": "causal, padding masked"},
                "share_prefix": self.share_prefix,
                "answer_prefix": self.answer_prefix,
                "max_new_tokens": self.max_new_tokens,
                **({"system": self.system} if self.system else {}),
            }
        )

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`."""
        tokens = self.prompts.find_answer_tokens(questions[0][0], answers)
        read = self._read_shared if self.share_prefix else self._read_plain
        found = []
        with self.checkpoint.inference():
            for image, texts in zip(images, questions, strict=True):
                found.append(read(image, texts, tokens))
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
        """See `VisionLanguageModel.write`."""
        found = []
        with self.checkpoint.inference():
            for image, texts in zip(images, questions, strict=True):
                found.append(self._write(image, texts))
                if keep:
                    keep(len(found) - 1, dict(enumerate(found[-1])))
        return found

    @property
    @abstractmethod
    def placeholder(self) -> str:
        """Token that the chat template writes for a picture."""

    @abstractmethod
    def encode(self, picture: PILImage.Image) -> tuple[list[int], dict[str, "torch.Tensor"]]:
        """Prepare a picture.

        Returns:
            The tokens that replace the placeholder in the prompt, and the arguments of the model's
            `forward` for the picture, as tensors that can be concatenated for several pictures.
        """

    def mark_tokens(self, tokens: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return further arguments of `forward` for tokens (n_rows, n_tokens)."""
        return {}

    def next_offset(self) -> int:
        """Return the difference between the next text token's position and the number of tokens."""
        return 0

    @cached_property
    def model(self) -> Any:
        """The model, loaded."""
        from transformers import AutoModelForImageTextToText

        return self.checkpoint.load_model(AutoModelForImageTextToText)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.checkpoint.load_tokenizer()

    @cached_property
    def image_processor(self) -> Any:
        """The model's image processor."""
        return self.checkpoint.load_image_processor()

    @cached_property
    def chat_template(self) -> str:
        """The chat template of the model's processor, or of its tokenizer."""
        from transformers import ProcessorMixin

        arguments = self.checkpoint.source
        settings, _ = ProcessorMixin.get_processor_dict(
            arguments.pop("pretrained_model_name_or_path"), revision=arguments["revision"]
        )
        template = settings.get("chat_template") or self.tokenizer.chat_template
        if template is None:
            raise ValueError(
                f"vlm.model must be a chat model, but {self.checkpoint.model} has no template"
            )
        return template

    @cached_property
    def prompts(self) -> PicturePrompts:
        """Builds prompts for this model."""
        return PicturePrompts(
            self.tokenizer, self.chat_template, self.placeholder, self.answer_prefix, self.system
        )

    @cached_property
    def _split(self) -> Callable[[str, str], tuple[list[int], list[int]]]:
        # Each headline is used with many pictures, and rendering the template is slow.
        return lru_cache(maxsize=4096)(self.prompts.split)

    def _read_shared(self, image: Image, texts: Sequence[str], answers: list[int]) -> FloatArray:
        if self._cannot_share:
            return self._read_plain(image, texts, answers)
        prompts = [self._split(text, self.answer_prefix) for text in texts]
        if any(head != prompts[0][0] for head, _ in prompts):  # text before the picture differs
            return self._read_plain(image, texts, answers)
        prefix = self._run_picture(image, prompts[0][0])
        if not can_be_repeated(prefix.cache):
            self._cannot_share, self._last = True, None
            log.warning(
                "%s has recurrent layers, whose state cannot be shared: every question is run with "
                "its whole prompt (vlm.share_prefix=false says so)",
                self.checkpoint.model,
            )
            return self._read_plain(image, texts, answers)
        rows = [tail for _, tail in prompts]
        probabilities = np.empty((len(rows), len(answers)), dtype=np.float32)
        for group, n_shared in group_by_beginning(rows):
            shared = prefix
            if n_shared:
                shared = extend_prefix(self.model, prefix, rows[group[0]][:n_shared])
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                logits = read_after(self.model, shared, [rows[i][n_shared:] for i in batch])
                probabilities[batch] = logits.softmax(-1)[:, answers].cpu().numpy()
        return probabilities

    def _run_picture(self, image: Image, head: list[int]) -> Prefix:
        # The questions of a picture may come in two consecutive calls.
        if self._last is None or self._last[:2] != (image, head):
            expansion, inputs = self.encode(open_image(image))
            tokens = pad_right([head + expansion], self.model.device)
            output = self.model(
                input_ids=tokens,
                use_cache=True,
                logits_to_keep=1,
                **self.mark_tokens(tokens),
                **self._place(inputs),
            )
            prefix = Prefix(read_cache(output), tokens.shape[1], self.next_offset())
            self._last = (image, head, prefix)
        return self._last[2]

    def _read_plain(self, image: Image, texts: Sequence[str], answers: list[int]) -> FloatArray:
        import torch

        expansion, inputs = self.encode(open_image(image))
        rows = self._write_prompts(texts, expansion, self.answer_prefix)
        found = []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            padded = pad_right(batch, self.model.device)
            logits = read_last(
                self.model,
                batch,
                input_ids=padded,
                **self.mark_tokens(padded),
                **self._place(inputs, len(batch)),
            )
            found.append(logits.softmax(-1)[:, answers])
        return torch.cat(found).cpu().numpy()

    def _write(self, image: Image, texts: Sequence[str]) -> list[str]:
        expansion, inputs = self.encode(open_image(image))
        rows = self._write_prompts(texts, expansion, "")
        settings = greedy_settings(self.model, self.tokenizer, self.max_new_tokens)
        written = []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            padded, mask = pad_left(batch, settings.pad_token_id, self.model.device)
            tokens = self.model.generate(
                input_ids=padded,
                attention_mask=mask,
                generation_config=settings,
                **self.mark_tokens(padded),
                **self._place(inputs, len(batch)),
            )
            written += self.tokenizer.batch_decode(
                tokens[:, padded.shape[1] :], skip_special_tokens=True
            )
        return written

    def _place(self, inputs: Mapping[str, Any], n_copies: int = 1) -> dict[str, Any]:
        import torch

        placed = {}
        for name, tensor in inputs.items():
            moved = tensor.to(self.model.device)
            if moved.is_floating_point():
                moved = moved.to(self.model.dtype)
            placed[name] = torch.cat([moved] * n_copies)
        return placed

    def _write_prompts(
        self, texts: Sequence[str], picture: list[int], ending: str
    ) -> list[list[int]]:
        split = [self._split(text, ending) for text in texts]
        return [head + picture + tail for head, tail in split]
