"""Base class of the dual encoders of other libraries than transformers."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PILImage

from newsimg.backbone.base import to_unit_rows
from newsimg.datatypes import FloatArray, Image
from newsimg.interfaces import Backbone
from newsimg.storage.models.checkpoints import Checkpoint, check_positive
from newsimg.storage.pictures.images import DECODER_THREADS, open_image
from newsimg.storage.text.templates import check_template

if TYPE_CHECKING:
    import torch


class BatchedBackbone(Backbone):
    """A dual encoder that is loaded at first use and runs texts and pictures in batches.

    Args:
        checkpoint: Source and loading options of the model.
        batch_size: Texts or pictures per forward pass.
        query_template: Template of a query's text, or several.

    Raises:
        ValueError: If an argument is out of range; names it.
    """

    def __init__(
        self, checkpoint: Checkpoint, batch_size: int, query_template: str | list[str]
    ) -> None:
        check_positive("backbone", batch_size=batch_size)
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.query_template = check_template(query_template)
        self._model: Any = None
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the loaded model from pickling: the other process loads it again."""
        return vars(self) | {"_model": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = RLock()

    @property
    def description(self) -> Mapping[str, Any]:
        """See `Backbone.description`: the fingerprint, with the settings as in the config."""
        facts = json.loads(self.fingerprint)
        facts.pop("tf32", None)  # one of the values of dtype
        pixels = [facts.pop("pixels"), facts.pop("libraries")]
        settings = {"model": self.checkpoint.model, "dtype": self.checkpoint.dtype}
        return facts | settings | {"weights": facts["model"], "pixels": pixels}

    @abstractmethod
    def load_model(self) -> Any:
        """Load the model, with what prepares its texts and pictures."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """Return the embeddings of a batch of texts, (n_texts, dim), not normalised."""

    @abstractmethod
    def process_picture(self, picture: PILImage.Image) -> Any:
        """Prepare a picture for the model; called in several threads."""

    @abstractmethod
    def encode_pictures(self, inputs: Sequence[Any]) -> "torch.Tensor":
        """Return the embeddings of a batch of prepared pictures, (n_images, dim)."""

    @property
    def model(self) -> Any:
        """What `load_model` returns."""
        with self._lock:  # pictures are prepared in threads
            if self._model is None:
                self._model = self.load_model()
            return self._model

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self._embed(texts, self.encode_texts)

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`."""
        return self._embed(images, self._encode_images)

    def preprocess(self, image: Image) -> Any:
        """See `Backbone.preprocess`."""
        return self.process_picture(open_image(image))

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """See `Backbone.embed_preprocessed`."""
        return self._embed(inputs, self.encode_pictures)

    def _encode_images(self, images: Sequence[Image]) -> "torch.Tensor":
        with ThreadPoolExecutor(DECODER_THREADS) as pool:
            return self.encode_pictures(list(pool.map(self.preprocess, images)))

    def _embed(self, items: Sequence[Any], encode: Callable[..., "torch.Tensor"]) -> FloatArray:
        if not items:
            raise ValueError("need at least 1 text or picture to embed, got 0")
        _ = self.model  # loaded outside of `inference`, whose settings other libraries may read
        rows = []
        with self.checkpoint.inference():
            for start in range(0, len(items), self.batch_size):
                features = encode(items[start : start + self.batch_size])
                rows.append(features.float().cpu().numpy())
        return to_unit_rows(np.concatenate(rows))


def find_versions(packages: Sequence[str], extra: str) -> dict[str, str | None]:
    """Return the versions of packages, None for those that are not installed.

    Raises:
        ImportError: If the first is not installed; names the extra that has it.
    """

    def find(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    found = {package: find(package) for package in packages}
    if found[packages[0]] is None:
        raise ImportError(f"this model needs {packages[0]}: pip install newsimg[{extra}]")
    return found
