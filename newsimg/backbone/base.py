"""Base class of the dual encoders loaded with transformers."""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from newsimg.backbone.compiled import CompiledTower, describe_compilation
from newsimg.backbone.forward import ForwardBatches
from newsimg.backbone.pictures.inputs import PictureInputs
from newsimg.backbone.quantized import QuantizedTower, check_quantize, describe_quantization
from newsimg.datatypes import FloatArray, Image
from newsimg.interfaces import Backbone
from newsimg.storage.models.batches import BatchSize
from newsimg.storage.models.checkpoints import Checkpoint, check_positive, choose_device
from newsimg.storage.models.fit import ModelError
from newsimg.storage.pictures.images import DECODER_THREADS, DECODING
from newsimg.storage.text.suggest import check_choice
from newsimg.storage.text.templates import check_template

if TYPE_CHECKING:
    import torch


TEXT_PADDINGS = ("longest", "max_length")


@dataclass(frozen=True)
class Prepared(Sequence["Prepared"]):
    """Pictures of a batch with what `preprocess` returned for each.

    Attributes:
        images: Pictures, for messages.
        inputs: Of each picture.
    """

    images: Sequence[Image]
    inputs: Sequence[Any]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: Any) -> "Prepared":
        """Return some of them; a slice."""
        return Prepared(self.images[part], self.inputs[part])


