"""Which pairs of pictures people are asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

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
        first: Image id of a picture, that of the earlier run.
        second: Image id of the other; of a check a picture of another headline; empty for a
            picture that is rated.
        disagreement: How much the runs differ, in [0, 1]: the mean over all pairs of runs, where
            those that do not show these two pictures count as 0.
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


Ranked = Mapping[str, Sequence[str]]  # article id -> image ids of a run, best first
Shown = Mapping[tuple[str, str], tuple[str, ...]]  # article and image id -> runs that show it first


def plan_ratings(pairs: Sequence[Question]) -> list[Question]:
    """Return questions that ask for a rating of each picture of some pairs instead."""
    pictures: dict[tuple[str, str], Question] = {}
    for pair in pairs:
        for image_id in (pair.first, pair.second) if pair.kind == PAIR else ():
            asked = replace(pair, kind=RATE, first=image_id, second="")
            pictures.setdefault((pair.article_id, image_id), asked)
    return list(pictures.values())


def plan_pairs(
    runs: Sequence[Ranked],
    *,
    n_pairs: int | None,
    n_raters: int,
    n_checks: int,
    seed: int,
    whole: bool = False,
) -> list[Question]:
    """Return questions about the articles in which the first pictures of runs differ.

    Two pictures are asked about once, however many runs show them: the answer counts for each pair
    of runs of which one shows the first and one the second. The disagreement is larger, the lower
    each run ranks the other's first picture. If there are more pairs than wanted, they are drawn at
    random, each as likely as any other, so that the answers to those that tell two runs apart stand
    for all of them.

    Args:
        runs: The rankings of two or more runs.
        n_pairs: Number of pairs of pictures; None for all.
        n_raters: Number of people for each pair.
        n_checks: Number of attention checks.
        seed: Seed of the draw.
        whole: Whether `n_pairs` is the number of articles, of which all pairs are asked about.

    Raises:
        ValueError: If the runs share no article, agree on all, or a number is out of range.
    """
    for name, value in (("n_pairs", n_pairs), ("n_raters", n_raters)):
        if value is not None and value < 1:
            raise ValueError(f"task.{name} must be at least 1, got {value}")
    shared = [article_id for article_id in runs[0] if all(article_id in run for run in runs[1:])]
    if not shared:
        raise ValueError("the runs have no article in common")
    by_article = [_pair_pictures(one, [run[one] for run in runs], n_raters) for one in shared]
    units = [own for own in by_article if own]
    if not units:
        both = "both runs have" if len(runs) == 2 else "all runs have"
        raise ValueError(f"{both} the same first picture for all {len(shared)} headlines")
    if not whole:
        units = [[pair] for own in units for pair in own]
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(units))[:n_pairs]
    pairs = [pair for i in drawn for pair in units[i]]
    return pairs + _plan_checks(runs, shared, n_checks, random)


def list_shown(runs: Mapping[str, Ranked], asked: Sequence[Question]) -> Shown:
    """Return which runs show each picture of the questions first."""
    pictures = {
        (one.article_id, image_id)
        for one in asked
        if one.kind != CHECK
        for image_id in (one.first, one.second)
    }
    return {
        (article_id, image_id): tuple(
            name for name, run in runs.items() if run[article_id][0] == image_id
        )
        for article_id, image_id in pictures
        if image_id
    }


def _pair_pictures(
    article_id: str, ranked: Sequence[Sequence[str]], n_raters: int
) -> list[Question]:
    """Return a question for each two different first pictures of an article."""
    found: dict[tuple[str, str], float] = {}
    n_pairs = len(ranked) * (len(ranked) - 1) / 2
    for one, other in combinations(ranked, 2):
        if one[0] != other[0]:
            key = (one[0], other[0])
            key = key if key[::-1] not in found else key[::-1]
            found[key] = found.get(key, 0.0) + _measure_disagreement(one, other) / n_pairs
    return [
        Question(PAIR, article_id, *pictures, disagreement, n_raters)
        for pictures, disagreement in found.items()
    ]


def _measure_disagreement(first: Sequence[str], second: Sequence[str]) -> float:
    def find(image_id: str, ranked: Sequence[str]) -> float:
        rank = list(ranked).index(image_id) if image_id in ranked else len(ranked)
        return rank / len(ranked)

    return (find(first[0], second) + find(second[0], first)) / 2


def _plan_checks(
    runs: Sequence[Ranked], shared: Sequence[str], n_checks: int, random: np.random.Generator
) -> list[Question]:
    """Return checks: a picture that all runs rank high against one that none ranks at all."""
    checks: list[Question] = []
    for i in random.permutation(len(shared)):
        if len(checks) == n_checks:
            break
        own = shared[i]
        known = {image_id for run in runs for image_id in run[own]}
        agreed = [one for one in runs[0][own] if all(one in run[own] for run in runs[1:])][:1]
        others = [runs[0][one][0] for one in shared if runs[0][one][0] not in known]
        if agreed and others:
            other = others[int(random.integers(len(others)))]
            checks.append(Question(CHECK, own, agreed[0], other, 0.0, 0))
    return checks
