"""What a server of OpenAI's chat protocol answers: what of it can be read, and why the rest cannot.

A server is somebody else's program: whatever it answers is checked before it is used or kept.
"""

import email.utils
import json
import math
import re
import time
from typing import Any

MAX_ANSWER_BYTES = 1 << 20  # of one answer; those of some hundred tokens take a hundredth of it
ROUNDING = 0.01  # that probabilities may sum to more than 1 by


class ServerError(RuntimeError):
    """A server did not answer as it should."""


class RetryableError(ServerError):
    """A request that is worth repeating.

    Args:
        message: What happened.
        kind: What is the same for all requests that it happens to.
        retry_after: Seconds to wait, where the server says so.
    """

    def __init__(self, message: str, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class UnreadableAnswerError(ValueError):
    """An answer is not what the protocol says that it is.

    Args:
        kind: What is wrong with it, as it continues "an answer ...".
        detail: What was found.
        advice: What to do, where it is the server that is so, not just the answer.
    """

    def __init__(self, kind: str, detail: str = "", advice: str = "") -> None:
        super().__init__(f"an answer {kind}{detail and f': {detail:.100}'}")
        self.kind = kind
        self.advice = advice


class FaultyAnswerError(RetryableError):
    """A request whose answer came, and cannot be read."""

    def __init__(self, where: str, error: UnreadableAnswerError) -> None:
        super().__init__(f"{where}: {error}", error.kind)
        self.advice = error.advice


def read_choice(content: bytes) -> tuple[dict[str, Any], Any]:
    """Return the first choice of a chat completion, and the model that it says it is of.

    Raises:
        UnreadableAnswerError: If it is none, was cut short, or is longer than any should be.
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
    """Return what the model wrote; an answer without content is an empty text.

    Raises:
        UnreadableAnswerError: If the content is no text, or one that no file can hold.
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
    """Return the likeliest first tokens, without spaces around them, and their probabilities.

    Raises:
        UnreadableAnswerError: If there are none, or they are no probabilities.
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
    """Return the seconds of a `Retry-After` header, which may be a date."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # not a date either: as if it were not there
        return None
