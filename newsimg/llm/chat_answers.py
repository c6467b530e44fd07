"""Parsing of answers in OpenAI's chat protocol.

Every answer is validated before it is used or cached.
"""

import email.utils
import json
import math
import re
import time
from typing import Any

MAX_ANSWER_BYTES = (
    1 << 20
)  # per answer; a hundred times the size of an answer of some hundred tokens
ROUNDING = 0.01  # tolerance of the sum of probabilities


class ServerError(RuntimeError):
    """A server returned an error or an invalid answer."""


class RetryableError(ServerError):
    """A request failed with a retryable error.

    Args:
        message: Error message.
        kind: Kind of the error, by which warnings are deduplicated.
        retry_after: Seconds to wait, if given by the server.
    """

    def __init__(self, message: str, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class UnreadableAnswerError(ValueError):
    """An answer does not conform to the protocol.

    Args:
        kind: Description of the defect, continuing "an answer ...".
        detail: Excerpt of the answer.
        advice: Remedy, if all answers of the server have the defect.
    """

    def __init__(self, kind: str, detail: str = "", advice: str = "") -> None:
        super().__init__(f"an answer {kind}{detail and f': {detail:.100}'}")
        self.kind = kind
        self.advice = advice


class FaultyAnswerError(RetryableError):
    """A request whose answer cannot be parsed."""

    def __init__(self, where: str, error: UnreadableAnswerError) -> None:
        super().__init__(f"{where}: {error}", error.kind)
        self.advice = error.advice


def read_choice(content: bytes) -> tuple[dict[str, Any], Any]:
    """Return the first choice of a chat completion and the name of the model.

    Raises:
        UnreadableAnswerError: If it is not a chat completion, truncated, or too long.
    """
    if len(content) > MAX_ANSWER_BYTES:
        raise UnreadableAnswerError(f"of more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        choice["message"]["content"]
        model = answer.get("model")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableAnswerError("that is no chat completion", repr(error)) from error
    return choice, model


def read_text(choice: dict[str, Any]) -> str:
    """Return the generated text; an answer without content is an empty text.

    Raises:
        UnreadableAnswerError: If the content is not a text, or cannot be encoded as UTF-8.
    """
    text = choice["message"]["content"]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise UnreadableAnswerError("whose content is no text", type(text).__name__)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnreadableAnswerError("whose content is no Unicode text", error.reason) from error
    return text


def read_token_probabilities(choice: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the most likely first tokens, stripped of spaces, and their probabilities.

    Raises:
        UnreadableAnswerError: If there are none, or they are not valid probabilities.
    """
    try:
        tokens = [
            (token["token"].strip(), token["logprob"])
            for token in choice["logprobs"]["content"][0]["top_logprobs"]
        ]
    except (LookupError, TypeError, AttributeError):
        tokens = []
    if not tokens:
        raise UnreadableAnswerError(
            "that tells no probabilities of tokens (logprobs)",
            advice="reranker.reading=generate does without",
        )
    for token, logprob in tokens:
        if not _is_number(logprob) or not logprob <= ROUNDING:
            detail = f"{logprob!s:.40} of the token {token!r}"
            raise UnreadableAnswerError("with a logprob that is none", detail)
    found = [(token, math.exp(max(logprob, -1e6))) for token, logprob in tokens]
    if (total := sum(share for _, share in found)) > 1 + ROUNDING:
        raise UnreadableAnswerError(
            "whose probabilities of tokens sum to more than 1", f"{total:.3f}"
        )
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header (seconds or a date)."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # neither seconds nor a date: ignored
        return None
