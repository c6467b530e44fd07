"""Chat models behind a server of OpenAI's protocol."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from newsimg.datatypes import Chat, KeepText
from newsimg.interfaces import LanguageModel
from newsimg.llm.chat_answers import read_text
from newsimg.llm.chat_server import ChatRequests, check_server

LAST_LETTERS = 200  # of a chat, which contain the headline


class OpenAILLM(LanguageModel):
    """A chat model behind a server; answers are passed on as they arrive.

    Args:
        server: See `newsimg.llm.chat_server.ChatServer`.
        model: Name of the model on the server.
        answers_as: Name of the model in the server's answers, if it differs.
        revision: Version that the server does not report, such as a commit or a quantisation.
        max_new_tokens: Maximum length of an answer.
        temperature: Sampling temperature.
        top_p: Nucleus sampling threshold.
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
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        extra_body: Mapping[str, Any],
    ) -> None:
        self.server = check_server("llm.server", server)
        if not model:
            raise ValueError(f"llm.model must be what the server calls the model, got {model!r}")
        if max_new_tokens < 1:
            raise ValueError(f"llm.max_new_tokens must be at least 1, got {max_new_tokens}")
        if not temperature > 0:
            raise ValueError(f"llm.temperature must be above 0, got {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"llm.top_p must be in (0, 1], got {top_p}")
        self.model = model
        self.answers_as = answers_as or model
        self.revision = revision
        self.max_new_tokens = max_new_tokens
        self.temperature = float(temperature)
        self.top_p = float(top_p)
        self.extra_body = dict(extra_body)

    @property
    def fingerprint(self) -> str:
        """See `LanguageModel.fingerprint`.

        It does not depend on the server's address: a model gives the same answers on another
        machine, and cached answers can be used without a server.
        """
        return json.dumps(
            {
                "class": type(self).__name__,
                "model": self.model,
                "revision": self.revision,
                "answers_as": self.answers_as,
                "max_new_tokens": self.max_new_tokens,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "extra_body": self.extra_body,
            }
        )

    def generate(
        self, chats: Sequence[Chat], seed: int | None, keep: KeepText | None = None
    ) -> list[str]:
        """See `LanguageModel.generate`. An answer that cannot be parsed is empty.

        Raises:
            ServerError: If the server does not answer; see `ChatServer.ask_all`.
        """
        drawing: dict[str, Any] = {"temperature": 0.0}
        if seed is not None:
            drawing = {"temperature": self.temperature, "top_p": self.top_p, "seed": seed}
        answers = [""] * len(chats)

        async def write(i: int) -> dict[str, Any]:
            return {
                "model": self.model,
                "messages": [dict(message) for message in chats[i]],
                "max_tokens": self.max_new_tokens,
                **drawing,
                **self.extra_body,
            }

        def keep_text(i: int, text: str | None) -> None:
            answers[i] = text or ""
            if keep:
                keep(i, answers[i])

        def describe(i: int) -> str:
            return f"{chats[i][-1]['content'][-LAST_LETTERS:]!r}"

        self.server.ask_all(
            ChatRequests(len(chats), write, describe, read_text, keep_text, self.answers_as)
        )
        return answers
