"""What a model has computed once is not computed again."""

from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from newsimg.datatypes import FloatArray, Image
from newsimg.files import hash_file
from newsimg.interfaces import Backbone

BATCH = 64  # items computed between two looks at the progress bar


class Store:
    """Keeps rows of numbers by the model they come from and the content they are of."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], FloatArray] = {}
        self.n_computed = {"embeddings": 0, "scores": 0}

    def get_or_compute(
        self,
        kind: str,
        model: str,
        keys: Sequence[str],
        compute: Callable[[list[int]], FloatArray],
        label: str,
    ) -> FloatArray:
        """Return a row for each of `keys`: (n_keys, width), computing those that are missing.

        Args:
            kind: "embeddings" or "scores".
            model: Fingerprint of the model and all that its output depends on but the key.
            keys: What identifies the content of each item; equal keys are computed once.
            compute: Computes the items at the given positions: (n_positions, width) float32.
            label: Names the work on the progress bar.
        """
        position = {key: i for i, key in enumerate(keys)}
        missing = [i for key, i in position.items() if (model, key) not in self._rows]
        with tqdm(total=len(missing), desc=label, leave=False, delay=1, disable=None) as progress:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                for i, row in zip(batch, compute(batch), strict=True):
                    self._rows[model, keys[i]] = row
                progress.update(len(batch))
        self.n_computed[kind] += len(missing)
        return np.stack([self._rows[model, key] for key in keys])


class StoredBackbone(Backbone):
    """A backbone that asks the store first.

    Two backbones of one fingerprint share what they computed: a reranker whose head needs the run's
    own backbone embeds nothing again.
    """

    def __init__(self, backbone: Backbone, store: Store) -> None:
        self._backbone = backbone
        self._store = store
        self.query_template = backbone.query_template

    @property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`."""
        return self._backbone.fingerprint

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self._store.get_or_compute(
            "embeddings",
            self.fingerprint,
            [f"text:{text}" for text in texts],
            lambda batch: self._backbone.embed_texts([texts[i] for i in batch]),
            "Embedding texts",
        )

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`. A picture is known by its bytes, wherever it lies."""
        return self._store.get_or_compute(
            "embeddings",
            self.fingerprint,
            [f"image:{hash_file(image.path)}" for image in images],
            lambda batch: self._backbone.embed_images([images[i] for i in batch]),
            "Embedding pictures",
        )