class DualEncoder(Backbone):
    """A dual encoder with its tokenizer and image processor, loaded with transformers at first use.

    Args:
        model: Hub id or local folder.
        revision: Branch, tag or commit of a Hub model.
        dtype: Data type of weights and activations: float32, tf32 (float32 with TF32 products on a
            GPU), bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Texts or pictures per forward pass, or "auto"; halved if memory runs out.
        text_padding: "longest" in the batch, or "max_length" for models trained that way.
        text_length: Number of tokens to which texts are truncated.
        query_template: Template of a query's text with {title}, {tags}, {people}, {organisations}
            and further columns of the data; of several, the embeddings are averaged.
        lowercase: Whether to lowercase texts, for models trained on lowercase text whose tokenizer
            does not do so.
        decoding: "exact", or "reduced" to decode JPEGs much larger than the model's input at 1/2,
            1/4 or 1/8 of their size, which is faster and changes embeddings in the fifth digit, or
            "gpu" to decode and resize JPEGs on a GPU, which changes them in the fourth.
        trust_remote_code: Whether to run Python code from the model repository.
        quantize: "int8" to run the picture tower in 8-bit integers on a CPU; None for `dtype`.
        compile: Whether torch compiles the picture tower at the first batch, which takes a minute;
            batches with fewer pictures are padded.
        architectures: Accepted `architectures` in the model's config.json, for which the other
            arguments are valid; None for any.
        vocab_size: Accepted vocabulary size, to distinguish model families with the same
            architecture; None for any.

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
        batch_size: BatchSize,
        text_padding: str,
        text_length: int,
        query_template: str | list[str],
        lowercase: bool = False,
        decoding: str = "exact",
        trust_remote_code: bool = False,
        quantize: str | None = None,
        compile: bool = False,
        architectures: list[str] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(
            *("backbone", model, revision, dtype, device, trust_remote_code),
            architectures=architectures,
            vocab_size=vocab_size,
        )
        check_choice("backbone.text_padding", text_padding, TEXT_PADDINGS)
        check_quantize(quantize, dtype, device, compile)
        check_positive("backbone", text_length=text_length)
        self._batches = ForwardBatches("backbone", batch_size)
        self.text_padding = text_padding
        self.text_length = text_length
        self.query_template = check_template(query_template)
        self.lowercase = lowercase
        self.pictures = PictureInputs(self.checkpoint, decoding, self._find_device)
        self.quantize = quantize
        self.compile = compile

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the loaded model from pickling: the other process loads it again."""
        excluded = {"model", "tokenizer", "_quantized", "_compiled"}
        return {name: value for name, value in vars(self).items() if name not in excluded}

    @cached_property
    def batch_size(self) -> int:  # type: ignore[override]
        """Texts or pictures per forward pass; see `ForwardBatches`."""
        return self._batches.choose(self._find_device)

    @property
    def is_asynchronous(self) -> bool:
        """See `Backbone.is_asynchronous`."""
        return self._find_device() != "cpu"

    def _find_device(self) -> str:
        return choose_device(self.checkpoint.device, "backbone.device")

    @cached_property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`; the model's files include the preprocessing settings."""
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": self.checkpoint.identify(),
                **self.checkpoint.arithmetic,
                "text_padding": self.text_padding,
                "text_length": self.text_length,
                "lowercase": self.lowercase,
                "decoding": self.pictures.describe(),
                **({"quantize": describe_quantization()} if self.quantize else {}),
                **({"compile": describe_compilation()} if self.compile else {}),
            }
        )

    @property
    def description(self) -> dict[str, Any]:
        """See `Backbone.description`: the fingerprint, with the settings as in the config."""
        facts = json.loads(self.fingerprint)
        settings = {"model": self.checkpoint.model, "decoding": self.pictures.decoding}
        if self.quantize:
            settings["quantize"] = self.quantize
        settings["dtype"] = self.checkpoint.dtype  # tf32 is one of its values
        facts.pop("tf32", None)
        return facts | settings | {"weights": facts["model"], "pixels": DECODING}

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self._embed(texts, self._encode_texts)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`."""
        return self._embed(images, self._encode_images)

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`: texts of more than `text_length` tokens."""
        untruncated = self.tokenizer(self._lower(texts), verbose=False)["input_ids"]
        return [len(tokens) > self.text_length for tokens in untruncated]

    @abstractmethod
    def load_model(self) -> Any:
        """Load the model."""

    @abstractmethod
    def text_features(self, inputs: Any) -> "torch.Tensor":
        """Return the embeddings of tokenised texts, (n_texts, dim), not normalised."""

    @abstractmethod
    def image_features(self, inputs: Any) -> "torch.Tensor":
        """Return the embeddings of preprocessed pictures, (n_images, dim), not normalised."""

    @cached_property
    def model(self) -> Any:
        """The loaded model."""
        return self.load_model()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.checkpoint.load_tokenizer()

    @property
    def image_processor(self) -> Any:
        """The model's image processor."""
        return self.pictures.processor

    @cached_property
    def _quantized(self) -> QuantizedTower:
        if self._find_device() != "cpu":
            raise ModelError("backbone.quantize=int8 runs on a CPU: add backbone.device=cpu")
        identity = {"class": type(self).__name__, "model": self.checkpoint.identify()}
        return QuantizedTower(
            self.checkpoint.model,
            identity | describe_quantization(),
            lambda: self.model,
            self.image_features,
        )

    @cached_property
    def _compiled(self) -> CompiledTower:
        return CompiledTower(self.checkpoint.model, self.image_features)

    def _encode_texts(self, texts: Sequence[str], _: int) -> "torch.Tensor":
        inputs = self.tokenizer(
            self._lower(texts),
            padding=self.text_padding,
            truncation=True,
            max_length=self.text_length,
            return_tensors="pt",
        )
        return self.text_features(inputs.to(self.model.device))

    def _lower(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() if self.lowercase else text for text in texts]

    def load_preprocessing(self) -> None:
        """See `Backbone.load_preprocessing`."""
        self.pictures.load()

    def preprocess(self, image: Image) -> Any:
        """See `Backbone.preprocess` and `PictureInputs.preprocess`."""
        return self.pictures.preprocess(image)

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """See `Backbone.embed_preprocessed`."""
        return self._embed(Prepared(images, inputs), self._encode_prepared)

    def _encode_images(self, images: Sequence[Image], full: int) -> "torch.Tensor":
        with ThreadPoolExecutor(DECODER_THREADS) as pool:
            inputs = list(pool.map(self.preprocess, images))
        return self._encode_prepared(Prepared(images, inputs), full)

    def _encode_prepared(self, batch: Prepared, full: int) -> "torch.Tensor":
        import torch

        if self.quantize is not None:
            where = torch.device("cpu"), torch.float32
            return self._quantized(self.pictures.move(batch.images, batch.inputs, *where))
        where = self.model.device, self.model.dtype
        arguments = self.pictures.move(batch.images, batch.inputs, *where)
        return self._compiled(arguments, full) if self.compile else self.image_features(arguments)

    def _embed(
        self, items: Sequence[Any], encode: Callable[[Any, int], "torch.Tensor"]
    ) -> FloatArray:
        if not items:
            raise ValueError("need at least 1 text or picture to embed, got 0")
        with self.checkpoint.inference():
            started = self._batches.start(items, self.batch_size, encode)
        # Outside of the context, which another thread may enter while a GPU computes.
        return to_unit_rows(np.concatenate([rows.wait() for rows in started]))


def to_unit_rows(embeddings: FloatArray) -> FloatArray:
    """Scale every row to length 1.

    Raises:
        ValueError: If a row is zero or not finite.
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        bad = int(np.argmin((np.isfinite(lengths) & (lengths > 0))[:, 0]))
        raise ValueError(f"an embedding must have a finite length above 0, got {lengths[bad, 0]}")
    return (embeddings / lengths).astype(np.float32)
