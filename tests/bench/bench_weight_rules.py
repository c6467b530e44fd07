"""How well the rules of task=tune choose a weight: held-out gain over random splits of train.

    python tests/bench/bench_weight_rules.py [splits] [chosen] [reranker ...] [data=train]

Each rule chooses a weight on `chosen` of the sample newsroom's 3,200 training headlines (half of
them by default) by the exact curve, and the gain in Hits@1 is measured on the others, by their
exact curve. Models run once for each reranker; the language and the vision-language model take
minutes the first time, everything after that is computed from curves. With data=val,test the 800
headlines of these splits are used, each searched in its own 400 pictures: the vision-language model
then rates 20,000 candidates instead of 80,000.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

import newsimg.run  # noqa: F401 (registers resolvers)
from newsimg.evaluation.query_curve import QueryCurve, trace_queries
from newsimg.evaluation.rules.smoothed import SmoothedRule
from newsimg.interfaces import WeightRule
from newsimg.launch.builder import get_builder
from newsimg.launch.compose import compose_config
from newsimg.pipeline import retrieve, score_candidates
from newsimg.reporting.console import console, print_table
from newsimg.reporting.evaluation import find_gold_columns
from newsimg.storage.files import CONF_DIR

RERANKERS = ("aesthetics", "llm_rewriting", "vlm_judge", "hubness", "nnn", "ensemble")
NORMALIZATIONS = ("none", "l1", "minmax", "zscore", "rank", "rrf")
# Corrections are measured by headlines of val: those of train would be among their own bank.
BANKS = {
    "hubness": ["reranker.bank_split=val"],
    "nnn": ["reranker.bank_split=val"],
    "ensemble": ["reranker.members.hubness.reranker.bank_split=val"],
}
N_RESAMPLES = 25
MEASURE = "hits_at_1"
build = get_builder(("newsimg",), None).build


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one reranker on train."""

    retrieval: np.ndarray
    rerank: np.ndarray
    gold_columns: np.ndarray


def score(reranker: str, data: str) -> Scores:
    """Run the models on one split or several."""
    parts = [score_split(reranker, split) for split in data.split(",")]
    sides = ("retrieval", "rerank", "gold_columns")
    return Scores(*(np.concatenate([getattr(part, side) for part in parts]) for side in sides))


def score_split(reranker: str, split: str) -> Scores:
    """Run the models on one split."""
    banks = BANKS.get(reranker, []) if split == "train" else []
    config = compose_config([f"data.split={split}", f"reranker={reranker}", *banks])
    collection = build(config["data"]).load()
    found = retrieve(collection, build(config["backbone"]), build(config["index"]), config["top_k"])
    scores = score_candidates(collection, found, build(config["reranker"]))
    gold_columns = find_gold_columns(collection, found, collection.qrels or {})
    return Scores(found.parts["retrieval"], scores.values, gold_columns)


def list_rules() -> dict[str, WeightRule]:
    """Return the shipped rules, and the smoothed one with fixed windows."""
    names = sorted(path.stem for path in (CONF_DIR / "rule").glob("*.yaml"))
    rules = {name: build(compose_config([f"rule={name}"])["rule"]) for name in names}
    return rules | {
        f"smoothed width={width}": SmoothedRule(measure=None, width=width) for width in (0.05, 0.1)
    }


def split_and_choose(
    curves: dict[str, QueryCurve], rules: dict[str, WeightRule], n_splits: int, n_chosen: int
) -> pd.DataFrame:
    """Return the weight and the held-out gain of each rule in each split."""
    random, hits = np.random.default_rng(28), curves[MEASURE]
    n_queries, rows = len(hits.initial), []
    for split in range(n_splits):
        order = random.permutation(n_queries)
        chosen, others = np.sort(order[:n_chosen]), np.sort(order[n_chosen:])
        unseen = hits.take(others).average()
        samples = {
            name: curve.take(chosen).sample(N_RESAMPLES, split) for name, curve in curves.items()
        }
        for name, rule in rules.items():
            one = samples[rule.measure or MEASURE]
            _, weight, _ = rule.choose(one.bounds, one.values, one.errors, one.peaks)
            gain = unseen[hits.find_interval(weight)] - unseen[0]
            rows.append({"rule": name, "weight": weight, "gain": 100 * gain})
    return pd.DataFrame(rows)


def main(n_splits: int, n_chosen: int, rerankers: tuple[str, ...], data: str) -> None:
    """Print the mean held-out gain of each rule, in percentage points."""
    rules, tables, start = list_rules(), [], time.perf_counter()
    for reranker in rerankers:
        scores = score(reranker, data)
        for normalization in NORMALIZATIONS:
            weight = build(compose_config([f"weight={normalization}"])["weight"])
            sides = weight.normalize(scores.retrieval), weight.normalize(scores.rerank)
            curves = {
                name: trace_queries(*sides, scores.gold_columns, name)
                for name in {rule.measure or MEASURE for rule in rules.values()}
            }
            table = split_and_choose(curves, rules, n_splits, n_chosen)
            tables.append(table.assign(reranker=reranker, normalization=normalization))
    found = pd.concat(tables)
    print_table(summarize(found), f"{n_splits} splits of {data}, chosen on {n_chosen} headlines")
    console.print(
        "gain: mean held-out gain in Hits@1, percentage points, over rerankers and normalisations; "
        "spread: standard deviation over the splits; loss: share of choices worse than retrieval; "
        f"weight: spread of the weight. {time.perf_counter() - start:.0f} s"
    )


def summarize(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row per rule, best first."""
    options = found.groupby(["rule", "reranker", "normalization"])
    spreads = options[["gain", "weight"]].std().groupby("rule").mean()
    table = pd.DataFrame(
        {
            "gain": found.groupby("rule")["gain"].mean(),
            "spread": spreads["gain"],
            "loss": found.assign(loss=found["gain"] < 0).groupby("rule")["loss"].mean(),
            "weight": spreads["weight"],
        }
    )
    by_reranker = found.pivot_table(index="rule", columns="reranker", values="gain")
    return table.join(by_reranker).sort_values("gain", ascending=False).reset_index()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    numbers = [int(text) for text in arguments if text.isdigit()]
    data = next((text[5:] for text in arguments if text.startswith("data=")), "train")
    named = tuple(text for text in arguments if not text.isdigit() and "=" not in text)
    n_splits, n_chosen = [*numbers, *(500, 1600)[len(numbers) :]]
    main(n_splits, n_chosen, named or RERANKERS, data)
