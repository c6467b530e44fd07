"""Measures of compared runs, and paired tests between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from newsimg.datatypes import Qrels
from newsimg.evaluation.metrics import measure_run
from newsimg.evaluation.ratings.rated import RatedPictures
from newsimg.evaluation.stats import bound_means, compare_means, correct_holm
from newsimg.reporting.comparing.candidates import RunCandidates
from newsimg.reporting.comparing.rated import compare_rated
from newsimg.storage.text.suggest import check_choice

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Measures and tests of several runs on the same headlines.

    Attributes:
        ids: The headlines that are compared.
        qrels: Editors' pictures of those of them whose picture is known.
        means: Of each run, a row per measure: `value`, `low`, `high`; empty if neither editors'
            pictures nor ratings are known.
        n_rated: Number of headlines with ratings.
        tests: A row per pair and measure: `first`, `second` (positions of runs), `measure`,
            `value` (mean difference), `low`, `high`, `p`, `p_holm`.
    """

    ids: Sequence[str]
    qrels: Qrels
    means: Sequence[pd.DataFrame]
    tests: pd.DataFrame
    n_rated: int = 0


def choose_pairs(n_runs: int, baseline: int | None) -> list[Pair]:
    """Return the pairs that are tested, as positions.

    Args:
        n_runs: Number of runs.
        baseline: Position of the run that the others are tested against; None for every pair.
    """
    if baseline is None:
        return list(combinations(range(n_runs), 2))
    return [(baseline, other) for other in range(n_runs) if other != baseline]


def compare_candidates(
    runs: Sequence[RunCandidates],
    ids: Sequence[str],
    metrics: Sequence[str],
    pairs: Sequence[Pair],
    rated: RatedPictures | None = None,
) -> Comparison:
    """Measure runs on the same headlines and test their differences.

    Editors' pictures that one of the runs knows count for all. p values of a measure are
    Holm-corrected for the number of pairs.

    Args:
        runs: The runs.
        ids: The headlines.
        metrics: Measures, such as "hits_at_1".
        pairs: See `choose_pairs`.
        rated: Ratings of the headlines; None for no measures by them.

    Raises:
        ValueError: If a measure does not exist, or two runs name other editors' pictures.
    """
    qrels = join_qrels(runs, ids)
    means: list[pd.DataFrame] = [pd.DataFrame() for _ in runs]
    tested: list[pd.DataFrame] = [pd.DataFrame() for _ in pairs]
    if qrels:
        measures = _measure_runs(runs, ids, metrics, qrels)
        means = [bound_means(own) for own in measures]
        tested = [compare_means(measures[first], measures[second]) for first, second in pairs]
    if rated is not None:
        by_ratings = compare_rated([{i: run.ranked[i] for i in ids} for run in runs], rated, pairs)
        means, tested = (
            [pd.concat(both) for both in zip(own, other, strict=True)]
            for own, other in zip((means, tested), by_ratings, strict=True)
        )
    if means[0].empty:
        return Comparison(ids, qrels, [], pd.DataFrame())
    tests = pd.concat(
        [
            own.rename_axis("measure").reset_index().assign(first=first, second=second)
            for own, (first, second) in zip(tested, pairs, strict=True)
        ],
        ignore_index=True,
    )
    tests["p_holm"] = tests.groupby("measure")["p"].transform(
        lambda p: correct_holm(p.to_numpy(dtype=np.float64))
    )
    return Comparison(ids, qrels, means, tests, 0 if rated is None else int(rated.is_rated.sum()))


def _measure_runs(
    runs: Sequence[RunCandidates], ids: Sequence[str], metrics: Sequence[str], qrels: Qrels
) -> list[pd.DataFrame]:
    """Return of each run a row per judged headline and a column per measure."""
    top_k = min(len(run.ranked[i]) for run in runs for i in ids)
    measures = []
    for run in runs:
        ranked = {i: rank_scores(run.ranked[i]) for i in qrels}
        values = measure_run(ranked, qrels, top_k)
        for name in metrics:
            check_choice("task.metrics", name, list(values))
        measures.append(values[list(metrics)])
    return measures


def join_qrels(runs: Sequence[RunCandidates], ids: Sequence[str]) -> dict[str, Mapping[str, int]]:
    """Return the editors' pictures that any of the runs knows.

    Raises:
        ValueError: If two runs name other pictures for a headline.
    """
    joined: dict[str, Mapping[str, int]] = {}
    for article_id in ids:
        for run in runs:
            known = run.qrels.get(article_id)
            if known and joined.setdefault(article_id, known).keys() != known.keys():
                raise ValueError(
                    f"runs must be of the same data: the editor's picture of {article_id!r} is "
                    f"{' '.join(joined[article_id])} in one and {' '.join(known)} in another"
                )
    return joined


def rank_scores(ranked: Sequence[str]) -> dict[str, float]:
    """Return scores that sort image ids into their order."""
    return {image_id: float(-rank) for rank, image_id in enumerate(ranked)}


def find_rank(ranked: Sequence[str], relevant: Mapping[str, int]) -> int | None:
    """Return the 1-based rank of the first editor's picture; None if it is no candidate."""
    return next((rank for rank, found in enumerate(ranked, start=1) if found in relevant), None)


def count_outcomes(
    comparison: Comparison, first: RunCandidates, second: RunCandidates
) -> dict[str, int]:
    """Count what the second run does to the editor's picture, as its page does.

    Returns:
        `n_won` (only the second run ranks it first), `n_lost` (only the first), `n_both`,
        `n_neither`, `n_unjudged`, which add up to the headlines; `n_first_differs`.
    """
    counts = dict.fromkeys(("n_won", "n_lost", "n_both", "n_neither", "n_unjudged"), 0)
    names = {(False, True): "n_won", (True, False): "n_lost", (True, True): "n_both"}
    differs = 0
    for article_id in comparison.ids:
        own, other = first.ranked[article_id], second.ranked[article_id]
        differs += own[:1] != other[:1]
        relevant = comparison.qrels.get(article_id)
        if relevant is None:
            counts["n_unjudged"] += 1
        else:
            found = (find_rank(own, relevant) == 1, find_rank(other, relevant) == 1)
            counts[names.get(found, "n_neither")] += 1
    return counts | {"n_first_differs": differs}
