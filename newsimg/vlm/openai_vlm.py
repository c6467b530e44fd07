"""Vision-language models behind a server of OpenAI's protocol."""

import asyncio
import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np

from newsimg.datatypes import FloatArray, Image, KeepAnswers, KeepRow, KeepText, KeepWritten
from newsimg.interfaces import VisionLanguageModel
from newsimg.llm.chat_answers import read_text, read_token_probabilities
from newsimg.llm.chat_server import ChatRequests, check_server
from newsimg.storage.models.asked import keep_first
from newsimg.storage.pictures.images import DECODING
from newsimg.vlm.prompts import open_thumbnail, split_at_pictures

Read = TypeVar("Read")


class OpenAIVLM(VisionLanguageModel):
    """A vision-language chat model behind a server; answers are passed on as they arrive.

    Pictures are sent with each of their questions, as scaled JPEGs inside the request.

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
        alone = [[image] for image in images]
        rows = self._ask(alone, questions, answers, keep)
        return [np.array(own) for own in rows]

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
        alone = [[image] for image in images]
        return self._send(alone, questions, settings, read_text, "", keep)

    def compare(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[str],
        max_side: int,
        max_new_tokens: int,
        keep: KeepText | None = None,
        is_answer: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """See `VisionLanguageModel.compare`; a smaller `vlm.max_side` applies.

        Raises:
            ServerError: If the server does not answer; see `ChatServer.ask_all`.
        """
        settings = {"max_tokens": max_new_tokens, "temperature": 0.0}
        found = [""] * len(questions)
        asked = [[question] for question in questions]
        side = min(max_side, self.max_side)
        self._send(images, asked, settings, read_text, "", keep_first(found, keep), side)
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
        """See `VisionLanguageModel.choose` and `ask`; a smaller `vlm.max_side` applies.

        The beginning of the model's turn is sent as its message, which the server must continue.

        Raises:
            ServerError: See `ask`.
        """
        found = [np.zeros(len(answers), np.float32)] * len(questions)
        asked = [[question] for question in questions]
        side = min(max_side, self.max_side)
        self._ask(images, asked, answers, keep_first(found, keep), side, answer_prefix)
        return np.array(found)

    def _ask(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[Sequence[str]],
        answers: Sequence[str],
        keep: KeepAnswers | None,
        max_side: int | None = None,
        beginning: str = "",
    ) -> list[list[FloatArray]]:
        """Return the probabilities of the answers to each question."""
        # At temperature 1 probabilities before and after scaling are equal.
        settings = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
        settings |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        nothing = np.zeros(len(answers), dtype=np.float32)
        read = partial(read_tokens, answers=answers)
        return self._send(images, questions, settings, read, nothing, keep, max_side, beginning)

    def _send(
        self,
        images: Sequence[Sequence[Image]],
        questions: Sequence[Sequence[str]],
        settings: Mapping[str, Any],
        read: Callable[[dict[str, Any]], Read],
        nothing: Read,
        keep: Callable[[int, Mapping[int, Read]], None] | None,
        max_side: int | None = None,
        beginning: str = "",
    ) -> list[list[Read]]:
        """Send all questions, each with the pictures of one list of `images`.

        The model's turn begins with `beginning`.

        Returns:
            What `read` reads in the answers, or `nothing`.
        """
        pairs = [(i, j) for i, own in enumerate(questions) for j in range(len(own))]
        found = [[nothing] * len(own) for own in questions]

        def encode_all(own: Sequence[Image]) -> list[str]:
            side = max_side or self.max_side
            return [write_data_url(image, side, self.jpeg_quality) for image in own]

        @lru_cache(maxsize=self.server.concurrency)  # questions of a picture are sent in parallel
        def encode(i: int) -> asyncio.Task[list[str]]:
            return asyncio.create_task(asyncio.to_thread(encode_all, images[i]))

        async def write(position: int) -> dict[str, Any]:
            i, j = pairs[position]
            content = write_content(questions[i][j], await encode(i))
            messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
            if beginning:
                messages.append({"role": "assistant", "content": beginning})
            return {"model": self.model, "messages": messages, **settings, **self.extra_body}

        def describe(position: int) -> str:
            i, j = pairs[position]
            first, *others = images[i]
            more = f" and {len(others)} more" if others else ""
            return f"the picture {first.uri}{more}: {questions[i][j]!r}"

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


def write_content(question: str, urls: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parts of a message: the text of a question with its pictures."""
    first, *texts = split_at_pictures(question, len(urls))
    parts: list[dict[str, Any]] = [{"type": "text", "text": first}]
    for url, text in zip(urls, texts, strict=True):
        parts += [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [part for part in parts if part.get("text") != ""]


def write_data_url(image: Image, max_side: int, quality: int) -> str:
    """Return a picture as a data URL of a JPEG, scaled down to `max_side`.

    Raises:
        ValueError: If the picture cannot be read; names it.
    """
    buffer = io.BytesIO()
    open_thumbnail(image, max_side).save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
