"""Tokenised prompts with a picture and a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PicturePrompts:
    """Builds prompts of one user turn: the picture, then the question.

    Attributes:
        tokenizer: The model's tokenizer.
        chat_template: The model's chat template.
        placeholder: Token that the template writes for a picture.
        answer_prefix: Text that the model writes before the answer.
    """

    tokenizer: Any
    chat_template: str
    placeholder: str
    answer_prefix: str

    def split(self, question: str, ending: str) -> tuple[list[int], list[int]]:
        """Return the tokens before and after the picture; `ending` is the start of the answer.

        Raises:
            ValueError: If the chat template does not write the placeholder once.
        """
        content = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
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
