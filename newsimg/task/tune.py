"""Choose the weight on one split and report it on another."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection, SharedResults
from newsimg.evaluation.comparison import keep_judged
from newsimg.evaluation.curve_bounds import bound_weights, list_weights
from newsimg.evaluation.ground_truth import measure_coverage
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.ratings.curve import RatedLines, is_by_ratings
from newsimg.evaluation.stats import compare_means
from newsimg.evaluation.tuning import (
    Choice,
    Chooser,
    Lines,
    TunedLines,
    cross_validate,
    find_cutoffs,
    rate_options,
)
from newsimg.interfaces import Components, Reranker, Task, Weight, WeightRule
from newsimg.reporting.evaluation import find_gold_columns, report_statistics, write_curve
from newsimg.reporting.judged.ratings import describe_shares
from newsimg.reporting.plots import CurvePlot
from newsimg.reporting.sweeps.fitting import print_text
from newsimg.reporting.sweeps.options import (
    list_choices,
    list_options,
    print_choice,
    print_options,
)
from newsimg.storage.text.suggest import check_choice
from newsimg.task.judged.lines import (
    bound_by_ratings,
    draw_by_ratings,
    draw_ends,
    list_gains,
    rank_unseen,
)
from newsimg.task.splits.loading import load_splits
from newsimg.weight.base import LinearWeight


class TuneTask(Task):
    """Chooses the weight and, optionally, the normalisation and the reranker.

    Writes `tune.csv` with the result, `options.csv` with all options on the choosing split, best
    first, `choices.csv` with the choice (one per fold in cross-validation), `statistics.csv` of the
    queries reported on (by people's ratings with intervals over articles and people, as the column
    `over` says; else over articles), and `curve.csv` and `curve.png` of
    those that it was chosen on.

    Args:
        measure: Measure to maximise, e.g. "hits_at_1" or "mrr_at_10"; by people's ratings
            "least_mean_rating", "mean_rating" or "ndcg_at_10", with a rule without another measure.
        rule: How the weight is chosen from the exact curve.
        n_resamples: Number of bootstrap resamples of the queries, by which the choice and its noise
            are found.
        report_split: Split to report on; the choice is made on `data.split`. None for
            cross-validation within `data.split`, where each query is reported at weights chosen
            without it.
        weights: Name -> weight component to choose from, whose value is not used; None for the
            default of each reranker.
        rerankers: Name -> reranker to choose from; None for the run's reranker.
        own_weights: Name of a reranker -> its default weight component.
        reranker: Name of the run's reranker.
        weight: Name of the run's weight.
        n_folds: Number of folds of the cross-validation.
        n_repeats: Number of repeats of the cross-validation.
        seed: Seed of the folds and the resamples.
        share: Member of reranker=ensemble whose share is chosen instead of the weight, which keeps
            the value of the weight component; the other members keep their proportions.

    Raises:
        ValueError: If a number is out of range, a choice is empty, a weight is not linear, or the
            rule has a measure of another kind.
    """

    def __init__(
        self,
        *,
        measure: str,
        rule: WeightRule,
        n_resamples: int,
        report_split: str | None,
        weights: Mapping[str, Weight] | None,
        rerankers: Mapping[str, Reranker] | None,
        own_weights: Mapping[str, Weight],
        reranker: str,
        weight: str,
        n_folds: int,
        n_repeats: int,
        seed: int,
        share: str | None = None,
    ) -> None:
        if n_folds < 2:
            raise ValueError(f"task.n_folds must be at least 2, got {n_folds}")
        if n_repeats < 1:
            raise ValueError(f"task.n_repeats must be at least 1, got {n_repeats}")
        if n_resamples < 2:
            raise ValueError(f"task.n_resamples must be at least 2, got {n_resamples}")
        for name, choices in (("weights", weights), ("rerankers", rerankers)):
            if choices is not None and not choices:
                raise ValueError(f"task.{name} must name at least one component or be null")
        for name, one in (weights or {}).items():
            check_linear(f"task.weights.{name}", one)
        if rule.measure is not None and is_by_ratings(rule.measure) != is_by_ratings(measure):
            raise ValueError(
                f"task.measure is {measure}, but the rule chooses by {rule.measure}: rule=bagged "
                "chooses by task.measure"
            )
        self.measure = measure
        self.report_split = report_split
        self.rule = rule
        self.n_resamples = n_resamples
        self.weights = weights
        self.rerankers = rerankers
        self.own_weights = own_weights
        self.reranker = reranker
        self.weight = weight
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.seed = seed
        self.share = share

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            Of the queries reported on, in `EvaluateTask`'s names: `retrieval/hits_at_1`,
            `reranked/hits_at_1`, `delta/hits_at_1` with `_low`, `_high` and `_p`, and so on. Of the
            choice: `tune/weight`, `tune/weight_low` and `tune/weight_high` (the interval that the
            queries do not tell apart), `tune/chosen_on` (the measure where it was chosen) and
            `tune/optimism` (the gain over retrieval where it was chosen, minus the reported gain,
            so that an easier split does not look like a better weight).
            `n_judged` and `ground_truth_share`, as `EvaluateTask` has them.

        Raises:
            ValueError: If editors' pictures are not known, one query is in both splits, or the
                measure is unknown.
        """
        shared = components.shared
        way = "task.report_split=null cross-validates instead"
        chosen, reported = load_splits(components, self.report_split, way)
        top_k = min(part[1].rows.shape[1] for part in (chosen, reported) if part is not None)
        cutoffs = [k for k in CUTOFFS if k <= top_k]
        options = self._list_options(components)
        draw = draw_by_ratings if is_by_ratings(self.measure) else draw_lines
        lines = {name: draw(*chosen, *pair, shared, self.share) for name, pair in options.items()}
        known = list(next(iter(lines.values())).score_retrieval(cutoffs))
        by_ratings = ["mean_rating", "least_mean_rating", *(f"ndcg_at_{k}" for k in cutoffs)]
        check_choice("task.measure", self.measure, known + by_ratings * bool(chosen[0].ratings))
        chooser = Chooser(self.rule, self.measure, self.n_resamples, self.seed)
        rated = rate_options(lines, chooser)
        choice, folds = rated[0], None
        if reported is None:
            folds = cross_validate(
                lines,
                chooser,
                cutoffs,
                n_folds=self.n_folds,
                n_repeats=self.n_repeats,
                seed=self.seed,
            )
            choices, after = folds.choices, folds.reported
            unseen = lines[choice.option]
        else:
            unseen = draw(*reported, *options[choice.option], shared, self.share)
            choices, after = [choice], unseen.score(choice.weight, cutoffs)
        before = unseen.score_retrieval(cutoffs)
        measures = {"retrieval": before, "reranked": after}

        list_choices(choices).to_csv(output_dir / "choices.csv", index=False)
        listed = list_options(rated)
        listed.to_csv(output_dir / "options.csv", index=False)
        report_statistics(measures, output_dir, shared)
        over = "weight" if self.share is None else f"share of {self.share}"
        draw_choice(lines[choice.option], choice, self.measure, cutoffs, output_dir, over)
        result = {
            "tune/weight": choice.weight,
            "tune/weight_low": choice.low,
            "tune/weight_high": choice.high,
        }
        result |= summarize(choices, before, after, self.measure)
        result |= {f"data/n_{kind}": n for kind, n in chosen[0].skipped.items()}
        collection, retrieved = reported or chosen
        if collection.qrels or not is_by_ratings(self.measure):
            result |= measure_coverage(collection, retrieved.images)
        if is_by_ratings(self.measure):
            assert isinstance(unseen, RatedLines)
            ranks = rank_unseen(lines, folds) if folds else unseen.rank(choice.weight)
            bounds = bound_by_ratings(collection, retrieved, measures, ranks, shared)
            bounds.to_csv(output_dir / "statistics.csv")  # over people too
            result |= list_gains(bounds)
        if len(listed) > 1:
            print_options(listed, self.measure)
        where = self.report_split or f"{self.n_repeats} x {self.n_folds} folds"
        table = print_choice(result, choices, choice, self.measure, where, over)
        table.to_csv(output_dir / "tune.csv", index=False)
        if "reranked/rated_share" in result:
            shares = (result[f"{stage}/rated_share"] for stage in ("retrieval", "reranked"))
            print_text(describe_shares(*shares))
        return result

    def _list_options(self, components: Components) -> dict[str, tuple[Reranker, LinearWeight]]:
        rerankers = self.rerankers or {self.reranker: components.reranker}
        options = {}
        for r, reranker in rerankers.items():
            own = self.own_weights.get(r, components.weight)
            name = self.weight if own is components.weight else type(own).__name__
            for w, weight in (self.weights or {name: own}).items():
                options[f"{r} {w}"] = (reranker, check_linear("weight", weight))
        return options


