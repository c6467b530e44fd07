"""Probabilities of answers to questions about many pictures."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from newsimg.datatypes import FloatArray
from newsimg.vlm.batch_runner import BatchRunner, Question
from newsimg.vlm.prefix_cache import (
    Prefixes,
    can_be_repeated,
    extend_prefixes,
    group_by_beginning,
    pad_right,
    read_after,
    read_last,
)
from newsimg.vlm.prompts import Shown

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Beginning = tuple[list[Question], int]
"""Questions about one picture, and the number of tokens with which they all begin."""


def ask_pictures(
    runner: BatchRunner,
    pictures: Iterable[Shown],
    answers: Sequence[int],
    keep: Callable[[int, FloatArray], None],
    share_prefix: bool = True,
) -> None:
    """Pass the probabilities of the answers to each picture's questions to `keep`.

    Args:
        runner: Runs the model.
        pictures: The pictures.
        answers: Tokens of the answers.
        keep: Called with a picture's number and rows, (n_questions, n_answers), after its batch.
        share_prefix: Whether questions about a picture can share its prefix. Otherwise pictures
            with different texts before them are run together.
    """
    for group, one_head in runner.iterate_groups(pictures, equal_heads=share_prefix):

        def ask(batch: list[int], group: list[Shown] = group, shared: bool = one_head) -> None:
            asked = [group[i] for i in batch]
            reader = AnswerReader(runner, asked, list(answers))
            reader.read(shared and runner.share_prefix)
            for picture, rows in zip(asked, reader.found, strict=True):
                keep(picture.number, rows)

        lengths = [len(picture.heads[0]) + len(picture.tokens) for picture in group]
        runner.batches.run(lengths, ask, max_tokens=runner.max_tokens)


class AnswerReader:
    """Reads the probabilities of answers for one batch of pictures.

    Attributes:
        found: Of each picture (n_questions, n_answers) float32.

    Args:
        runner: Runs the model.
        pictures: The pictures.
        answers: Tokens of the answers.
    """

    def __init__(self, runner: BatchRunner, pictures: Sequence[Shown], answers: list[int]) -> None:
        self.runner = runner
        self.pictures = pictures
        self.answers = answers
        self.found = [np.empty((len(one.tails), len(answers)), np.float32) for one in pictures]

    def read(self, share_prefix: bool) -> None:
        """Fill `found`."""
        if share_prefix:
            prefixes = self.runner.run_pictures(self.pictures)
            if can_be_repeated(prefixes.cache):
                self._read_shared(prefixes)
                return
            self.runner.share_prefix = False
            log.warning(
                "%s has recurrent layers, whose state cannot be shared: every question is run with "
                "its whole prompt (vlm.share_prefix=false says so)",
                self.runner.name,
            )
        self.runner.run_whole(self.pictures, self._read_whole)

    def _read_shared(self, prefixes: Prefixes) -> None:
        alone: list[Question] = []
        together: list[Beginning] = []
        for i, picture in enumerate(self.pictures):
            for group, n_shared in group_by_beginning(picture.tails):
                asked = [Question(i, position, i, picture.tails[position]) for position in group]
                if n_shared:
                    together.append((asked, n_shared))
                else:
                    alone += asked
        self._read_behind(prefixes, alone)
        for same in group_lengths(together, any_length=self.runner.can_pad):
            self.runner.run_behind(
                prefixes,
                [n_shared for _, n_shared in same],
                partial(self._extend, prefixes, same),
            )

    def _extend(self, prefixes: Prefixes, together: list[Beginning], batch: list[int]) -> None:
        """Read questions that share further tokens, which are run once per group."""
        groups = [together[i] for i in batch]
        begun = prefixes.select([asked[0].prefix for asked, _ in groups])
        beginnings = [asked[0].tokens[:n_shared] for asked, n_shared in groups]
        rest = [
            Question(question.picture, question.position, i, question.tokens[n_shared:])
            for i, (asked, n_shared) in enumerate(groups)
            for question in asked
        ]
        self._read_behind(extend_prefixes(self.runner.model, begun, beginnings), rest)

    def _read_behind(self, prefixes: Prefixes, questions: list[Question]) -> None:
        def read(batch: list[int]) -> None:
            asked = [questions[i] for i in batch]
            begun = prefixes.select([question.prefix for question in asked])
            logits = read_after(self.runner.model, begun, [one.tokens for one in asked])
            self._keep(asked, logits)

        self.runner.run_behind(prefixes, [len(question.tokens) for question in questions], read)

    def _read_whole(self, asked: list[Question]) -> None:
        rows = [question.tokens for question in asked]
        padded = pad_right(rows, self.runner.model.device)
        logits = read_last(
            self.runner.model,
            rows,
            input_ids=padded,
            **self.runner.mark_tokens(padded),
            **self.runner.place([self.pictures[question.picture] for question in asked]),
        )
        self._keep(asked, logits)

    def _keep(self, asked: Sequence[Question], logits: "torch.Tensor") -> None:
        rows = logits.softmax(-1)[:, self.answers].cpu().numpy()
        for question, row in zip(asked, rows, strict=True):
            self.found[question.picture][question.position] = row


def group_lengths(beginnings: list[Beginning], any_length: bool) -> list[list[Beginning]]:
    """Group beginnings by their number of tokens, unless those of any length go together."""
    groups: dict[int, list[Beginning]] = {}
    for beginning in beginnings:
        groups.setdefault(0 if any_length else beginning[1], []).append(beginning)
    return list(groups.values())
