"""Tokenised prompts with a picture and a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from newsimg.datatypes import PICTURE_PLACE


@dataclass(frozen=True)
class PicturePrompts:
    """Builds prompts of one user turn: the picture, then the question.

    Attributes:
        tokenizer: The model's tokenizer.
        chat_template: The model's chat template.
        placeholder: Token that the template writes for a picture.
        answer_prefix: Text that the model writes before the answer.
        system: System prompt; empty for none.
    """

    tokenizer: Any
    chat_template: str
    placeholder: str
    answer_prefix: str
    system: str = ""

    def split(self, question: str, ending: str) -> tuple[list[int], list[int]]:
        """Return the tokens before and after the picture; `ending` is the start of the answer.

        Raises:
            ValueError: If the chat template does not write the placeholder once.
        """
        before, after = split_at_picture(question)
        content = [{"type": "text", "text": before}, {"type": "image"}]
        content.append({"type": "text", "text": after})
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [part for part in content if part.get("text") != ""]}
        ]
        if self.system:
            messages.insert(0, {"role": "system", "content": self.system})
        prompt = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )
        tokens = self.tokenize(prompt + ending)
        picture = self.tokenize(self.placeholder)
        if len(picture) != 1 or tokens.count(picture[0]) != 1:
            raise ValueError(
                f"a prompt must hold the one token {self.placeholder} once, got {prompt!r}"
            )
        where = tokens.index(picture[0])
        return tokens[:where], tokens[where + 1 :]

    def find_answer_tokens(self, question: str, answers: Sequence[str]) -> list[int]:
        """Return the token of each answer after a prompt.

        Raises:
            ValueError: If an answer is not exactly one token there; names it and the tokenizer.
        """
        _, tail = self.split(question, self.answer_prefix)
        found = []
        for answer in answers:
            _, answered = self.split(question, self.answer_prefix + answer)
            if answered[:-1] != tail:
                written = self.tokenizer.convert_ids_to_tokens(answered[len(tail) - 1 :])
                raise ValueError(
                    f"the tokenizer of {self.tokenizer.name_or_path} must write the answer "
                    f"{answer!r} after {self.answer_prefix!r} as one token of its own, got "
                    f"{written}; vlm.answer_prefix says what comes before an answer"
                )
            found.append(answered[-1])
        return found

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def split_at_picture(question: str) -> tuple[str, str]:
    """Return the text of a question before and after the picture, which comes first by default."""
    before, place, after = question.partition(PICTURE_PLACE)
    return (before, after) if place else ("", question)
