"""Tokenised prompts with pictures and a question, and pictures encoded for them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image as PILImage

from newsimg.datatypes import PICTURE_PLACE, Image
from newsimg.storage.pictures.images import open_image
from newsimg.storage.prefetch import prefetch

if TYPE_CHECKING:
    import torch

N_PREFETCH = 8  # pictures that are encoded while the model runs
N_PREFETCH_LISTS = 2  # lists of pictures, likewise

Encoded = tuple[list[int], dict[str, "torch.Tensor"]]
EncodedList = tuple[list[list[int]], dict[str, "torch.Tensor"]]
Split = Callable[[str, str, int], list[list[int]]]


@dataclass(frozen=True)
class PicturePrompts:
    """Builds prompts of one user turn: pictures and a question.

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

    def split(self, question: str, ending: str, n_pictures: int) -> list[list[int]]:
        """Return the tokens before, between and after the pictures of a prompt.

        Args:
            question: See `split_at_pictures`.
            ending: Start of the answer.
            n_pictures: Number of pictures.

        Raises:
            ValueError: If the chat template does not write the placeholder once per picture.
        """
        content: list[dict[str, str]] = []
        for text in split_at_pictures(question, n_pictures):
            content += [{"type": "text", "text": text}, {"type": "image"}]
        content.pop()
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
        if len(picture) != 1 or tokens.count(picture[0]) != n_pictures:
            raise ValueError(
                f"a prompt must hold the one token {self.placeholder} once for each of "
                f"{n_pictures} pictures, got {prompt!r}"
            )
        ends = [i for i, token in enumerate(tokens) if token == picture[0]]
        starts = [0, *(end + 1 for end in ends)]
        return [tokens[i:j] for i, j in zip(starts, [*ends, len(tokens)], strict=True)]

    def find_answer_tokens(
        self, question: str, answers: Sequence[str], ending: str, n_pictures: int = 1
    ) -> list[int]:
        """Return the token of each answer after a prompt; see `split` for the arguments.

        Raises:
            ValueError: If an answer is not exactly one token there; names it and the tokenizer.
        """
        *_, tail = self.split(question, ending, n_pictures)
        found = []
        for answer in answers:
            *_, answered = self.split(question, ending + answer, n_pictures)
            if answered[:-1] != tail:
                written = self.tokenizer.convert_ids_to_tokens(answered[len(tail) - 1 :])
                raise ValueError(
                    f"the tokenizer of {self.tokenizer.name_or_path} must write the answer "
                    f"{answer!r} after {ending!r} as one token of its own, got {written}; "
                    "answer_prefix (of vlm or reranker) says what comes before an answer"
                )
            found.append(answered[-1])
        return found

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def split_at_pictures(question: str, n_pictures: int) -> list[str]:
    """Return the text of a question before, between and after its pictures.

    Pictures without a place in the question come first.
    """
    texts = question.split(PICTURE_PLACE, n_pictures)
    return [""] * (n_pictures + 1 - len(texts)) + texts


def open_thumbnail(image: Image, max_side: int) -> PILImage.Image:
    """Open a picture, scaled down to `max_side` pixels if it is larger.

    Raises:
        ValueError: If the picture cannot be read; names it.
    """
    picture = open_image(image)
    picture.thumbnail((max_side, max_side), PILImage.Resampling.LANCZOS, reducing_gap=None)
    return picture


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture, or a list of pictures, that a model is asked about.

    Attributes:
        number: Position of the picture or the list among all.
        tokens: Tokens that stand for the picture; of a list, with the text between its pictures.
        inputs: Arguments of the model's `forward` for the pictures.
        heads: Tokens of each question's prompt before the pictures.
        tails: Tokens of each question's prompt after the pictures.
    """

    number: int
    tokens: list[int]
    inputs: dict[str, "torch.Tensor"]
    heads: list[list[int]]
    tails: list[list[int]]

    @property
    def head(self) -> list[int] | None:
        """The tokens before the picture, if they are the same for all questions."""
        return self.heads[0] if all(head == self.heads[0] for head in self.heads) else None

    @property
    def prompts(self) -> list[list[int]]:
        """The whole prompt of each question."""
        return [
            head + self.tokens + tail for head, tail in zip(self.heads, self.tails, strict=True)
        ]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs but for the first axis: where they are equal, they concatenate."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.inputs.values())


def show_pictures(
    images: Sequence[Image],
    questions: Sequence[Sequence[str]],
    encode: Callable[[PILImage.Image], Encoded],
    split: Split,
    ending: str,
) -> Iterator[Shown]:
    """Yield the pictures that have questions, encoded ahead in another thread.

    Args:
        images: The pictures.
        questions: Questions about each picture.
        encode: See `ChatVLM.encode`.
        split: See `PicturePrompts.split`.
        ending: Start of the answers.
    """
    asked = [i for i, texts in enumerate(questions) if texts]
    with ThreadPoolExecutor(1) as pool:
        waiting = (
            (i, pool.submit(lambda image: encode(open_image(image)), images[i])) for i in asked
        )
        for i, encoded in prefetch(waiting, N_PREFETCH):
            tokens, inputs = encoded.result()
            split_up = [split(text, ending, 1) for text in questions[i]]
            yield Shown(i, tokens, inputs, *map(list, zip(*split_up, strict=True)))


def show_lists(
    images: Sequence[Sequence[Image]],
    questions: Sequence[str],
    max_side: int,
    encode: Callable[[Sequence[PILImage.Image]], EncodedList],
    split: Split,
    ending: str,
) -> Iterator[Shown]:
    """Yield the pictures of each question as one, encoded ahead in another thread.

    Args:
        images: The pictures of each question.
        questions: A question about each list.
        max_side: See `open_thumbnail`.
        encode: See `ChatVLM.encode_list`.
        split: See `PicturePrompts.split`.
        ending: Start of the answers.
    """

    def encode_all(own: Sequence[Image]) -> EncodedList:
        return encode([open_thumbnail(image, max_side) for image in own])

    with ThreadPoolExecutor(1) as pool:
        waiting = ((i, pool.submit(encode_all, own)) for i, own in enumerate(images))
        for i, encoded in prefetch(waiting, N_PREFETCH_LISTS):
            pictures, inputs = encoded.result()
            head, *between, tail = split(questions[i], ending, len(pictures))
            tokens = list(pictures[0])
            for text, picture in zip(between, pictures[1:], strict=True):
                tokens += text + picture
            yield Shown(i, tokens, inputs, [head], [tail])


def group_pictures(
    pictures: Sequence[Shown], equal_lengths: bool, equal_heads: bool
) -> Iterator[tuple[list[Shown], bool]]:
    """Yield groups of pictures that one forward pass can take, and whether they have one head.

    Args:
        pictures: The pictures.
        equal_lengths: Whether those of a group must have the same number of tokens.
        equal_heads: Whether those of a group must have the same head, if they have one.
    """
    groups: dict[Any, list[Shown]] = {}
    for picture in pictures:
        head = tuple(picture.head) if equal_heads and picture.head is not None else None
        length = len(picture.tokens) if equal_lengths else None
        groups.setdefault((picture.shapes, head, length), []).append(picture)
    for (_, head, _), group in groups.items():
        yield group, head is not None
