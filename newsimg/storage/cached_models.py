"""Models whose outputs are cached."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepRow, KeepText, KeepWritten
from newsimg.interfaces import Backbone, VisionLanguageModel
from newsimg.storage.cache import KeepRows, KeepTexts, OutputCache, hash_image
from newsimg.storage.files import hash_file
from newsimg.storage.models.asked import group_by_picture, is_answer, is_number, keep_all
from newsimg.storage.models.stacked import select_inputs


class CachedBackbone(Backbone):
    """A backbone whose embeddings are cached.

    Backbones with the same fingerprint share embeddings: a reranker that uses the run's backbone
    computes none again.
    """

    def __init__(self, backbone: Backbone, cache: OutputCache) -> None:
        self._backbone = backbone
        self.cache = cache
        self.query_template = backbone.query_template

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """See `Backbone.batch_size`; "auto" imports torch, which a warm run does not need."""
        return self._backbone.batch_size

    @property
    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`."""
        return self._backbone.fingerprint

    @property
    def description(self) -> Mapping[str, Any]:
        """See `Backbone.description`."""
        return self._backbone.description

    @property
    def is_asynchronous(self) -> bool:
        """See `Backbone.is_asynchronous`."""
        return self._backbone.is_asynchronous

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `Backbone.embed_texts`."""
        return self.cache.get_or_compute(
            "embeddings",
            self.fingerprint,
            [f"text:{text}" for text in texts],
            lambda batch: self._backbone.embed_texts([texts[i] for i in batch]),
            "Embedding texts",
            lambda: self.batch_size,
        )

    def embed_images(self, images: Sequence[Image]) -> FloatArray:
        """See `Backbone.embed_images`. Keys are hashes of the pictures' bytes, not paths."""
        return self.cache.get_or_compute(
            "embeddings",
            self.fingerprint,
            self._name(images),
            lambda batch: self._backbone.embed_images([images[i] for i in batch]),
            "Embedding pictures",
            lambda: self.batch_size,
        )

    def with_digests(self, images: Sequence[Image]) -> Sequence[Image]:
        """See `Backbone.with_digests`."""
        hashes = self.cache.hash_images(images)
        return [
            image if image.digest == digest else dataclasses.replace(image, digest=digest)
            for image, digest in zip(images, hashes, strict=True)
        ]

    def find_truncated(self, texts: Sequence[str]) -> list[bool]:
        """See `Backbone.find_truncated`. Cached, so that a warm run needs no tokenizer."""
        return self.cache.get_flags(
            "truncated", self.fingerprint, texts, self._backbone.find_truncated
        )

    def find_embeddings(self, images: Sequence[Image]) -> list[FloatArray | None]:
        """See `Backbone.find_embeddings`."""
        return self.cache.find("embeddings", self.fingerprint, self._name(images))

    def take_counts(self) -> dict[str, float]:
        """See `Backbone.take_counts`."""
        self.cache.compact()
        counts = dict(self.cache.counts)
        self.cache.reset_counts()
        return counts

    def add_counts(self, counts: Mapping[str, float]) -> None:
        """See `Backbone.add_counts`."""
        self.cache.add_counts(counts)

    def load_preprocessing(self) -> None:
        """See `Backbone.load_preprocessing`."""
        self._backbone.load_preprocessing()

    def preprocess(self, image: Image) -> Any:
        """See `Backbone.preprocess`."""
        return self._backbone.preprocess(image)

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        """See `Backbone.embed_preprocessed`. The embeddings are cached."""
        return self.cache.compute_batch(
            "embeddings",
            self.fingerprint,
            self._name(images),
            lambda batch: self._backbone.embed_preprocessed(
                [images[i] for i in batch], select_inputs(inputs, batch)
            ),
        )

    def _name(self, images: Sequence[Image]) -> list[str]:
        hashes = self.cache.hash_images(images)
        # A separate key, so that a run that rejects truncated pictures does not find their rows.
        return [
            f"{'truncated' if image.truncated else 'image'}:{digest}"
            for image, digest in zip(images, hashes, strict=True)
        ]


