"""The measures against a count in plain Python, and against pytrec_eval over the written files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from newsimg.datatypes import Candidates, Image, Qrels, Query
from newsimg.evaluation.metrics import CUTOFFS, measure_run, to_run, write_qrels, write_run

IMAGES = tuple(Image(str(100 + i), Path(f"{100 + i}.jpg")) for i in range(30))


def make_candidates(scores: np.ndarray, seed: int = 0) -> Candidates:
    """Candidates in an order of their own: rows are no help to whoever sorts by image id."""
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(len(IMAGES))[: scores.shape[1]] for _ in scores])
    return Candidates(IMAGES, rows, scores, {"retrieval": scores})


def make_queries(n_queries: int) -> tuple[Query, ...]:
    return tuple(Query(f"q{i}", f"headline {i}") for i in range(n_queries))


def make_qrels(queries: tuple[Query, ...], seed: int = 1) -> Qrels:
    random = np.random.default_rng(seed)
    return {query.query_id: {IMAGES[random.integers(len(IMAGES))].image_id: 1} for query in queries}


def count_by_hand(
    queries: tuple[Query, ...], candidates: Candidates, qrels: Qrels, top_k: int
) -> pd.DataFrame:
    """Look for the editor's picture in the candidates as they are ordered; no scores involved."""
    table: dict[str, dict[str, float]] = {}
    for query, rows in zip(queries, candidates.rows, strict=True):
        shown = [candidates.images[row].image_id for row in rows]
        (wanted,) = qrels[query.query_id]
        rank = shown.index(wanted) + 1 if wanted in shown else None
        table[query.query_id] = {}
        for k in (1, 5, 10, 25, 50, 100):
            if k <= top_k:
                found = rank is not None and rank <= k
                table[query.query_id][f"hits_at_{k}"] = 1.0 if found else 0.0
                table[query.query_id][f"mrr_at_{k}"] = 1.0 / rank if found and rank else 0.0
                table[query.query_id][f"precision_at_{k}"] = found / k
    return pd.DataFrame.from_dict(table, orient="index")


def read_trec_run(path: Path) -> dict[str, list[str]]:
    """Sort a run file as trec_eval does: by score in single precision, then id, both descending."""
    rows: dict[str, list[tuple[np.float32, str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query_id, q0, image_id, _, score, _ = line.split(" ")
        assert q0 == "Q0"
        rows.setdefault(query_id, []).append((np.float32(score), image_id))
    return {name: [image_id for _, image_id in sorted(row)[::-1]] for name, row in rows.items()}


SCORES = {
    "distinct": -np.sort(-np.random.default_rng(2).normal(size=(40, 25)), axis=1),
    "all equal": np.full((40, 25), 0.25),
    "all zero": np.zeros((40, 25)),
    "ties in groups": np.repeat([[3.0, 2.0, 2.0, 1.0, -1.0]], 40, axis=0).repeat(5, axis=1),
    # Distinct in float64, equal in the float32 of TREC tools.
    "closer than float32": 0.5 - np.arange(25) * 1e-12 * np.ones((40, 1)),
    "negative": -1.0 - np.arange(25) * np.ones((40, 1)),
    "huge": 1e30 - np.arange(25) * 1e13 * np.ones((40, 1)),
}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_measures_are_those_of_the_candidates_order_whatever_the_scores(scores: np.ndarray) -> None:
    queries, candidates = make_queries(40), make_candidates(scores)
    qrels = make_qrels(queries)
    measured = measure_run(to_run(queries, candidates), qrels, top_k=25)
    expected = count_by_hand(queries, candidates, qrels, top_k=25)
    pd.testing.assert_frame_equal(measured[expected.columns], expected, check_names=False)
    assert set(measured.columns) == set(expected.columns)


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_written_files_give_another_tool_the_same_order_and_numbers(
    scores: np.ndarray, tmp_path: Path
) -> None:
    queries, candidates = make_queries(40), make_candidates(scores)
    qrels = make_qrels(queries)
    run = to_run(queries, candidates)
    write_run(run, tmp_path / "a.run", "a")
    write_qrels(qrels, tmp_path / "qrels.txt")

    shown = [[IMAGES[row].image_id for row in rows] for rows in candidates.rows]
    assert list(read_trec_run(tmp_path / "a.run").values()) == shown
    with (tmp_path / "a.run").open() as run_file, (tmp_path / "qrels.txt").open() as qrels_file:
        judged, ranked = pytrec_eval.parse_qrel(qrels_file), pytrec_eval.parse_run(run_file)
    measures = {"success_1,5,10", "P_1,5,10", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(ranked)
    ours = measure_run(run, qrels, top_k=25)
    for query_id, values in theirs.items():
        for k in (1, 5, 10):
            assert ours.loc[query_id, f"hits_at_{k}"] == values[f"success_{k}"]
            assert ours.loc[query_id, f"precision_at_{k}"] == values[f"P_{k}"]
        assert ours.loc[query_id, "mrr_at_25"] == pytest.approx(values["recip_rank"])


@given(data=st.data(), width=st.integers(1, 12))
def test_scores_of_a_run_descend_strictly_in_single_precision(
    data: st.DataObject, width: int
) -> None:
    numbers = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1e-45, 1e-12]), st.floats(-1e6, 1e6))
    scores = np.array([sorted(data.draw(st.lists(numbers, min_size=width, max_size=width)))[::-1]])
    candidates = make_candidates(scores)
    (row,) = to_run(make_queries(1), candidates).values()
    assert list(row) == [IMAGES[i].image_id for i in candidates.rows[0]]
    single = np.float32(list(row.values()))
    assert (np.diff(single) < 0).all()
    assert (single <= scores[0].astype(np.float32)).all()


def test_a_query_that_the_run_lacks_counts_0_and_stays_in_the_mean() -> None:
    qrels = {"q0": {"100": 1}, "q1": {"100": 1}, "q2": {"100": 1}}
    measured = measure_run({"q1": {"100": 0.9, "101": 0.8}}, qrels, top_k=5)
    assert measured["hits_at_1"].to_dict() == {"q0": 0.0, "q1": 1.0, "q2": 0.0}
    assert measured["mrr_at_5"].mean() == pytest.approx(1 / 3)


def test_a_picture_that_was_not_retrieved_counts_0() -> None:
    measured = measure_run({"q": {"101": 0.9, "102": 0.8}}, {"q": {"100": 1}}, top_k=5)
    assert (measured.loc["q"] == 0).all()


@pytest.mark.parametrize("top_k", [1, 4, 5, 24, 25, 100, 1000])
def test_cutoffs_end_at_top_k(top_k: int) -> None:
    measured = measure_run({"q": {"100": 0.9}}, {"q": {"100": 1}}, top_k)
    cutoffs = {int(name.rpartition("_")[2]) for name in measured}
    assert cutoffs == {k for k in (1, 5, 10, 25, 50, 100) if k <= top_k}
    assert CUTOFFS == (1, 5, 10, 25, 50, 100)


def test_run_and_qrels_files_have_trecs_columns(tmp_path: Path) -> None:
    write_run({"q": {"7": 0.5, "8": -2.0}, "ä": {"9": 1.0}}, tmp_path / "run", "tag")
    write_qrels({"q": {"9": 1}, "ä": {"7": 1}}, tmp_path / "qrels")
    run = "q Q0 7 1 0.5 tag\nq Q0 8 2 -2 tag\nä Q0 9 1 1 tag\n"
    assert (tmp_path / "run").read_text(encoding="utf-8") == run
    assert (tmp_path / "qrels").read_text(encoding="utf-8") == "q 0 9 1\nä 0 7 1\n"
