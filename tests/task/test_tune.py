"""Choosing on some queries and reporting on others, with parts whose best weight is known."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from newsimg.data.newsimages import NewsImagesDataset
from newsimg.datatypes import Collection, Image, Query, RerankScores, SharedResults
from newsimg.evaluation.curve import find_plateau, look_up, rank_at, trace_curve
from newsimg.evaluation.rules.bagged import BaggedRule
from newsimg.evaluation.rules.widest import WidestRule
from newsimg.evaluation.tuning import Chooser, Lines, cross_validate, rate_options, split_folds
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Backbone, Components, Dataset, Reranker, Weight
from newsimg.reporting.console import console
from newsimg.reranker.ensemble import EnsembleReranker
from newsimg.task.evaluate import EvaluateTask
from newsimg.task.tune import TuneTask
from newsimg.weight.l1 import L1Weight
from newsimg.weight.rank import RankWeight
from newsimg.weight.raw import RawWeight

DIM = 16


def evaluate(components, folder, *, report=False):
    task = EvaluateTask(
        n_sheet_queries=0,
        report=report,
        save_pictures=None,
        copy_pictures=False,
        confidence_path=None,
        setting=None,
    )
    return task.run(components, folder)


def vectors(label, key):
    values = np.random.default_rng([label, key]).normal(size=DIM)
    return values / np.linalg.norm(values)


class NoisyNews(Dataset):
    """Queries whose pictures are found by noisy vectors: `val` and `test` of 80 each."""

    def __init__(self, split="val"):
        self.name, self.split = "noisy", split

    def load(self):
        numbers = {"val": range(80), "test": range(80, 160), "all": range(160)}[self.split]
        images = tuple(Image(f"i{n:03}", Path(f"{n}")) for n in numbers)
        queries = tuple(Query(f"q{n:03}", f"{n}") for n in numbers)
        qrels = {f"q{n:03}": {f"i{n:03}": 1} for n in numbers}
        return Collection("noisy", queries, images, qrels)

    def with_split(self, split):
        return NoisyNews(split)


class NoisyBackbone(Backbone):
    """Embeds picture n and headline n at one place, but for noise."""

    query_template = "{title}"
    batch_size = 80
    fingerprint = "noisy"

    def embed_texts(self, texts):
        noisy = [vectors(0, int(text)) + 2.5 * vectors(1, int(text)) for text in texts]
        return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)

    def embed_images(self, images):
        return np.stack([vectors(0, int(str(i.path))) for i in images]).astype(np.float32)


class KnowingReranker(Reranker):
    """Knows the right picture `strength` deep in noise of its own; 0 knows nothing."""

    def __init__(self, strength):
        self.strength = strength

    def score(self, queries, candidates):
        scores = np.random.default_rng(3).normal(size=candidates.rows.shape)
        for i, query in enumerate(queries):
            for j, row in enumerate(candidates.rows[i]):
                scores[i, j] += self.strength * (
                    candidates.images[row].image_id[1:] == query.query_id[1:]
                )
        return RerankScores((0.3 + 0.05 * scores).astype(np.float32))


def components(strength=1.5, split="val"):
    return Components(
        NoisyNews(split),
        NoisyBackbone(),
        FaissIndex(factory="Flat"),
        KnowingReranker(strength),
        L1Weight(value=0.2),
        10,
    )


def tune(**changes):
    arguments = {
        "measure": "hits_at_1",
        "rule": WidestRule(measure=None),
        "n_resamples": 20,
        "report_split": "test",
        "weights": None,
        "rerankers": None,
        "own_weights": {},
        "reranker": "knowing",
        "weight": "L1Weight",
        "n_folds": 5,
        "n_repeats": 3,
        "seed": 28,
    }
    return TuneTask(**(arguments | changes))


def random_lines(seed, n_queries=40, top_k=8):
    random = np.random.default_rng(seed)
    start = -np.sort(-random.random((n_queries, top_k)), axis=1)
    return Lines(start, random.random((n_queries, top_k)), random.integers(-1, top_k, n_queries))


def test_the_chosen_weight_is_the_best_of_a_fine_grid_and_the_report_is_of_the_other_split(
    tmp_path,
):
    metrics = tune().run(components(), tmp_path)
    chosen, by_weight = metrics["tune/weight"], {}
    grid = [("val", w) for w in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1)]
    for split, w in [*grid, ("val", chosen), ("test", chosen)]:
        parts = components(split=split)
        parts.weight.value = float(w)
        by_weight[split, w] = evaluate(parts, tmp_path)
    best = max(m["reranked/hits_at_1"] for (split, _), m in by_weight.items() if split == "val")
    assert by_weight["val", chosen]["reranked/hits_at_1"] == metrics["tune/chosen_on"] >= best
    reported = by_weight["test", chosen]
    for name in ("retrieval/hits_at_1", "reranked/hits_at_1", "reranked/mrr_at_10"):
        assert metrics[name] == pytest.approx(reported[name], abs=1e-12)
    for name in ("delta/hits_at_1", "delta/hits_at_1_low", "delta/hits_at_1_p"):
        assert metrics[name] == pytest.approx(reported[name], abs=1e-12)
    assert metrics["tune/optimism"] == pytest.approx(
        by_weight["val", chosen]["delta/hits_at_1"] - reported["delta/hits_at_1"]
    )
    assert metrics["delta/hits_at_1"] > 0.1
    table = pd.read_csv(tmp_path / "tune.csv")
    assert table["identity Hits@1"][0] == pytest.approx(metrics["retrieval/hits_at_1"])
    assert {"choices.csv", "curve.csv", "curve.png"} <= {p.name for p in tmp_path.iterdir()}
    statistics = pd.read_csv(tmp_path / "statistics.csv", index_col="measure")
    for name in ("retrieval/hits_at_1", "reranked/mrr_at_10", "delta/hits_at_1"):
        assert statistics["value"][name] == pytest.approx(metrics[name])
    assert statistics["p"]["delta/hits_at_1"] == pytest.approx(metrics["delta/hits_at_1_p"])


def test_the_better_of_two_rerankers_and_of_two_normalisations_is_chosen(tmp_path):
    task = tune(
        rerankers={"guessing": KnowingReranker(0.0), "knowing": KnowingReranker(2.0)},
        weights={"l1": L1Weight(value=0), "rank": RankWeight(value=0)},
    )
    with console.capture() as said:
        task.run(components(strength=0.0), tmp_path)
    printed = " ".join(said.get().split())
    assert max(map(len, said.get().splitlines())) <= 80
    option = pd.read_csv(tmp_path / "tune.csv")["option"][0]
    assert option.split()[0] == "knowing"
    # All four are listed where the choice was made, as each of them alone is, the best first.
    listed = pd.read_csv(tmp_path / "options.csv")
    assert listed["chosen_on"].is_monotonic_decreasing
    assert " ".join(listed.loc[0, ["reranker", "normalization"]]) == option
    for row in listed.itertuples():
        strength = 2.0 if row.reranker == "knowing" else 0.0
        kinds = {"l1": L1Weight, "rank": RankWeight}
        alone = {row.normalization: kinds[row.normalization](value=0)}
        own = tmp_path / f"{row.reranker} {row.normalization}"
        own.mkdir()
        found = tune(weights=alone).run(components(strength), own)
        assert (row.weight, row.chosen_on) == (found["tune/weight"], found["tune/chosen_on"])
        assert f"{row.reranker} {row.normalization} " in printed
        assert f"{row.chosen_on:.4f} {row.gain:+.4f}" in printed
    single = {
        name: tune(rerankers={"knowing": KnowingReranker(2.0)}, weights={name: weight}).run(
            components(), tmp_path
        )["tune/chosen_on"]
        for name, weight in {"l1": L1Weight(value=0), "rank": RankWeight(value=0)}.items()
    }
    assert single[option.split()[1]] == max(single.values())


def test_without_normalisations_to_choose_from_each_reranker_has_its_own(tmp_path):
    knowing = {"knowing": KnowingReranker(2.0)}
    tune(rerankers=knowing, own_weights={"knowing": RankWeight(value=1)}).run(
        components(), tmp_path
    )
    assert pd.read_csv(tmp_path / "tune.csv")["option"][0] == "knowing RankWeight"
    tune(rerankers=knowing).run(components(), tmp_path)
    assert pd.read_csv(tmp_path / "tune.csv")["option"][0] == "knowing L1Weight"


def test_cross_validation_never_scores_a_query_at_a_weight_it_helped_to_choose():
    lines, cutoffs = random_lines(1), (1, 5)
    chooser = Chooser(WidestRule(measure=None), "hits_at_1", n_resamples=20, seed=1)
    found = cross_validate({"only": lines}, chooser, cutoffs, n_folds=4, n_repeats=2, seed=7)
    expected = np.zeros(40)
    weights = np.linspace(0, 1, 20_001)
    all_hits = np.stack(
        [rank_at(lines.start, lines.end, lines.gold_columns, w) == 1 for w in weights]
    )
    i = 0
    for folds in split_folds(40, 4, 2, seed=7):
        assert sorted(np.concatenate(folds)) == list(range(40))
        for fold in folds:
            others = np.setdiff1d(np.arange(40), fold)
            choice = found.choices[i]
            # A grid fine enough to see the plateau agrees about the best value without the fold.
            assert choice.value >= all_hits[:, others].mean(axis=1).max() - 1e-12
            ranks = rank_at(lines.start, lines.end, lines.gold_columns, choice.weight)
            assert (ranks[others] == 1).mean() == pytest.approx(choice.value)
            expected[fold] += (ranks[fold] == 1) / 2
            i += 1
    np.testing.assert_allclose(found.reported["hits_at_1"], expected)


def test_a_reranker_that_knows_nothing_shows_optimism_and_no_gain(tmp_path):
    metrics = tune(report_split=None).run(components(strength=0.0), tmp_path)
    assert metrics["tune/optimism"] > 0
    assert metrics["delta/hits_at_1_low"] <= 0
    assert metrics["n_queries"] == 80
    assert len(pd.read_csv(tmp_path / "choices.csv")) == 15


def test_equal_options_are_told_apart_by_the_wider_plateau():
    start, end = np.array([[0.75, 0.5]]), np.array([[0.0, 0.75]])
    late = Lines(start, end, np.array([1]))  # first above 0.25
    later = Lines(start, np.array([[0.5, 0.75]]), np.array([1]))  # first above 0.5
    chooser = Chooser(WidestRule(measure=None), "hits_at_1", n_resamples=2, seed=1)
    rated = rate_options({"later": later, "late": late}, chooser)
    assert [choice.option for choice in rated] == ["late", "later"]


def test_the_interval_is_never_narrower_than_the_spread_of_the_choices_on_resamples():
    lines = random_lines(2, n_queries=60)
    for rule in (WidestRule(measure=None), BaggedRule(measure="mrr_at_5")):
        chooser = Chooser(rule, "hits_at_1", n_resamples=40, seed=3)
        choice = rate_options({"only": lines}, chooser)[0]
        random = np.random.default_rng(3)
        peaks = []
        for _ in range(40):  # the same resamples, each traced anew
            drawn = lines.take(np.sort(random.integers(60, size=60)))
            curve = trace_curve(drawn.start, drawn.end, drawn.gold_columns, [1, 5])
            peaks.append(find_plateau(curve, rule.measure or "hits_at_1").midpoint)
        low, high = np.quantile(peaks, (0.25, 0.75))
        assert choice.high - choice.low >= high - low - 1e-9 > 0.001
        assert 0 <= choice.low <= choice.weight <= choice.high <= 1
        hits = rank_at(lines.start, lines.end, lines.gold_columns, choice.weight) == 1
        assert choice.value == pytest.approx(hits.mean())
    assert choice.weight == pytest.approx(np.mean(peaks), abs=1e-9)


def test_a_rule_that_reads_mrr_reports_hits_at_its_weight(tmp_path):
    metrics = tune(rule=BaggedRule(measure="mrr_at_10"), n_resamples=50).run(components(), tmp_path)
    own = components()
    own.weight.value = metrics["tune/weight"]
    found = evaluate(own, tmp_path)
    assert metrics["tune/chosen_on"] == pytest.approx(found["reranked/hits_at_1"])
    assert metrics["tune/weight_low"] < metrics["tune/weight"] < metrics["tune/weight_high"]


@pytest.mark.parametrize("split", ["val", "all"])
def test_splits_that_share_queries_are_refused(split, tmp_path):
    with pytest.raises(ValueError, match=r"must not share queries, got 80.*'q000'"):
        tune(report_split=split).run(components(), tmp_path)


class Loudest(Weight):
    value = 0.5

    def combine(self, retrieval, rerank):
        return np.maximum(retrieval, rerank).astype(np.float64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_folds": 1}, "task.n_folds must be at least 2, got 1"),
        ({"n_resamples": 1}, "task.n_resamples must be at least 2, got 1"),
        ({"n_repeats": 0}, "task.n_repeats must be at least 1, got 0"),
        ({"weights": {}}, "task.weights must name at least one"),
        ({"weights": {"loud": Loudest()}}, "task.weights.loud must be a LinearWeight, got Loudest"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tune(**changes)


def test_an_unknown_measure_and_too_many_folds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"measure must be one of hits_at_1.*got 'ndcg'"):
        tune(measure="ndcg").run(components(), tmp_path)
    with pytest.raises(ValueError, match=r"task.n_folds must be in \[2, 80\], got 81"):
        tune(report_split=None, n_folds=81).run(components(), tmp_path)


def test_another_split_of_a_data_set_keeps_all_else_and_leaves_the_first_alone(tmp_path):
    image_dir = tmp_path / "pictures"
    image_dir.mkdir()
    rows = []
    for n in range(20):
        (image_dir / f"{n}.jpg").touch()
        rows.append(f"a{n},u,Headline {n},x|y,{n},u")
    csv_path = tmp_path / "articles.csv"
    csv_path.write_text("\n".join(rows), encoding="utf-8")
    val = NewsImagesDataset(
        name="news",
        csv_path=str(csv_path),
        image_dir=str(image_dir),
        split="val",
        subset=None,
        seed=1,
        pool="split",
    )
    test = val.with_split("test")
    assert [len(split.load().queries) for split in (val, test)] == [2, 2]
    assert not {q.query_id for q in val.load().queries} & {q.query_id for q in test.load().queries}
    with pytest.raises(ValueError, match=r"data.split must be one of .*, got 'dev'"):
        val.with_split("dev")
    val.source = dataclasses.replace(val.source, subset=csv_path)
    other = val.with_split("test")
    assert other.load().queries == test.load().queries


def test_evaluate_writes_the_curve_its_plateau_and_the_intervals(tmp_path):
    parts = components()
    metrics = evaluate(parts, tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    own = curve[(curve["w_lo"] <= 0.2) & (curve["w_hi"] >= 0.2)].iloc[0]
    for name in ("hits_at_1", "mrr_at_1", "hits_at_5", "mrr_at_10"):
        assert own[name] == pytest.approx(metrics[f"reranked/{name}"], abs=1e-9)
    assert metrics["curve/best_hits_at_1"] == pytest.approx(curve["hits_at_1"].max())
    assert metrics["curve/plateau_low"] <= metrics["curve/best_weight"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(tmp_path / "statistics.csv", index_col="measure")
    for name in ("retrieval/hits_at_1", "reranked/mrr_at_10", "delta/hits_at_1"):
        assert table["value"][name] == pytest.approx(metrics[name])
        assert table["low"][name] <= metrics[name] <= table["high"][name]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (lambda found: np.zeros_like(found), "decides nothing"),
        (lambda found: 2 * found, "as retrieval does"),
        (lambda found: found - 1e-7 * np.arange(found.shape[1])[::-1] ** 9, None),
    ],
)
def test_a_reranker_without_a_say_is_warned_of(scores, expected, tmp_path, caplog):
    class Telling(Reranker):
        def score(self, queries, candidates):
            found = scores(candidates.parts["retrieval"]).astype(np.float32)
            return RerankScores(found)

    parts = components()
    parts = dataclasses.replace(parts, reranker=Telling(), weight=RawWeight(value=0.5))
    evaluate(parts, tmp_path)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [expected in text for text in warnings] == [True] if expected else not warnings


def test_the_members_of_an_ensemble_are_asked_once_for_its_scores_curves_and_page(tmp_path):
    n_asked = Counter()

    class Counting(KnowingReranker):
        def score(self, queries, candidates):
            n_asked[self.strength] += 1
            return super().score(queries, candidates)

    members = {
        name: {"reranker": Counting(strength), "weight": 0.5, "normalization": L1Weight(value=0)}
        for name, strength in (("weak", 0.5), ("strong", 3))
    }
    parts = dataclasses.replace(components(), reranker=EnsembleReranker(members=members))
    metrics = evaluate(parts, tmp_path, report=True)
    assert n_asked == {0.5: 1, 3: 1}
    for name in members:
        curve = pd.read_csv(tmp_path / f"curve_{name}.csv")
        assert metrics[f"curve/{name}/best_hits_at_1"] == pytest.approx(curve["hits_at_1"].max())
    # At equal shares the members' curves are where the run is.
    for name in members:
        here = look_up(pd.read_csv(tmp_path / f"curve_{name}.csv"), 0.5)
        assert here["hits_at_1"] == pytest.approx(metrics["reranked/hits_at_1"])


def test_jobs_that_differ_in_weight_alone_ask_no_model_again_and_write_the_same_curve(tmp_path):
    n_asked = Counter()

    class Counting(KnowingReranker):
        def score(self, queries, candidates):
            n_asked["scores"] += 1
            return super().score(queries, candidates)

    class CountingNews(NoisyNews):
        def load(self):
            n_asked["data"] += 1
            return super().load()

    first = dataclasses.replace(components(), dataset=CountingNews(), reranker=Counting(1.5))
    task, curves = (
        EvaluateTask(
            n_sheet_queries=0,
            report=False,
            save_pictures=None,
            copy_pictures=False,
            confidence_path=None,
            setting=None,
        ),
        [],
    )
    for value in (0.2, 0.7):
        metrics = task.run(dataclasses.replace(first, weight=L1Weight(value=value)), tmp_path)
        curves.append((tmp_path / "curve.csv").read_bytes())
    assert n_asked == {"scores": 1, "data": 1}
    alone = dataclasses.replace(first, weight=L1Weight(value=0.7), shared=SharedResults())
    assert task.run(alone, tmp_path) == metrics
    assert n_asked == {"scores": 2, "data": 2}
    assert curves == [(tmp_path / "curve.csv").read_bytes()] * 2


def test_a_weight_that_changes_next_to_nothing_is_warned_of(tmp_path, caplog):
    parts = components()
    parts.weight.value = 0.001
    evaluate(parts, tmp_path)
    assert "the first image changes for" in caplog.text
    caplog.clear()
    parts.weight.value = 0.0
    evaluate(parts, tmp_path)
    assert "the first image changes for" not in caplog.text


def test_where_there_is_no_curve_evaluate_says_why_and_does_the_rest(tmp_path, caplog):
    caplog.set_level("INFO")
    parts = dataclasses.replace(components(), weight=Loudest())
    metrics = evaluate(parts, tmp_path)
    assert "no curve: Loudest is not linear in its value" in caplog.text

    class TwoEach(NoisyNews):
        def load(self):
            found = super().load()
            qrels = {
                query_id: relevant | {found.images[i - 1].image_id: 1}
                for i, (query_id, relevant) in enumerate(found.qrels.items())
            }
            return dataclasses.replace(found, qrels=qrels)

    parts = dataclasses.replace(components(), dataset=TwoEach())
    metrics |= evaluate(parts, tmp_path)
    assert "no curve: some queries have several editors' pictures" in caplog.text
    assert not any(name.startswith("curve/") for name in metrics)
    assert not (tmp_path / "curve.csv").exists()
    with pytest.raises(ValueError, match="needs one editor's picture per query, got 2 for 'q000'"):
        tune(report_split=None).run(parts, tmp_path)
