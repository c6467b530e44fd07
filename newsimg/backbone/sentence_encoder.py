"""Text encoders of the sentence-transformers library."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import FloatArray, Image
from newsimg.interfaces import Backbone
from newsimg.storage.models.checkpoints import check_positive, choose_device, identify_model
from newsimg.storage.progress import announce
from newsimg.storage.text.templates import check_template

PACKAGE = "sentence_transformers."


class SentenceEncoder(Backbone):
    """A sentence encoder, for components that compare texts alone.

    Reimers and Gurevych (2019), "Sentence-BERT: sentence embeddings using siamese BERT-networks",
    EMNLP.

    Args:
        model: Hub id or local folder, written by sentence-transformers.
        revision: Branch, tag or commit of a Hub model.
        device: A torch device, or "auto".
        batch_size: Texts per forward pass.
        query_template: Template of a query's text; rerankers have their own.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str,
        device: str,
        batch_size: int,
        query_template: str | list[str],
    ) -> None:
        check_positive("encoder", batch_size=batch_size)
        self.name = model
        self.revision = revision
        self.device = device
        self.batch_size = batch_size
        self.query_template = check_template(query_template)

    @cached_property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`; the model's files include pooling and length."""
        identity = identify_model(self.name, self.revision, "encoder.model")
        return json.dumps({"class": type(self).__name__, "model": identity})

    @cached_property
    def model(self) -> Any:
        """The loaded model.

        Raises:
            ImportError: If sentence-transformers is not installed.
            ValueError: If the model's folder has code of its own.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError("a sentence encoder needs: pip install newsimg[metadata]") from error
        from transformers.utils import logging

        announce(f"loading {self.name}")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._check_modules()
        device = choose_device(self.device, "encoder.device")
        return SentenceTransformer(self.name, revision=self.revision, device=device)

    def _check_modules(self) -> None:
        # Some versions of sentence-transformers run the code in a local folder unasked.
        path = Path(self.name).expanduser() / "modules.json"
        modules = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        own = [one["type"] for one in modules if not one["type"].startswith(PACKAGE)]
        if own:
            raise ValueError(
                f"{path} must name classes of sentence_transformers, got {own[0]}: the code in a "
                "model's folder is not run"
            )

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        rows = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(rows, np.float32)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """Raise an error: the model knows no pictures.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{self.name} embeds texts alone, it cannot be the backbone of a search")

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`."""
        length = self.model.max_seq_length
        tokens = self.model.tokenizer(list(texts), verbose=False)["input_ids"]
        return [length is not None and len(own) > length for own in tokens]
