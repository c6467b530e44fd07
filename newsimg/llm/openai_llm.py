"""Chat models behind a server of OpenAI's protocol."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from newsimg.datatypes import Chat, KeepText
from newsimg.interfaces import LanguageModel
from newsimg.llm.chat_answers import read_text
from newsimg.llm.chat_server import ChatRequests, check_server

LAST_LETTERS = 200  # of a chat, where prompts have the headline


class OpenAILLM(LanguageModel):
    """Any chat model of a server; every answer is handed on as it comes.

    Args:
        server: See `newsimg.llm.chat_server.ChatServer`.
        model: What the server calls the model.
        answers_as: What the server says that the answering model is, where it differs.
        revision: What sets models of one name apart and no server tells: a commit, a quantisation.
        max_new_tokens: Tokens after which an answer is cut off.
        temperature: Of drawn answers.
        top_p: Share of the probability that drawn answers come from.
        extra_body: More fields of the request, as the server knows them.

    Raises:
        ValueError: If an argument is not what it should be; names it.
    """

    repeatable = False  # a server may be mended

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

        The address is no part of it: a model that moves to another machine gives the same answers,
        and those on disk are of use when no server runs at all.
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
        """See `LanguageModel.generate`. An answer that cannot be read is an empty one.

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