def hash_files(backbone: Backbone, paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file; the backbone's cache reads those that it knows once."""
    known = backbone.with_digests([Image(str(path), path) for path in paths])
    return [image.digest or hash_file(image.path) for image in known]


def hash_images(backbone: Backbone, images: Sequence[Image]) -> list[str]:
    """Return the SHA-256 of each picture's bytes; the backbone's cache reads as `hash_files`."""
    return [image.digest or hash_image(image) for image in backbone.with_digests(images)]


class CachedVLM(VisionLanguageModel):
    """A vision-language model whose answers are cached by picture and exact question.

    A question that does not contain the headline is asked once per distinct picture.
    """

    def __init__(self, vlm: VisionLanguageModel, cache: OutputCache) -> None:
        self._vlm = vlm
        self._cache = cache

        self.repeatable = vlm.repeatable

    @property
    def fingerprint(self) -> str:
        """See `VisionLanguageModel.fingerprint`."""
        return self._vlm.fingerprint

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`. `keep` is called once all is answered, and kept here."""
        pairs = [(i, text) for i, own in enumerate(questions) for text in own]
        hashes = self._cache.hash_images(images)

        def ask_missing(missing: list[int], keep_rows: KeepRows) -> None:
            asked, groups, texts = group_by_picture(pairs, missing)

            def keep_found(picture: int, found: Mapping[int, FloatArray]) -> None:
                keep_rows([groups[picture][j] for j in found], np.stack(list(found.values())))

            self._vlm.ask([images[i] for i in asked], texts, answers, keep_found)

        rows = self._cache.get_or_ask(
            "scores",
            self.fingerprint,
            [json.dumps(["expected", hashes[i], text, list(answers)]) for i, text in pairs],
            ask_missing,
            "Judging pictures",
            is_number if self.repeatable else is_answer,
        )
        ends = np.cumsum([len(own) for own in questions])
        found = np.split(rows, ends[:-1])
        keep_all(found, keep)
        return found

    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """See `VisionLanguageModel.write`. `keep` is called once all is answered, and kept here."""
        pairs = [(i, text) for i, own in enumerate(questions) for text in own]
        hashes = self._cache.hash_images(images)

        def ask_missing(missing: list[int], keep_texts: KeepTexts) -> None:
            asked, groups, texts = group_by_picture(pairs, missing)

            def keep_found(picture: int, found: Mapping[int, str]) -> None:
                keep_texts([groups[picture][j] for j in found], list(found.values()))

            self._vlm.write([images[i] for i in asked], texts, keep_found, is_answer)

        rows = self._cache.get_or_ask_texts(
            "scores",
            self.fingerprint,
            [json.dumps(["written", hashes[i], text]) for i, text in pairs],
            ask_missing,
            "Judging pictures",
            None if self.repeatable else is_answer,
        )
        rest = iter(rows)
        found = [[next(rest) for _ in own] for own in questions]
        keep_all(found, keep)
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
        """See `VisionLanguageModel.compare`. Answers are cached by the pictures in their order."""
        settings = {"max_side": max_side, "max_new_tokens": max_new_tokens}
        keys = self._name_lists("compared", images, questions, settings)

        def ask_missing(missing: list[int], keep_texts: KeepTexts) -> None:
            def keep_found(position: int, text: str) -> None:
                keep_texts([missing[position]], [text])

            shown, asked = [images[i] for i in missing], [questions[i] for i in missing]
            self._vlm.compare(shown, asked, max_side, max_new_tokens, keep_found, is_answer)

        found = self._cache.get_or_ask_texts(
            "scores",
            self.fingerprint,
            keys,
            ask_missing,
            "Comparing pictures",
            None if self.repeatable else is_answer,
        )
        if keep:
            for position, text in enumerate(found):
                keep(position, text)
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
        """See `VisionLanguageModel.choose`. Rows are cached by the pictures in their order."""
        settings = {"answers": list(answers), "max_side": max_side, "answer_prefix": answer_prefix}

        def ask_missing(missing: list[int], keep_rows: KeepRows) -> None:
            def keep_found(position: int, row: FloatArray) -> None:
                keep_rows([missing[position]], row[None])

            shown, asked = [images[i] for i in missing], [questions[i] for i in missing]
            self._vlm.choose(shown, asked, answers, max_side, answer_prefix, keep_found)

        found = self._cache.get_or_ask(
            "scores",
            self.fingerprint,
            self._name_lists("chosen", images, questions, settings),
            ask_missing,
            "Comparing pictures",
            is_number if self.repeatable else is_answer,
        )
        if keep:
            for position, row in enumerate(found):
                keep(position, row)
        return found

    def _name_lists(
        self,
        kind: str,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        settings: Mapping[str, Any],
    ) -> list[str]:
        """Return the key of each question about several pictures."""
        hashes = iter(self._cache.hash_images([image for own in images for image in own]))
        return [
            json.dumps([kind, [next(hashes) for _ in own], text, settings])
            for own, text in zip(images, questions, strict=True)
        ]
