"""A member's share of an ensemble: the curve against the real ensemble, asked at many shares."""

from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Candidates, Image
from newsimg.evaluation.curve import look_up, trace_segments
from newsimg.evaluation.member_curves import draw_member
from newsimg.interfaces import Reranker
from newsimg.pipeline import sort_candidates
from newsimg.reranker.ensemble import EnsembleReranker
from newsimg.weight.l1 import L1Weight
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.rank import RankWeight
from newsimg.weight.raw import RawWeight
from newsimg.weight.zscore import ZScoreWeight

N_QUERIES, TOP_K = 25, 12


class Fixed(Reranker):
    def __init__(self, seed, whole=False):
        random = np.random.default_rng(seed)
        scores = random.integers(1, 6, (N_QUERIES, TOP_K)) if whole else None
        normal = random.normal(2, 1, (N_QUERIES, TOP_K))
        self.scores = (normal if scores is None else scores).astype(np.float32)

    def score(self, queries, candidates):
        return self.scores


def ensemble(share, normalization):
    """Member `a` has the share, `b` and `c` the rest, as 1 to 3."""
    rerankers = {"a": Fixed(1), "b": Fixed(2, whole=True), "c": Fixed(3)}
    weights = {"a": share, "b": (1 - share) / 4, "c": 3 * (1 - share) / 4}
    return EnsembleReranker(
        members={
            name: {"reranker": reranker, "weight": weights[name], "normalization": normalization}
            for name, reranker in rerankers.items()
        }
    )


def retrieved():
    scores = np.random.default_rng(9).normal(0.3, 0.05, (N_QUERIES, TOP_K)).astype(np.float32)
    scores = -np.sort(-scores, axis=1)
    images = tuple(Image(str(i), Path(str(i))) for i in range(TOP_K))
    rows = np.tile(np.arange(TOP_K), (N_QUERIES, 1))
    return Candidates(images, rows, scores, {"retrieval": scores})


@pytest.mark.parametrize("inner", [MinMaxWeight(value=0), ZScoreWeight(value=0)], ids=["mm", "z"])
@pytest.mark.parametrize(
    "weight",
    [
        RawWeight(value=0.6),
        L1Weight(value=0.4),
        MinMaxWeight(value=0.5),
        MinMaxWeight(value=0.9),
        RankWeight(value=1),
    ],
    ids=lambda weight: f"{type(weight).__name__} {weight.value}",
)
def test_the_curve_over_a_share_is_what_the_ensemble_gives_at_each_share(weight, inner):
    candidates = retrieved()
    retrieval = candidates.parts["retrieval"]
    gold_columns = np.random.default_rng(8).integers(-1, TOP_K, N_QUERIES)
    members = ensemble(0.3, inner).normalize_members((), candidates)
    segments = draw_member(weight.normalize(retrieval), members, "a", weight, gold_columns)
    curve = trace_segments(segments, (1, 5, 10))
    ends = np.concatenate([curve["w_lo"], curve["w_hi"]])
    shares = np.concatenate([np.arange(1, 20) / 20, (curve["w_lo"] + curve["w_hi"])[1:-1] / 2])
    # The ensemble's scores are float32: nearer than this to a breakpoint rounding decides.
    shares = [t for t in shares if abs(t - ends).min() > 1e-5]
    assert len(shares) > 50
    for share in shares:
        fused = weight.combine(retrieval, ensemble(share, inner).score((), candidates))
        ordered = sort_candidates(candidates, np.asarray(fused))
        ranks = 1 + np.argmax(ordered.rows == gold_columns[:, None], axis=1)
        row = look_up(curve, share)
        for k in (1, 5, 10):
            inside = (gold_columns >= 0) & (ranks <= k)
            assert row[f"hits_at_{k}"] == pytest.approx(inside.mean(), abs=1e-12)
            assert row[f"mrr_at_{k}"] == pytest.approx((inside / ranks).mean(), abs=1e-12)


def test_there_is_no_curve_where_the_share_bends_all_scores():
    candidates, gold_columns = retrieved(), np.zeros(N_QUERIES, int)
    members = ensemble(0.3, MinMaxWeight(value=0)).normalize_members((), candidates)
    start = candidates.parts["retrieval"].astype(float)
    for weight in (ZScoreWeight(value=0.5), RankWeight(value=0.5)):
        assert draw_member(start, members, "a", weight, gold_columns) is None
    with pytest.raises(ValueError, match="two members or more, got a alone"):
        draw_member(start, {"a": members["a"]}, "a", RawWeight(value=0.5), gold_columns)
