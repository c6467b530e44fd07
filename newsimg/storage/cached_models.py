"""Models that ask the cache before they compute."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import FloatArray, Image
from newsimg.interfaces import Backbone, KeepAnswers, VisionLanguageModel
from newsimg.storage.cache import KeepRows, OutputCache, hash_image
from newsimg.storage.files import hash_files

MOST_MASS = 1.02  # of rounded probabilities


class CachedBackbone(Backbone):
    """A backbone that asks the cache first.

    Two backbones of one fingerprint share what they computed: a reranker whose head needs the run's
    own backbone embeds nothing again.
    """

    def __init__(self, backbone: Backbone, cache: OutputCache) -> None:
        self._backbone = backbone
        self.cache = cache
        self.query_template = backbone.query_template
        self.batch_size = backbone.batch_size

    @property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`."""
        return self._backbone.fingerprint

    @property
    def description(self) -> Mapping[str, Any]:
        """See `Backbone.description`."""
        return self._backbone.description

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self.cache.get_or_compute(
            "embeddings",
            self.fingerprint,
            [f"text:{text}" for text in texts],
            lambda batch: self._backbone.embed_texts([texts[i] for i in batch]),
            "Embedding texts",
            self.batch_size,
        )

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`. A picture is known by its bytes, wherever it lies."""
        return self.cache.get_or_compute(
            "embeddings",
            self.fingerprint,
            self._name(images),
            lambda batch: self._backbone.embed_images([images[i] for i in batch]),
            "Embedding pictures",
            self.batch_size,
        )

    def with_digests(self, images: Sequence[Image]) -> Sequence[Image]:
        """See `Backbone.with_digests`."""
        hashes = self.cache.hash_images(images)
        return [
            image if image.digest == digest else dataclasses.replace(image, digest=digest)
            for image, digest in zip(images, hashes, strict=True)
        ]

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`. A warm run so needs no tokenizer."""
        return self.cache.get_flags(
            "truncated", self.fingerprint, texts, self._backbone.find_truncated
        )

    def find_embeddings(self, images: Sequence[Image]) -> list[FloatArray | None]:
        """See `Backbone.find_embeddings`."""
        return self.cache.find("embeddings", self.fingerprint, self._name(images))

    def preprocess(self, image: Image) -> Any:
        """See `Backbone.preprocess`."""
        return self._backbone.preprocess(image)

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """See `Backbone.embed_preprocessed`. What it computes is kept."""
        return self.cache.compute_batch(
            "embeddings",
            self.fingerprint,
            self._name(images),
            lambda batch: self._backbone.embed_preprocessed(
                [images[i] for i in batch], [inputs[i] for i in batch]
            ),
        )

    def _name(self, images: Sequence[Image]) -> list[str]:
        hashes = self.cache.hash_images(images)
        # Where truncated pictures are refused, what was made of one must not be found.
        return [
            f"{'truncated' if image.truncated else 'image'}:{digest}"
            for image, digest in zip(images, hashes, strict=True)
        ]


def find_hasher(backbone: Backbone) -> Callable[[Sequence[Path]], list[str]]:
    """Return what hashes files: the backbone's cache, if there is one, for it remembers them."""
    return backbone.cache.hash_files if isinstance(backbone, CachedBackbone) else hash_files


def find_image_hasher(backbone: Backbone) -> Callable[[Sequence[Image]], list[str]]:
    """Return what hashes pictures: the backbone's cache, if there is one."""
    if isinstance(backbone, CachedBackbone):
        return backbone.cache.hash_images
    return lambda images: [hash_image(image) for image in images]


class CachedVLM(VisionLanguageModel):
    """A vision-language model that asks the cache first, by picture and exact question.

    A question that does not mention the headline so is asked once for each distinct picture.
    """

    def __init__(self, vlm: VisionLanguageModel, cache: OutputCache) -> None:
        self._vlm = vlm
        self._cache = cache

        self.repeatable = vlm.repeatable

    @property
    def fingerprint(self) -> str:
        """See `VisionLanguageModel.fingerprint`."""
        return self._vlm.fingerprint

    def answer_probabilities(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.answer_probabilities`."""
        return self._ask("expected", self._vlm.answer_probabilities, images, questions, answers)

    def choose_answers(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.choose_answers`."""
        return self._ask("generate", self._vlm.choose_answers, images, questions, answers)

    def _ask(
        self,
        reading: str,
        ask: Callable[..., list[FloatArray]],
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
    ) -> list[FloatArray]:
        pairs = [(i, text) for i, own in enumerate(questions) for text in own]
        hashes = self._cache.hash_images(images)

        def ask_missing(missing: list[int], keep_rows: KeepRows) -> None:
            asked: dict[int, list[int]] = {}  # picture -> positions of its questions
            for position in missing:
                asked.setdefault(pairs[position][0], []).append(position)
            groups = list(asked.values())

            def keep(picture: int, found: Mapping[int, FloatArray]) -> None:
                keep_rows([groups[picture][j] for j in found], np.stack(list(found.values())))

            texts = [[pairs[position][1] for position in group] for group in groups]
            ask([images[i] for i in asked], texts, answers, keep)

        rows = self._cache.get_or_ask(
            "scores",
            self.fingerprint,
            [json.dumps([reading, hashes[i], text, list(answers)]) for i, text in pairs],
            ask_missing,
            "Judging pictures",
            is_number if self.repeatable else is_answer,
        )
        ends = np.cumsum([len(own) for own in questions])
        return np.split(rows, ends[:-1])


def is_number(rows: FloatArray) -> NDArray[np.bool_]:
    """Return whether each row is finite: (n_rows,)."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def is_answer(rows: FloatArray) -> NDArray[np.bool_]:
    """Return whether each row is of probabilities, one of them above 0: (n_rows,)."""
    return is_number(rows) & (rows > 0).any(axis=1) & (rows.sum(axis=1) <= MOST_MASS)