def summarize(
    choices: Sequence[Choice], before: pd.DataFrame, after: pd.DataFrame, measure: str
) -> dict[str, float]:
    """Return the metrics of a choice, see `TuneTask.run`.

    Args:
        choices: The choice, or those of all folds.
        before: Measures of each reported query by retrieval alone.
        after: The same measures at the chosen weight.
        measure: Measure that the weight was chosen by.
    """
    gains = compare_means(before, after)
    result = {
        "tune/chosen_on": float(np.mean([c.value for c in choices])),
        "tune/optimism": float(np.mean([c.gain for c in choices]) - gains["value"][measure]),
        "n_queries": len(after),
    }
    for stage, values in (("retrieval", before), ("reranked", after)):
        result |= {f"{stage}/{name}": mean for name, mean in values.mean().items()}
    for name, gain in gains.iterrows():
        result[f"delta/{name}"] = gain["value"]
        result |= {f"delta/{name}_{end}": gain[end] for end in ("low", "high", "p")}
    return result


def check_linear(name: str, weight: Weight) -> LinearWeight:
    """Check that a weight has an exact curve and return it.

    Raises:
        ValueError: If it is not linear in its value.
    """
    if not isinstance(weight, LinearWeight):
        raise ValueError(f"{name} must be a LinearWeight, got {type(weight).__name__}")
    return weight


def draw_lines(
    collection: Collection,
    retrieved: Candidates,
    reranker: Reranker,
    weight: LinearWeight,
    shared: SharedResults,
    share: str | None = None,
) -> Lines:
    """Score the candidates and normalise both sides.

    Raises:
        ValueError: If the editors' pictures are not known, or a score is not finite.
    """
    collection, retrieved = shared.get("judged", keep_judged, collection, retrieved)
    ends = draw_ends(collection, retrieved, reranker, weight, shared, share)
    return Lines(*ends, find_gold_columns(collection, retrieved, collection.qrels or {}))


def draw_choice(
    lines: TunedLines,
    choice: Choice,
    measure: str,
    cutoffs: list[int],
    output_dir: Path,
    over: str,
) -> None:
    """Write the curve of the chosen option."""
    curve = lines.draw_curve(cutoffs)
    write_curve(curve, output_dir / "curve.csv")
    weights = list_weights(choice.weight)
    own = find_cutoffs(measure)
    table = np.stack([lines.score(weight, own)[measure] for weight in weights], axis=1)
    bounds = bound_weights(weights, table, choice.weight)
    plot = CurvePlot(curve, bounds, [measure], over)
    plot.save(choice.weight, output_dir / "curve.png")
