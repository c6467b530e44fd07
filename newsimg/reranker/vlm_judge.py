"""Ratings of the candidates by a vision-language model."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from newsimg.datatypes import (
    Candidates,
    FloatArray,
    FusedArray,
    Image,
    IntArray,
    Query,
    RerankScores,
    TextArray,
)
from newsimg.interfaces import Reranker, VisionLanguageModel
from newsimg.reranker.vlm.questions import collect_questions, fill_question
from newsimg.reranker.vlm.written_ratings import read_rating
from newsimg.storage.text.suggest import check_choice
from newsimg.storage.text.templates import (
    check_prompt_fields,
    check_query_fields,
    list_fields,
)
from newsimg.storage.text.wording import read_wording

log = logging.getLogger(__name__)

SCALE = ("1", "2", "3", "4", "5")
READINGS = ("expected", "generate")


@dataclass(frozen=True)
class Criterion:
    """A question about a picture, and the weight of its rating."""

    name: str
    question: str
    weight: float

    @property
    def key(self) -> str:
        """Its key in the config, for messages."""
        return f"reranker.criteria.{self.name}.question"


class VLMJudgeReranker(Reranker):
    """Scores a candidate by the mean of its ratings from 1 to 5, weighted by criterion.

    A rating is the expectation over the probabilities of the answers "1" to "5" (Liu et al. 2023,
    "G-Eval"; Lin et al. 2024, "Evaluating text-to-visual generation with image-to-text
    generation"), or the number in the generated text, see `read_rating`, and what is written after
    it is the rating's explanation. An answer without a rating is replaced by the criterion's mean
    rating, and counted.

    Metrics: for each criterion `<name>/mean`; with "expected" `<name>/mass`, the mean probability
    of the five answers; and `unread`, the number of answers without a rating.

    Args:
        vlm: Vision-language model.
        criteria: Name -> `question`, which may use {title}, {tags} and any column of the data, and
            `weight`. A criterion that
            is null or has weight 0 is not used. Or the `path` of a file, see `read_wording`.
        reading: "expected" or "generate".

    Raises:
        ValueError: If `reading` or a criterion is invalid, or no criterion is used.
    """

    def __init__(
        self,
        *,
        vlm: VisionLanguageModel,
        criteria: Mapping[str, Mapping[str, Any] | str | None],
        reading: str,
    ) -> None:
        check_choice("reranker.reading", reading, READINGS)
        criteria = read_wording(criteria, "criteria")
        if set(criteria) == {"text"}:
            criteria = {"question": {"question": criteria["text"], "weight": 1.0}}
        named = [check_criterion(name, value) for name, value in criteria.items() if value]
        self.criteria = [criterion for criterion in named if criterion.weight > 0]
        if not self.criteria:
            raise ValueError(
                "reranker.criteria must hold one with a weight above 0, "
                f"got {', '.join(criteria) or 'none'}"
            )
        self.vlm = vlm
        self.reading = reading

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        for criterion in self.criteria:
            check_query_fields(queries, list_fields(criterion.question), criterion.key)

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`.

        Raises:
            ValueError: If no answer to a criterion contains a rating.
        """
        texts = [
            [fill_question(criterion.question, query, {}, criterion.key) for query in queries]
            for criterion in self.criteria
        ]
        asked, where = collect_questions(texts, candidates.rows)
        images = [candidates.images[row] for row in asked]
        answers = self._ask(images, [list(own) for own in asked.values()])
        scores = np.zeros(candidates.rows.shape)
        total = sum(criterion.weight for criterion in self.criteria)
        metrics = {"unread": 0.0}
        components: dict[str, FloatArray] = {}
        explanations: dict[str, TextArray] = {}
        for criterion, positions in zip(self.criteria, where, strict=True):
            rated, counts = self._rate(criterion, answers, positions)
            ratings = rated[positions]
            scores += criterion.weight / total * ratings
            components[criterion.name] = ratings.astype(np.float32)
            if (written := answers.explanations[positions]).any():
                explanations[criterion.name] = written
            metrics |= counts | {"unread": metrics["unread"] + counts["unread"]}
        return RerankScores(
            scores.astype(np.float32), components, metrics=metrics, explanations=explanations
        )

    def _ask(self, images: Sequence[Image], questions: Sequence[Sequence[str]]) -> "Answers":
        if self.reading == "expected":
            shares = np.concatenate(self.vlm.ask(images, questions, SCALE))
            mass = np.nan_to_num(shares.sum(axis=1, dtype=np.float64))
            sums = shares @ np.arange(1.0, len(SCALE) + 1)
            ratings = np.divide(sums, mass, out=np.full(len(mass), np.nan), where=mass > 0)
            return Answers(ratings, mass, np.full(len(mass), "", dtype=object))
        texts = self.vlm.write(images, questions, None, has_rating)
        read = [read_rating(text) for own in texts for text in own]
        ratings = np.array([np.nan if own.value is None else own.value for own in read])
        explanations = np.array([own.explanation for own in read], dtype=object)
        return Answers(ratings, np.isfinite(ratings).astype(np.float64), explanations)

    def _rate(
        self, criterion: Criterion, answers: "Answers", positions: IntArray
    ) -> tuple[FusedArray, dict[str, float]]:
        """Return the ratings of one criterion, (n_questions,), and the number of unread answers."""
        own = np.unique(positions)
        readable = np.isfinite(answers.ratings[own])
        again = "" if self.vlm.repeatable else "; the next run asks again for what it lacks"
        if not readable.any():
            raise ValueError(
                f"no answer to {criterion.name} holds a rating from 1 to 5, the question being "
                f"{criterion.question!r}{again}"
            )
        mean = answers.ratings[own][readable].mean()
        if n_unread := int((~readable).sum()):
            log.warning(
                "%d of %d answers to %s hold no rating and count as their mean, %.2f%s",
                n_unread,
                len(own),
                criterion.name,
                mean,
                again,
            )
        counts = {"unread": float(n_unread), f"{criterion.name}/mean": float(mean)}
        if self.reading == "expected":
            counts[f"{criterion.name}/mass"] = float(answers.mass[own].mean())
        return np.where(np.isfinite(answers.ratings), answers.ratings, mean), counts


@dataclass(frozen=True, eq=False)
class Answers:
    """What was read in the answers to all questions.

    Attributes:
        ratings: (n_questions,) float64 in [1, 5]; NaN where there is none.
        mass: (n_questions,) probability of the five answers; 1 or 0 for a written answer.
        explanations: (n_questions,) texts, "" where there is none.
    """

    ratings: FusedArray
    mass: FusedArray
    explanations: TextArray


def has_rating(text: str) -> bool:
    """Return whether an answer holds a rating."""
    return read_rating(text).value is not None


def check_criterion(name: str, value: Any) -> Criterion:
    """Check a criterion's config and return it as a `Criterion`.

    Raises:
        ValueError: If a part is missing, unknown or out of range.
    """
    where = f"reranker.criteria.{name}"
    if not isinstance(value, Mapping) or set(value) != {"question", "weight"}:
        found = ", ".join(value) if isinstance(value, Mapping) else repr(value)
        raise ValueError(f"{where} must have question and weight, got {found}")
    if not 0 <= value["weight"] < float("inf"):
        raise ValueError(f"{where}.weight must be at least 0, got {value['weight']}")
    check_prompt_fields(value["question"], f"{where}.question")
    return Criterion(name, value["question"], float(value["weight"]))
