"""Vision-language models behind a server of OpenAI's protocol."""

import asyncio
import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from PIL import Image as PILImage

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.llm.chat_answers import read_text, read_token_probabilities
from newsimg.llm.chat_server import ChatRequests, check_server
from newsimg.storage.pictures.images import DECODING, open_image
from newsimg.vlm.prompts import split_at_picture

Read = TypeVar("Read")


class OpenAIVLM(VisionLanguageModel):
    """A vision-language chat model behind a server; answers are passed on as they arrive.

    A picture is sent with each of its questions, as a scaled JPEG inside the request.

    Args:
        server: See `newsimg.llm.chat_server.ChatServer`.
        model: Name of the model on the server.
        answers_as: Name of the model in the server's answers, if it differs.
        revision: Version that the server does not report, such as a commit or a quantisation.
        max_side: Maximum length of the longer side in pixels; larger pictures are scaled down.
        jpeg_quality: JPEG quality, from 1 to 95.
        top_logprobs: Number of most likely tokens to request; few servers allow more than 20.
        max_new_tokens: Maximum length of a generated answer.
        extra_body: Further fields of the request.

    Raises:
        ValueError: If an argument is invalid; names it.
    """

    repeatable = False  # the server may be fixed

    def __init__(
        self,
        *,
        server: Mapping[str, Any],
        model: str | None,
        answers_as: str | None,
        revision: str | None,
        max_side: int,
        jpeg_quality: int,
        top_logprobs: int,
        max_new_tokens: int,
        extra_body: Mapping[str, Any],
    ) -> None:
        self.server = check_server("vlm.server", server)
        if not model:
            raise ValueError(f"vlm.model must be what the server calls the model, got {model!r}")
        for name, number in (
            ("max_side", max_side),
            ("top_logprobs", top_logprobs),
            ("max_new_tokens", max_new_tokens),
        ):
            if number < 1:
                raise ValueError(f"vlm.{name} must be at least 1, got {number}")
        if not 1 <= jpeg_quality <= 95:
            raise ValueError(f"vlm.jpeg_quality must be in [1, 95], got {jpeg_quality}")
        self.model = model
        self.answers_as = answers_as or model
        self.revision = revision
        self.max_side = max_side
        self.jpeg_quality = jpeg_quality
        self.top_logprobs = top_logprobs
        self.max_new_tokens = max_new_tokens
        self.extra_body = dict(extra_body)

    @property
    def fingerprint(self) -> str:
        """See `VisionLanguageModel.fingerprint`; it does not depend on the server's address."""
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": self.model,
                "revision": self.revision,
                "answers_as": self.answers_as,
                "decoding": DECODING,
                "picture": {"max_side": self.max_side, "jpeg_quality": self.jpeg_quality},
                "top_logprobs": self.top_logprobs,
                "max_new_tokens": self.max_new_tokens,
                "extra_body": self.extra_body,
            }
        )

    def ask(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None = None,
    ) -> list[FloatArray]:
        """See `VisionLanguageModel.ask`.

        Tokens are compared with answers without surrounding spaces. An answer that is not among the
        returned tokens has probability 0.

        Raises:
            ServerError: If the server does not answer, or does not return token probabilities;
                see `ChatServer.ask_all`.
        """
        # At temperature 1 probabilities before and after scaling are equal.
        settings = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
        settings |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        nothing = np.zeros(len(answers), dtype=np.float32)
        read = partial(read_tokens, answers=answers)
        return [
            np.array(own) for own in self._send(images, questions, settings, read, nothing, keep)
        ]

    def write(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        keep: KeepWritten | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[list[str]]:
        """See `VisionLanguageModel.write`.

        Raises:
            ServerError: If the server does not answer; see `ChatServer.ask_all`.
        """
        settings = {"max_tokens": self.max_new_tokens, "temperature": 0.0}
        return self._send(images, questions, settings, read_text, "", keep)

    def _send(
        self,
        images: Sequence[Image],
        questions: Sequence[Sequence[str]],
        settings: Mapping[str, Any],
        read: Callable[[dict[str, Any]], Read],
        nothing: Read,
        keep: Callable[[int, Mapping[int, Read]], None] | None,
    ) -> list[list[Read]]:
        """Send all questions and return what `read` reads in the answers, or `nothing`."""
        pairs = [(i, j) for i, own in enumerate(questions) for j in range(len(own))]
        found = [[nothing] * len(own) for own in questions]

        @lru_cache(maxsize=self.server.concurrency)  # questions of a picture are sent in parallel
        def encode(i: int) -> asyncio.Task[str]:
            arguments = (images[i], self.max_side, self.jpeg_quality)
            return asyncio.create_task(asyncio.to_thread(write_data_url, *arguments))

        async def write(position: int) -> dict[str, Any]:
            i, j = pairs[position]
            before, after = split_at_picture(questions[i][j])
            picture = {"type": "image_url", "image_url": {"url": await encode(i)}}
            texts = [[{"type": "text", "text": text}] if text else [] for text in (before, after)]
            message = {"role": "user", "content": [*texts[0], picture, *texts[1]]}
            return {"model": self.model, "messages": [message], **settings, **self.extra_body}

        def describe(position: int) -> str:
            i, j = pairs[position]
            return f"the picture {images[i].uri}: {questions[i][j]!r}"

        def keep_answer(position: int, answer: Read | None) -> None:
            i, j = pairs[position]
            if answer is not None:
                found[i][j] = answer
            if keep:
                keep(i, {j: found[i][j]})

        self.server.ask_all(
            ChatRequests(len(pairs), write, describe, read, keep_answer, self.answers_as)
        )
        return found


def read_tokens(choice: dict[str, Any], answers: Sequence[str]) -> FloatArray:
    """Return the probability of each answer as the first token: (n_answers,)."""
    found = read_token_probabilities(choice)
    sums = [sum(share for token, share in found if token == answer) for answer in answers]
    return np.array(sums, dtype=np.float32)


def write_data_url(image: Image, max_side: int, quality: int) -> str:
    """Return a picture as a data URL of a JPEG, scaled down to `max_side`.

    Raises:
        ValueError: If the picture cannot be read; names it.
    """
    picture = open_image(image)
    picture.thumbnail((max_side, max_side), PILImage.Resampling.LANCZOS, reducing_gap=None)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
