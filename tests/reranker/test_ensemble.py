from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Candidates, Image, Query, RerankScores
from newsimg.interfaces import Reranker
from newsimg.reranker.ensemble import EnsembleReranker
from newsimg.weight.l1 import L1Weight
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.rank import RankWeight
from newsimg.weight.raw import RawWeight
from newsimg.weight.rrf import RRFWeight
from newsimg.weight.zscore import ZScoreWeight

WEIGHTS = (L1Weight, MinMaxWeight, RankWeight, RawWeight, RRFWeight, ZScoreWeight)


class TableReranker(Reranker):
    """Repeats a table of scores, and counts what it is told to have counted."""

    def __init__(self, scores, counted=None, captions=()):
        self.scores = np.asarray(scores, dtype=np.float32)
        self.counted = counted or {}
        self.said = captions
        self.n_calls = 0

    def score(self, queries, candidates):
        self.n_calls += 1
        best = np.argsort(self.scores, axis=1) if self.said else None
        halves = {"half": self.scores / 2}
        return RerankScores(self.scores, halves, self.said, self.counted, best_captions=best)


@pytest.fixture
def candidates():
    images = tuple(Image(str(i), Path(f"{i}.png")) for i in range(9))
    rng = np.random.default_rng(5)
    scores = -np.sort(-rng.random((3, 4)).astype(np.float32), axis=1)
    rows = np.array([[0, 1, 2, 3], [4, 3, 2, 8], [7, 6, 5, 4]])
    return Candidates(images, rows, scores, {"retrieval": scores})


QUERIES = tuple(Query(f"q{i}", f"title {i}") for i in range(3))
FIRST = np.random.default_rng(1).normal(size=(3, 4))
SECOND = 100 * np.random.default_rng(2).random((3, 4))


def member(reranker, weight=0.5, normalization=None):
    normalization = normalization or MinMaxWeight(value=1)
    return {"reranker": reranker, "weight": weight, "normalization": normalization}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("normalization", WEIGHTS)
def test_an_ensemble_of_one_fuses_exactly_as_its_member_alone(candidates, weight, normalization):
    alone = TableReranker(SECOND)
    ensemble = EnsembleReranker(members={"only": member(alone, 0.1, normalization(value=0.1))})
    retrieval = candidates.parts["retrieval"]
    np.testing.assert_array_equal(
        weight(value=0.3).combine(retrieval, ensemble.score(QUERIES, candidates).values),
        weight(value=0.3).combine(retrieval, alone.score(QUERIES, candidates).values),
    )


def test_scores_are_the_mean_of_the_normalised_members_by_share(candidates):
    ensemble = EnsembleReranker(
        members={
            "a": member(TableReranker(FIRST), 0.3, ZScoreWeight(value=0.3)),
            "b": member(TableReranker(SECOND), 0.1, MinMaxWeight(value=0.1)),
        }
    )
    standard = (FIRST - FIRST.mean(1, keepdims=True)) / FIRST.std(1, keepdims=True)
    low, high = SECOND.min(1, keepdims=True), SECOND.max(1, keepdims=True)
    expected = 0.75 * standard + 0.25 * (SECOND - low) / (high - low)
    got = ensemble.score(QUERIES, candidates).values
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_member_that_is_null_or_has_no_share_is_not_asked(candidates):
    asked, idle = TableReranker(FIRST), TableReranker(SECOND)
    ensemble = EnsembleReranker(members={"a": member(asked), "b": member(idle, 0), "c": None})
    np.testing.assert_array_equal(ensemble.score(QUERIES, candidates).values, asked.scores)
    assert idle.n_calls == 0


def test_what_members_count_is_reported_under_their_names(candidates):
    ensemble = EnsembleReranker(
        members={
            "a": member(TableReranker(FIRST, {"captions_missing": 2.0})),
            "b": member(TableReranker(SECOND)),
        }
    )
    assert ensemble.score(QUERIES, candidates).metrics == {"a/captions_missing": 2.0}


def test_members_that_cannot_be_used_are_refused_by_name():
    table = TableReranker(FIRST)
    with pytest.raises(ValueError, match=r"members\.a\.weight must be in \[0, 1\], got 1\.5"):
        EnsembleReranker(members={"a": member(table, 1.5)})
    with pytest.raises(ValueError, match=r"members\.a\.weight must be in \[0, 1\], got nan"):
        EnsembleReranker(members={"a": member(table, float("nan"))})
    with pytest.raises(ValueError, match=r"members\.a must have reranker, weight and normal"):
        EnsembleReranker(members={"a": {"reranker": table, "weight": 0.2}})
    with pytest.raises(ValueError, match=r"members\.a\.reranker must be a Reranker"):
        EnsembleReranker(members={"a": member(MinMaxWeight(value=1))})
    with pytest.raises(ValueError, match=r"a member with a weight above 0, got a, b"):
        EnsembleReranker(members={"a": None, "b": member(table, 0)})


def test_members_their_criteria_and_their_captions_are_told(candidates):
    captions = [["a"], ["b"], ["c"]]
    ensemble = EnsembleReranker(
        members={
            "a": member(TableReranker(FIRST), 0.3),
            "b": member(TableReranker(SECOND, captions=captions), 0.1),
        }
    )
    got = ensemble.score(QUERIES, candidates)
    parts = got.components
    assert list(parts) == ["a", "b", "a/half", "b/half"]
    np.testing.assert_allclose(0.75 * parts["a"] + 0.25 * parts["b"], got.values, rtol=1e-5)
    np.testing.assert_allclose(parts["b/half"], SECOND / 2, rtol=1e-6)
    assert got.captions == captions
    np.testing.assert_array_equal(got.best_captions, np.argsort(SECOND, axis=1))
    shares = {name: share for name, (share, _) in got.members.items()}
    assert shares == pytest.approx({"a": 0.75, "b": 0.25})
