"""Choose the weight on one split, report what it is worth on another."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from newsimg.datatypes import Candidates, Collection
from newsimg.evaluation.comparison import keep_judged
from newsimg.evaluation.curve import score_ranks, trace_curve
from newsimg.evaluation.ground_truth import describe_coverage, match_ground_truth, measure_coverage
from newsimg.evaluation.metrics import CUTOFFS
from newsimg.evaluation.stats import Gain, compare_means, describe_gain
from newsimg.evaluation.tuning import Choice, Lines, choose_weight, cross_validate
from newsimg.interfaces import Components, Reranker, Task, Weight
from newsimg.pipeline import load_and_retrieve, retrieve_readable, score_candidates
from newsimg.reporting.console import console, print_table, show_weight, show_weights
from newsimg.reporting.evaluation import find_gold_columns, write_curve
from newsimg.reporting.plots import CurvePlot, name_measure
from newsimg.weight.base import LinearWeight, check_scores


class TuneTask(Task):
    """Chooses the weight, and if asked the normalisation and the reranker, where it may.

    Writes `tune.csv` with the result, `choices.csv` with the choice (one per fold in
    cross-validation), and `curve.csv` and `curve.png` of the queries that it was chosen on.

    Args:
        measure: What to make as large as possible, e.g. "hits_at_1" or "mrr_at_10".
        report_split: Split to report on; the choice is made on the data's own. None for
            cross-validation within the data's own, whose queries are all reported on, each at
            weights that were chosen without it.
        weights: Name -> weight component to choose from; their values are not used. None for each
            reranker's own.
        rerankers: Name -> reranker to choose from. None for the run's own.
        own_weights: Name of a reranker -> the weight that it brings along.
        n_folds: Parts that cross-validation divides the queries into.
        n_repeats: How often it does.
        seed: Of these divisions.

    Raises:
        ValueError: If a number is out of range, a choice is empty, or a weight is not linear.
    """

    def __init__(
        self,
        *,
        measure: str,
        report_split: str | None,
        weights: Mapping[str, Weight] | None,
        rerankers: Mapping[str, Reranker] | None,
        own_weights: Mapping[str, Weight],
        n_folds: int,
        n_repeats: int,
        seed: int,
    ) -> None:
        if n_folds < 2:
            raise ValueError(f"task.n_folds must be at least 2, got {n_folds}")
        if n_repeats < 1:
            raise ValueError(f"task.n_repeats must be at least 1, got {n_repeats}")
        for name, choices in (("weights", weights), ("rerankers", rerankers)):
            if choices is not None and not choices:
                raise ValueError(f"task.{name} must name at least one component or be null")
        for name, weight in (weights or {}).items():
            check_linear(f"task.weights.{name}", weight)
        self.measure = measure
        self.report_split = report_split
        self.weights = weights
        self.rerankers = rerankers
        self.own_weights = own_weights
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.seed = seed

    def run(self, components: Components, output_dir: Path) -> dict[str, float]:
        """See `Task.run`.

        Returns:
            Of the queries reported on, in `EvaluateTask`'s names: `retrieval/hits_at_1`,
            `reranked/hits_at_1`, `delta/hits_at_1` with `_low`, `_high` and `_p`, and so on. Of the
            choice: `tune/weight`, `tune/plateau_low`, `tune/plateau_high`, `tune/chosen_on` (the
            measure where it was chosen) and `tune/optimism` (the gain over retrieval where it was
            chosen, minus the one reported: an easier split does not pass for a better weight).
            `n_judged` and `ground_truth_share`, as `EvaluateTask` has them.

        Raises:
            ValueError: If editors' pictures are not known, one query is in both splits, or the
                measure is unknown.
        """
        stages = (components.backbone, components.index, components.top_k)
        report = None
        if self.report_split is not None:
            report = components.dataset.with_split(self.report_split).load()
            check_disjoint(components.dataset.load(), report)  # before any model is asked
        collection, retrieved = load_and_retrieve(components.dataset, *stages)
        reported = retrieved
        if report is not None:
            report, reported = retrieve_readable(report, *stages)
        collection = match_ground_truth(collection, retrieved)
        coverage = measure_coverage(collection, retrieved.images)
        if report is not None:
            report = match_ground_truth(report, reported)
            coverage = measure_coverage(report, reported.images)
        top_k = min(retrieved.rows.shape[1], reported.rows.shape[1])
        cutoffs = [k for k in CUTOFFS if k <= top_k]

        options = self._list_options(components)
        lines = {name: draw_lines(collection, retrieved, *pair) for name, pair in options.items()}
        choice = choose_weight(lines, self.measure, cutoffs)
        if report is None:
            folds = cross_validate(
                lines,
                self.measure,
                cutoffs,
                n_folds=self.n_folds,
                n_repeats=self.n_repeats,
                seed=self.seed,
            )
            choices, after = folds.choices, folds.reported
            gold_columns = lines[choice.option].gold_columns
        else:
            choices = [choice]
            unseen = draw_lines(report, reported, *options[choice.option])
            after, gold_columns = (
                unseen.score(choice.plateau.midpoint, cutoffs),
                unseen.gold_columns,
            )
        before = score_ranks(gold_columns + 1, cutoffs)

        list_choices(choices).to_csv(output_dir / "choices.csv", index=False)
        draw_choice(lines[choice.option], choice, self.measure, cutoffs, output_dir)
        gains = compare_means(before, after)
        result = {
            "tune/weight": choice.plateau.midpoint,
            "tune/plateau_low": choice.plateau.low,
            "tune/plateau_high": choice.plateau.high,
            "tune/chosen_on": float(np.mean([c.plateau.value for c in choices])),
            "tune/optimism": float(
                np.mean([c.gain for c in choices]) - gains["value"][self.measure]
            ),
            "n_queries": len(after),
        }
        result |= {f"data/n_{kind}": n for kind, n in collection.skipped.items()}
        result |= coverage
        for stage, values in (("retrieval", before), ("reranked", after)):
            result |= {f"{stage}/{name}": mean for name, mean in values.mean().items()}
        for name, gain in gains.iterrows():
            result[f"delta/{name}"] = gain["value"]
            result |= {f"delta/{name}_{end}": gain[end] for end in ("low", "high", "p")}
        self._print(result, choice, choices, output_dir)
        return result

    def _list_options(self, components: Components) -> dict[str, tuple[Reranker, LinearWeight]]:
        rerankers = self.rerankers or {type(components.reranker).__name__: components.reranker}
        options = {}
        for r, reranker in rerankers.items():
            own = self.own_weights.get(r, components.weight)
            for w, weight in (self.weights or {type(own).__name__: own}).items():
                options[f"{r} {w}"] = (reranker, check_linear("weight", weight))
        return options

    def _print(
        self, result: Mapping[str, float], choice: Choice, choices: list[Choice], output_dir: Path
    ) -> None:
        name, delta = self.measure, f"delta/{self.measure}"
        measure = name_measure(name)
        table = pd.DataFrame(
            {
                "option": [choice.option],
                f"identity {measure}": [result[f"retrieval/{name}"]],
                "chosen weight": [result["tune/weight"]],
                f"its {measure}": [result[f"reranked/{name}"]],
                "difference": [result[delta]],
                "95 % low": [result[f"{delta}_low"]],
                "95 % high": [result[f"{delta}_high"]],
                "p": [result[f"{delta}_p"]],
                "optimism": [result["tune/optimism"]],
            }
        )
        table.to_csv(output_dir / "tune.csv", index=False)
        where = self.report_split or f"{self.n_repeats} x {self.n_folds} folds"
        ends = choice.plateau.low, choice.plateau.high
        chosen = show_weight(choice.plateau.midpoint, *ends)
        print_table(table.assign(**{"chosen weight": chosen}), f"reported on {where}")
        gain = Gain(*(float(result[f"{delta}{end}"]) for end in ("", "_low", "_high", "_p")))
        console.print(describe_gain(measure, gain))
        midpoints = [c.plateau.midpoint for c in choices]
        spread = f"; over the folds {min(midpoints):.4f} to {max(midpoints):.4f}"
        low, high = show_weights(*ends)
        console.print(
            f"any weight from {low} to {high} is best where it was "
            f"chosen{spread if len(choices) > 1 else ''}"
        )
        if told := describe_coverage(result):
            console.print(told)


def check_linear(name: str, weight: Weight) -> LinearWeight:
    """Return `weight`, or refuse one whose curve is not known.

    Raises:
        ValueError: If it is not linear in its value.
    """
    if not isinstance(weight, LinearWeight):
        raise ValueError(f"{name} must be a LinearWeight, got {type(weight).__name__}")
    return weight


def check_disjoint(chosen: Collection, reported: Collection) -> None:
    """Refuse to report on queries that the weight is chosen on.

    Raises:
        ValueError: If the splits share queries, or the editors' pictures are not known.
    """
    shared = {query.query_id for query in chosen.queries} & {
        query.query_id for query in reported.queries
    }
    if shared:
        raise ValueError(
            f"task.report_split and data.split must not share queries, got {len(shared)} that are "
            f"in both, {min(shared)!r} among them; task.report_split=null cross-validates instead"
        )


def draw_lines(
    collection: Collection, retrieved: Candidates, reranker: Reranker, weight: LinearWeight
) -> Lines:
    """Score the candidates and normalise both sides.

    Raises:
        ValueError: If the editors' pictures are not known, or a score is not finite.
    """
    collection, retrieved = keep_judged(collection, retrieved)
    scores = score_candidates(collection, retrieved, reranker)
    check_scores(retrieved.parts["retrieval"], scores)
    return Lines(
        weight.normalize(retrieved.parts["retrieval"]),
        weight.normalize(scores),
        find_gold_columns(collection, retrieved, collection.qrels or {}),
    )


def list_choices(choices: list[Choice]) -> pd.DataFrame:
    """Return a row per choice: option, weight, plateau and value there."""
    return pd.DataFrame(
        [
            {
                "option": choice.option,
                "weight": choice.plateau.midpoint,
                "plateau_low": choice.plateau.low,
                "plateau_high": choice.plateau.high,
                "identity": choice.identity,
                "chosen_on": choice.plateau.value,
            }
            for choice in choices
        ]
    )


def draw_choice(
    lines: Lines, choice: Choice, measure: str, cutoffs: list[int], output_dir: Path
) -> None:
    """Write the curve that the choice was made by."""
    curve = trace_curve(lines.start, lines.end, lines.gold_columns, cutoffs)
    write_curve(curve, output_dir / "curve.csv")
    plot = CurvePlot(curve, choice.plateau, [measure])
    plot.save(choice.plateau.midpoint, output_dir / "curve.png")
