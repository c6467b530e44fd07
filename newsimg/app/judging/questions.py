"""Which pairs of pictures people are asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from newsimg.storage.text.suggest import check_choice

PAIR, RATE, CHECK = "pair", "rate", "check"
MODES = (PAIR, RATE)
POINTS = ("1", "2", "3", "4", "5")  # of a picture that is rated
ORDERS = ("random", "active")


@dataclass(frozen=True)
class Question:
    """Two pictures for a headline, or one to rate.

    Attributes:
        kind: "pair", "rate", or "check" for an attention check, whose first picture is the right
            answer.
        article_id: The headline's article.
        first: Image id of the first run.
        second: Image id of the second run; of a check a picture of another headline; empty for a
            picture that is rated.
        disagreement: How much the runs differ, in [0, 1].
        n_wanted: Number of people who are asked; any number for a check.
    """

    kind: str
    article_id: str
    first: str
    second: str
    disagreement: float
    n_wanted: int


@dataclass(frozen=True)
class Rules:
    """How people are asked.

    Attributes:
        check_share: Share of questions that are attention checks.
        repeat_share: Share of questions that are repeats with sides swapped.
        repeat_gap: Answers between a question and its repeat.
        order: "random", or "active" to ask next where an answer tells most.
        expire: Seconds after which an unanswered question is given to another person.
        seed: Seed of order and sides.

    Raises:
        ValueError: If a value is out of range.
    """

    check_share: float
    repeat_share: float
    repeat_gap: int
    order: str
    expire: float
    seed: int

    def __post_init__(self) -> None:
        if not (self.check_share >= 0 and self.repeat_share >= 0):
            raise ValueError("task.check_share and task.repeat_share must be at least 0")
        if self.check_share + self.repeat_share > 0.5:
            raise ValueError(
                "task.check_share and task.repeat_share must be at most 0.5 together, "
                f"got {self.check_share + self.repeat_share}"
            )
        if self.repeat_gap < 1:
            raise ValueError(f"task.repeat_gap must be at least 1, got {self.repeat_gap}")
        if self.expire <= 0:
            raise ValueError(f"task.expire must be above 0, got {self.expire}")
        check_choice("task.order", self.order, ORDERS)


def plan_ratings(pairs: Sequence[Question]) -> list[Question]:
    """Return questions that ask for a rating of each picture of some pairs instead."""
    return [
        replace(pair, kind=RATE, first=image_id, second="")
        for pair in pairs
        if pair.kind == PAIR
        for image_id in (pair.first, pair.second)
    ]


def plan_pairs(
    first: Mapping[str, Sequence[str]],
    second: Mapping[str, Sequence[str]],
    *,
    n_pairs: int | None,
    n_raters: int,
    n_checks: int,
    seed: int,
) -> list[Question]:
    """Return questions about the articles in which the first pictures of two runs differ.

    The disagreement is larger, the lower each run ranks the other's first picture. If there are
    more pairs than wanted, they are drawn at random, so that the answers stand for all of them.

    Args:
        first: Article id -> image ids of the first run, best first.
        second: The same of the second run.
        n_pairs: Number of pairs; None for all.
        n_raters: Number of people for each pair.
        n_checks: Number of attention checks.
        seed: Seed of the draw.

    Raises:
        ValueError: If the runs share no article, agree on all, or a number is out of range.
    """
    for name, value in (("n_pairs", n_pairs), ("n_raters", n_raters)):
        if value is not None and value < 1:
            raise ValueError(f"task.{name} must be at least 1, got {value}")
    shared = [article_id for article_id in first if article_id in second]
    if not shared:
        raise ValueError("the runs have no article in common")
    differ = [one for one in shared if first[one][0] != second[one][0]]
    if not differ:
        raise ValueError(f"both runs have the same first picture for all {len(shared)} headlines")
    random = np.random.default_rng(seed)
    order = random.permutation(len(differ))[:n_pairs]
    pairs = [
        Question(
            PAIR,
            article_id,
            first[article_id][0],
            second[article_id][0],
            _measure_disagreement(first[article_id], second[article_id]),
            n_raters,
        )
        for article_id in (differ[i] for i in order)
    ]
    return pairs + _plan_checks(first, second, shared, n_checks, random)


def _measure_disagreement(first: Sequence[str], second: Sequence[str]) -> float:
    def find(image_id: str, ranked: Sequence[str]) -> float:
        rank = list(ranked).index(image_id) if image_id in ranked else len(ranked)
        return rank / len(ranked)

    return (find(first[0], second) + find(second[0], first)) / 2


def _plan_checks(
    first: Mapping[str, Sequence[str]],
    second: Mapping[str, Sequence[str]],
    shared: Sequence[str],
    n_checks: int,
    random: np.random.Generator,
) -> list[Question]:
    """Return checks: a picture that both runs rank high against one that neither ranks at all."""
    checks: list[Question] = []
    for i in random.permutation(len(shared)):
        if len(checks) == n_checks:
            break
        own = shared[i]
        known = {*first[own], *second[own]}
        agreed = [image_id for image_id in first[own] if image_id in second[own]][:1]
        others = [first[one][0] for one in shared if first[one][0] not in known]
        if agreed and others:
            other = others[int(random.integers(len(others)))]
            checks.append(Question(CHECK, own, agreed[0], other, 0.0, 0))
    return checks
