"""Forward passes over many pictures and their questions."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from newsimg.storage.models.batches import (
    CPU_TOKENS,
    GPU_TOKENS,
    STATE_SHARE,
    TokenBatches,
    find_free_memory,
    iterate_chunks,
)
from newsimg.vlm.prefix_cache import (
    Prefixes,
    can_be_padded,
    mask_right,
    pad_left,
    pad_right,
    read_cache,
)
from newsimg.vlm.prompts import Shown, group_pictures

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

WINDOW = 4  # batches of pictures that are sorted by length together


@dataclass(frozen=True)
class Question:
    """A question of a batch.

    Attributes:
        picture: Position of its picture in the batch.
        position: Position among the questions of the picture.
        prefix: Row of the prefixes that the tokens follow.
        tokens: What remains of its prompt.
    """

    picture: int
    position: int
    prefix: int
    tokens: list[int]


@dataclass(eq=False)
class BatchRunner:
    """Runs a model on pictures and questions in batches that fit into memory.

    The beginnings of prompts up to the end of the picture are run for several pictures at once
    (prefix caching), then all questions behind the prefixes of their own pictures.

    Attributes:
        name: Name of the model, for messages.
        model: The model.
        batches: Cuts rows into batches.
        mark_tokens: See `ChatVLM.mark_tokens`.
        next_offsets: See `ChatVLM.next_offsets`.
        share_prefix: Whether to compute the prefix of a picture's questions once.
    """

    name: str
    model: Any
    batches: TokenBatches
    mark_tokens: Callable[["torch.Tensor"], dict[str, "torch.Tensor"]]
    next_offsets: Callable[[int], "torch.Tensor"]
    share_prefix: bool
    can_pad: bool = field(init=False)

    def __post_init__(self) -> None:
        self.can_pad = can_be_padded(self.model)

    def write(
        self,
        pictures: Iterable[Shown],
        tokenizer: Any,
        settings: Any,
        keep: Callable[[int, dict[int, str]], None],
    ) -> None:
        """Generate an answer to each question and pass it to `keep`.

        Args:
            pictures: The pictures.
            tokenizer: The model's tokenizer.
            settings: The model's generation config.
            keep: Called with a picture's number, and answers by the question's position.
        """
        for group, _ in self.iterate_groups(pictures, equal_heads=False):

            def write(asked: list[Question], group: list[Shown] = group) -> None:
                rows = [one.tokens for one in asked]
                padded, mask = pad_left(rows, settings.pad_token_id, self.model.device)
                tokens = self.model.generate(
                    input_ids=padded,
                    attention_mask=mask,
                    generation_config=settings,
                    **self.mark_tokens(padded),
                    **self.place([group[one.picture] for one in asked]),
                )
                written = tokenizer.batch_decode(
                    tokens[:, padded.shape[1] :], skip_special_tokens=True
                )
                found: dict[int, dict[int, str]] = {}
                for one, text in zip(asked, written, strict=True):
                    found.setdefault(group[one.picture].number, {})[one.position] = text
                for number, texts in found.items():
                    keep(number, texts)

            self.run_whole(group, write)

    @property
    def max_tokens(self) -> int:
        """Tokens per forward pass."""
        return CPU_TOKENS if self.model.device.type == "cpu" else GPU_TOKENS

    def run_pictures(self, pictures: Sequence[Shown]) -> Prefixes:
        """Run the prompts of some pictures up to the end of the picture."""
        rows = [picture.heads[0] + picture.tokens for picture in pictures]
        # Padding must not be a token of a picture, which the last one of a row is.
        tokens = pad_right(rows, self.model.device, pictures[0].tails[0][-1])
        output = self.model(
            input_ids=tokens,
            use_cache=True,
            logits_to_keep=1,
            **self.mark_tokens(tokens),
            **self.place(pictures),
        )
        mask = mask_right(rows, self.model.device)
        return Prefixes(read_cache(output), mask, mask.sum(dim=1) + self.next_offsets(len(rows)))

    def run_behind(
        self, prefixes: Prefixes, lengths: Sequence[int], work: Callable[[list[int]], None]
    ) -> None:
        """Call `work` on batches of rows, each of which needs a copy of a prefix."""
        free = STATE_SHARE * find_free_memory(self.model.device)
        self.batches.run(
            lengths,
            work,
            max_tokens=self.max_tokens,
            max_state_tokens=free / prefixes.bytes_per_token,
            n_before=prefixes.n_tokens,
        )

    def run_whole(self, pictures: Sequence[Shown], work: Callable[[list[Question]], None]) -> None:
        """Call `work` on batches of questions with their whole prompts."""
        questions = [
            Question(i, position, i, prompt)
            for i, picture in enumerate(pictures)
            for position, prompt in enumerate(picture.prompts)
        ]
        self.batches.run(
            [len(question.tokens) for question in questions],
            lambda batch: work([questions[i] for i in batch]),
            max_tokens=self.max_tokens,
        )

    def place(self, pictures: Sequence[Shown]) -> dict[str, Any]:
        """Return the arguments of `forward` for the pictures of several rows."""
        import torch

        placed = {}
        for name in pictures[0].inputs:
            joined = torch.cat([picture.inputs[name] for picture in pictures])
            dtype = self.model.dtype if joined.is_floating_point() else joined.dtype
            placed[name] = joined.to(self.model.device, dtype)
        return placed

    def iterate_groups(
        self, pictures: Iterable[Shown], equal_heads: bool = True
    ) -> Iterator[tuple[list[Shown], bool]]:
        """Yield groups of pictures; see `group_pictures`."""
        limit = WINDOW * self.max_tokens
        for window in iterate_chunks(pictures, lambda one: len(one.tokens), limit):
            yield from group_pictures(window, not self.can_pad, equal_heads)
