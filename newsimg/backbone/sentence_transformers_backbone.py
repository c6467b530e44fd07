"""Models of the sentence-transformers library, for texts and pictures or for texts alone."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from newsimg.backbone.batched import BatchedBackbone, find_versions
from newsimg.backbone.sentence_transformers_model import load_sentence_transformer
from newsimg.datatypes import Image
from newsimg.storage.models.checkpoints import Checkpoint, check_positive, identify_model
from newsimg.storage.models.fit import ModelError
from newsimg.storage.pictures.images import DECODING
from newsimg.storage.progress import announce
from newsimg.storage.text.suggest import check_choice

if TYPE_CHECKING:
    import torch

QUERY, DOCUMENT = "query", "document"  # the library's names for the two sides of a search
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
LIBRARIES = ("sentence-transformers", "torchvision")  # the second resizes pictures if it is there
UNLIMITED = 1e9  # above it, a tokenizer's length is none


class SentenceTransformersBackbone(BatchedBackbone):
    """Any SentenceTransformer: its modules, pooling and prompts are part of the model's files.

    Reimers and Gurevych (2019), "Sentence-BERT: sentence embeddings using siamese BERT-networks",
    EMNLP. Models for texts alone are for components that compare texts.

    Args:
        model: Hub id, or a folder written by sentence-transformers.
        revision: Branch, tag or commit of a hub model.
        dtype: Data type of weights and activations: float32, tf32 (float32 with TF32 products on a
            GPU), bfloat16 or float16.
        device: A torch device, or "auto".
        batch_size: Texts or pictures per forward pass.
        query_template: Template of a query's text, or several; see `DualEncoder`.
        prompt_name: Name of the model's prompt for texts, such as "query": texts are embedded as
            queries, pictures as documents, each with its prompt. None embeds both as they are.
        prompt: Prompt for texts instead of one of the model's.
        task: Task for texts and pictures, for models that have tasks of their own.
        truncate_dim: Number of leading dimensions that are kept, for models trained to allow it
            (Kusupati et al. 2022, "Matryoshka representation learning", NeurIPS); None for the
            model's setting.
        trust_remote_code: Whether to run Python code from the model repository.

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
        query_template: str | list[str],
        prompt_name: str | None,
        prompt: str | None,
        task: str | None,
        truncate_dim: int | None,
        trust_remote_code: bool = False,
    ) -> None:
        checkpoint = Checkpoint("backbone", model, revision, dtype, device, trust_remote_code)
        super().__init__(checkpoint, batch_size, query_template)
        if prompt_name is not None and prompt is not None:
            raise ValueError(
                f"backbone.prompt_name={prompt_name} and backbone.prompt={prompt!r} exclude each "
                "other: add backbone.prompt_name=null or backbone.prompt=null"
            )
        if truncate_dim is not None:
            check_positive("backbone", truncate_dim=truncate_dim)
        self.prompt_name = prompt_name
        self.prompt = prompt
        self.task = task
        self.truncate_dim = truncate_dim

    @cached_property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`; the library pools, and renders pictures and prompts."""
        source = self.checkpoint
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": identify_model(
                    source.model, source.revision, "backbone.model", "modules.json"
                ),
                **source.arithmetic,
                "libraries": find_versions(LIBRARIES, "sentence-transformers"),
                "prompt_name": self.prompt_name,
                "prompt": self.prompt,
                "task": self.task,
                "truncate_dim": self.truncate_dim,
                "pixels": DECODING,
            }
        )

    def load_model(self) -> Any:
        """Load the model and check that its parts fit together.

        Raises:
            ImportError: If sentence-transformers is not installed.
            ModelError: If the model cannot be loaded, or lacks weights.
            ValueError: If it lacks the prompt.
        """
        _ = self.fingerprint  # checks that there is such a model
        announce(f"loading {Path(self.checkpoint.model).name}")
        model = load_sentence_transformer(self.checkpoint)
        if self.prompt_name is not None:
            check_choice("backbone.prompt_name", self.prompt_name, sorted(model.prompts))
        return model

    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """See `BatchedBackbone.encode_texts`."""
        return self._encode(self._prepare_texts(texts), QUERY)

    def preprocess(self, image: Image) -> Any:
        """See `Backbone.preprocess`.

        Raises:
            ModelError: If the model is for texts alone.
        """
        if "image" not in self.model.modalities:
            raise ModelError(
                f"{self.checkpoint.model} embeds texts alone, it cannot be the backbone of a search"
            )
        return super().preprocess(image)

    def process_picture(self, picture: PILImage.Image) -> Any:
        """See `BatchedBackbone.process_picture`.

        Models that read pictures in chats pad those of a batch, which is prepared at once.
        """
        if "message" in self.model.modalities:
            return picture
        return self._prepare([picture], DOCUMENT)

    def encode_pictures(self, inputs: Sequence[Any]) -> "torch.Tensor":
        """See `BatchedBackbone.encode_pictures`."""
        import torch

        if "message" in self.model.modalities:
            return self._encode(self._prepare(inputs, DOCUMENT), DOCUMENT)
        features = {
            name: torch.cat([one[name] for one in inputs]) if torch.is_tensor(first) else first
            for name, first in inputs[0].items()
        }
        return self._encode(features, DOCUMENT)

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`: texts that exceed the model's length with their prompt."""
        from sentence_transformers.base.modules import Transformer

        limit = self.model.max_seq_length
        if limit is None or limit > UNLIMITED:
            return [False] * len(texts)
        if isinstance(self.model[0], Transformer):
            whole = {"processing_kwargs": {"text": {"truncation": False}}}
            lengths = self._prepare_texts(texts, **whole)["attention_mask"].sum(dim=1).tolist()
        else:
            prompt = self._choose(QUERY)["prompt"] or ""
            tokens = self.model.tokenizer([prompt + text for text in texts], verbose=False)
            lengths = [len(row) for row in tokens["input_ids"]]
        return [length > limit for length in lengths]

    def _choose(self, side: str) -> dict[str, Any]:
        """Return prompt and task of a side, as the library's `encode_query` and so on do."""
        prompts = self.model.prompts
        if self.prompt_name is None and self.prompt is None:
            chosen, task = prompts.get(self.model.default_prompt_name), self.task
        elif side == QUERY:
            chosen = prompts.get(self.prompt_name) if self.prompt is None else self.prompt
            task = self.task or side
        else:
            chosen = next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), None)
            task = self.task or side
        return {"prompt": chosen, "task": task} if task else {"prompt": chosen}

    def _prepare_texts(self, texts: Sequence[str], **settings: Any) -> Any:
        # The library takes a text that looks like a picture's URL or path for that picture.
        is_mixed = "image" in self.model.modalities
        return self._prepare([{"text": t} if is_mixed else t for t in texts], QUERY, **settings)

    def _prepare(self, items: Sequence[Any], side: str, **settings: Any) -> Any:
        return self.model.preprocess(list(items), **self._choose(side), **settings)

    def _encode(self, features: Mapping[str, Any], side: str) -> "torch.Tensor":
        import torch

        model = self.model
        moved = dict(features)
        for name, value in features.items():
            if torch.is_tensor(value):
                dtype = model.dtype if value.is_floating_point() else value.dtype
                moved[name] = value.to(model.device, dtype)
        task = {name: value for name, value in self._choose(side).items() if name == "task"}
        rows: torch.Tensor = model(moved, **task)["sentence_embedding"]
        if (self.truncate_dim or 0) > rows.shape[1]:
            raise ModelError(
                f"backbone.truncate_dim must be in [1, {rows.shape[1]}], the dimension of "
                f"{self.checkpoint.model}, got {self.truncate_dim}"
            )
        return rows[:, : self.truncate_dim or model.truncate_dim]
