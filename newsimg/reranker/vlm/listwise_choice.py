"""The probability with which a vision-language model chooses a candidate among several."""

import hashlib
import json
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import Candidates, FloatArray, FusedArray, Image, Query, RerankScores
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.vlm.picture_lists import PictureListReranker

log = logging.getLogger(__name__)

NUMBERS = tuple("123456789")  # each is one token
N_TRIED = 64  # prompts, in one of which each number must be likely enough
MIN_SHARE = 1e-4  # of the likeliest prompt; a number that never has it is never chosen
Group = tuple[int, list[int]]
"""Position of a query, and rows of the candidates in the order in which they are shown."""


class ListwiseChoiceReranker(PictureListReranker):
    """Scores candidates by the probability of their numbers as a model's choice of the best.

    The model sees pictures with their numbers, and the number is read from the probabilities of
    the next token, normalised over the numbers that are shown, instead of from a written order
    (Reddy et al. 2024, "FIRST: Faster improved listwise reranking with single token decoding",
    EMNLP). Models prefer some numbers and places: the mean over several shuffles of the candidates
    decides (Tang et al. 2024, "Found in the middle: Permutation self-consistency improves listwise
    ranking in large language models", NAACL).

    More candidates than `window` are cut, in each permutation, into the fewest groups, whose sizes
    differ by at most 1. A probability is multiplied by the size of its group: it is 1 for a
    picture that is chosen as often as by chance, in a group of any size, so that scores from
    groups of 4 and 5 are comparable. What remains is that a candidate in a group with better ones
    scores lower; groups differ between permutations, and the mean is over all. A group of one
    picture is not shown and counts 1.

    Metrics: `mass`, the mean probability of all numbers that are shown; `unread`, the number of
    prompts after which it is 0, each of whose pictures counts 1.

    Args:
        vlm: See `PictureListReranker`.
        question: See `PictureListReranker`.
        answer_prefix: Text with which the model's turn begins and which a number follows; empty for
            `answer_prefix` of the model.
        window: Largest number of pictures in one prompt, between 2 and 9: larger numbers are
            several tokens.
        n_permutations: Number of permutations. Each depends on `seed`, the article and its own
            number alone: on no other article, and not on the order of retrieval.
        seed: Seed of the permutations.
        max_side: See `PictureListReranker`.

    Raises:
        ValueError: If an argument is invalid; names it.
    """

    def __init__(
        self,
        *,
        vlm: VisionLanguageModel,
        question: str,
        answer_prefix: str,
        window: int,
        n_permutations: int,
        seed: int,
        max_side: int,
    ) -> None:
        super().__init__(vlm=vlm, question=question, window=window, max_side=max_side)
        if window > len(NUMBERS):
            raise ValueError(
                f"reranker.window must be in [2, {len(NUMBERS)}], as each number must be one "
                f"token, got {window}; more candidates are shown in groups"
            )
        if n_permutations < 1:
            raise ValueError(f"reranker.n_permutations must be at least 1, got {n_permutations}")
        self.answer_prefix = answer_prefix
        self.n_permutations = n_permutations
        self.seed = seed

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If the first prompts show that the model does not choose among all numbers.
        """
        rows = candidates.rows.tolist()
        groups = [
            (i, group)
            for i, query in enumerate(queries)
            for number in range(self.n_permutations)
            for group in self._split(query, rows[i], candidates.images, number)
        ]
        shown = [(i, group) for i, group in groups if len(group) > 1]
        found = [
            self._choose(batch, queries, candidates.images, is_first)
            for batch, is_first in ((shown[:N_TRIED], True), (shown[N_TRIED:], False))
            if batch
        ]
        mass = np.concatenate([np.empty(0), *(masses for _, masses in found)])
        chosen = iter([row for shares, _ in found for row in shares])
        sums: list[dict[int, float]] = [dict.fromkeys(own, 0.0) for own in rows]
        for i, group in groups:
            shares = next(chosen) if len(group) > 1 else np.ones(1)
            for row, share in zip(group, shares, strict=False):
                sums[i][row] += len(group) * share / self.n_permutations
        if n_unread := int((mass == 0).sum()):
            log.warning(
                "%d of %d prompts are answered with no number, and their pictures count as equal%s",
                n_unread,
                len(mass),
                "" if self.vlm.repeatable else "; the next run asks again for what it lacks",
            )
        values = [[own[row] for row in shown] for own, shown in zip(sums, rows, strict=True)]
        metrics = {"unread": float(n_unread)} | ({"mass": float(mass.mean())} if len(mass) else {})
        return RerankScores(np.array(values, np.float32), metrics=metrics)

    def _split(
        self, query: Query, rows: Sequence[int], images: Sequence[Image], number: int
    ) -> list[list[int]]:
        """Return the groups of a permutation; the same picture twice is shown once."""

        def draw(row: int) -> bytes:
            key = json.dumps([self.seed, query.query_id, number, images[row].image_id])
            return hashlib.sha256(key.encode()).digest()

        order = sorted(set(rows), key=draw)
        n_groups = -(-len(order) // self.window)
        return [part.tolist() for part in np.array_split(order, n_groups)]

    def _choose(
        self,
        groups: Sequence[Group],
        queries: Sequence[Query],
        images: Sequence[Image],
        is_first: bool,
    ) -> tuple[FusedArray, FusedArray]:
        """Show groups; return shares of the numbers, (n_groups, n_numbers), and their masses."""
        sizes = np.array([len(group) for _, group in groups])
        found: FloatArray = self.vlm.choose(
            [[images[row] for row in group] for _, group in groups],
            [self.fill(queries[i], len(group)) for i, group in groups],
            NUMBERS[: self.window],
            self.max_side,
            self.answer_prefix,
        )
        is_shown = np.arange(self.window) < sizes[:, None]
        shares = np.where(is_shown, np.nan_to_num(found.astype(np.float64)), 0.0)
        mass = shares.sum(axis=1)
        if is_first:
            self._check(shares[:, : sizes.min()].max(axis=0) < MIN_SHARE, len(groups))
        uniform = is_shown / sizes[:, None]
        readable = mass[:, None] > 0
        return np.where(readable, shares / np.where(readable, mass[:, None], 1.0), uniform), mass

    def _check(self, rare: NDArray[np.bool_], n_prompts: int) -> None:
        """Raise ValueError if no number is ever likely, or one is not in many random orders."""
        if rare.all() or (rare.any() and n_prompts == N_TRIED):
            never = ", ".join(np.array(NUMBERS)[: len(rare)][rare])
            raise ValueError(
                f"after {self.answer_prefix!r}, no probability of {never} is above {MIN_SHARE} in "
                f"{n_prompts} prompts in random orders: reranker=listwise_choice needs a model "
                "that compares several pictures in one prompt, such as vlm=qwen3_vl_4b (and a "
                "server that continues the beginning of an answer, or reranker.answer_prefix='')"
            )
