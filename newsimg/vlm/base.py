"""Base class of vision-language models loaded with transformers."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PILImage

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepRow, KeepText, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.storage.models.adapters import attach_adapter, identify_adapter
from newsimg.storage.models.asked import keep_first
from newsimg.storage.models.batches import BatchSize, TokenBatches
from newsimg.storage.models.checkpoints import Checkpoint, check_positive, greedy_settings
from newsimg.storage.pictures.images import DECODING
from newsimg.vlm.answer_reader import ask_pictures
from newsimg.vlm.batch_runner import BatchRunner
from newsimg.vlm.prompts import (
    EncodedList,
    PicturePrompts,
    Shown,
    Split,
    show_lists,
    show_pictures,
)

if TYPE_CHECKING:
    import torch

ADAPTER_KEY = "vlm.adapter"


class ChatVLM(VisionLanguageModel):
    """A vision-language chat model, loaded at first use.

    A picture is shown before its question in one user turn, in the model's own chat template.

    Args:
        model: Hub id or local folder.
        revision: Branch, tag or commit of a hub model.
        dtype: Type of weights and activations: float32, tf32 (float32, products in TF32 on a GPU),
            bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Largest number of questions, and of pictures, per forward pass; "auto" for as
            many as fit into memory and keep the device busy.
        share_prefix: Whether the picture and the common prefix of its questions are computed once
            (prefix caching). Otherwise, and for models with recurrent layers, whose state cannot
            be shared, every question is run with its full prompt.
        answer_prefix: Text that the model writes before the answer, such as a space.
        max_new_tokens: Maximum length of a generated answer.
        system: System prompt; empty for none.
        trust_remote_code: Whether to run Python code from the model's repository.
        architectures: Names of the accepted model classes; None accepts any.
        adapter: Hub id or folder of an adapter for the model, written by peft.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    picture_axis = 0  # of the tensors of `encode`, for several pictures in one prompt

    def __init__(
        self,
        *,
        model: str,
        revision: str,
        dtype: str,
        device: str,
        batch_size: BatchSize,
        share_prefix: bool,
        answer_prefix: str,
        max_new_tokens: int,
        system: str = "",
        trust_remote_code: bool = False,
        architectures: list[str] | None = None,
        adapter: str | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(
            *("vlm", model, revision, dtype, device, trust_remote_code), architectures=architectures
        )
        check_positive("vlm", max_new_tokens=max_new_tokens)
        self.batches = TokenBatches("vlm", batch_size)
        self.share_prefix = share_prefix
        self.answer_prefix = answer_prefix
        self.max_new_tokens = max_new_tokens
        self.system = system
        self.adapter = adapter

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
            | ({"adapter": identify_adapter(self.adapter, ADAPTER_KEY)} if self.adapter else {})
        )

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`."""
        tokens = self.prompts.find_answer_tokens(questions[0][0], answers, self.answer_prefix)
        found = [np.empty((0, len(answers)), np.float32)] * len(images)

        def keep_found(number: int, rows: FloatArray) -> None:
            found[number] = rows
            if keep:
                keep(number, dict(enumerate(rows)))

        with self.checkpoint.inference():
            shown = self._show(images, questions, self.answer_prefix)
            ask_pictures(self._runner, shown, tokens, keep_found)
        return found

    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """See `VisionLanguageModel.write`."""
        found = [[""] * len(texts) for texts in questions]

        def keep_found(number: int, texts: dict[int, str]) -> None:
            for position, text in texts.items():
                found[number][position] = text
            if keep:
                keep(number, texts)

        with self.checkpoint.inference():
            settings = greedy_settings(self.model, self.tokenizer, self.max_new_tokens)
            shown = self._show(images, questions, "")
            self._runner.write(shown, self.tokenizer, settings, keep_found)
        return found

    def compare(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        max_side: int,
        max_new_tokens: int,
        keep: KeepText | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """See `VisionLanguageModel.compare`."""
        found = [""] * len(questions)
        with self.checkpoint.inference():
            settings = greedy_settings(self.model, self.tokenizer, max_new_tokens)
            _ = self.prompts  # loaded here, not in the thread that encodes
            shown = show_lists(images, questions, max_side, self.encode_list, self._split, "")
            self._runner.write(shown, self.tokenizer, settings, keep_first(found, keep))
        return found

    def choose(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        answers: Sequence[str],
        max_side: int,
        answer_prefix: str,
        keep: KeepRow | None = None,
    ) -> FloatArray:
        """See `VisionLanguageModel.choose`."""
        ending = answer_prefix or self.answer_prefix
        tokens = self.prompts.find_answer_tokens(questions[0], answers, ending, len(images[0]))
        found = [np.empty(0, np.float32)] * len(questions)
        with self.checkpoint.inference():
            shown = show_lists(images, questions, max_side, self.encode_list, self._split, ending)
            ask_pictures(self._runner, shown, tokens, keep_first(found, keep), share_prefix=False)
        return np.array(found)

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

    def encode_list(self, pictures: Sequence[PILImage.Image]) -> EncodedList:
        """Prepare the pictures of one prompt: the tokens of each, and the arguments for all."""
        import torch

        encoded = [self.encode(picture) for picture in pictures]
        inputs = {
            name: torch.cat([own[name] for _, own in encoded], dim=self.picture_axis)
            for name in encoded[0][1]
        }
        return [tokens for tokens, _ in encoded], inputs

    def mark_tokens(self, tokens: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        """Return further arguments of `forward` for tokens (n_rows, n_tokens)."""
        return {}

    def next_offsets(self, n_rows: int) -> "torch.Tensor":
        """Return the next position of each row minus its number of tokens, after a run: (n_rows,).

        Not 0 if the tokens of a picture share positions.
        """
        import torch

        return torch.zeros(n_rows, dtype=torch.long, device=self.model.device)

    @cached_property
    def model(self) -> Any:
        """The model, loaded."""
        from transformers import AutoModelForImageTextToText

        model = self.checkpoint.load_model(AutoModelForImageTextToText)
        if self.adapter is not None:
            attach_adapter(model, self.checkpoint.model, self.adapter, ADAPTER_KEY)
        return model

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
    def _split(self) -> Split:
        # Each headline is used with many pictures, and rendering the template is slow.
        return lru_cache(maxsize=4096)(self.prompts.split)

    @cached_property
    def _runner(self) -> BatchRunner:
        return BatchRunner(
            self.checkpoint.model,
            self.model,
            self.batches,
            self.mark_tokens,
            self.next_offsets,
            self.share_prefix,
        )

    def _show(
        self, images: Sequence[Image], questions: Sequence[Sequence[str]], ending: str
    ) -> Iterator[Shown]:
        _ = self.model, self.prompts  # loaded here, not in the thread that encodes
        return show_pictures(images, questions, self.encode, self._split, ending)
