"""Every option of conf/weight against matrices computed by hand."""

import numpy as np
import pytest
from hydra.utils import get_class, instantiate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omegaconf import OmegaConf
from scipy.stats import rankdata

from newsimg.interfaces import Weight
from newsimg.run import CONF_DIR
from newsimg.weight.base import rank_rows
from newsimg.weight.rrf import RRFWeight
from newsimg.weight.zscore import ZScoreWeight

OPTIONS = sorted(path.stem for path in (CONF_DIR / "weight").glob("*.yaml"))
PRESERVING = [option for option in OPTIONS if option != "l1_signed"]
SIXTIETHS = [1 / 61, 1 / 62, 1 / 63]
# Retrieval and rerank scores of one query with three candidates, and their normalised values.
RETRIEVAL, RERANK = [0.5, 0.3, 0.2], [1.0, -4.0, 3.0]
NORMALIZED = {
    "l1": ([0.5, 0.3, 0.2], [0.125, -0.5, 0.375]),
    "l1_signed": ([0.5, 0.3, 0.2], [0.0, 0.0, 0.0]),  # 1 - 4 + 3 is zero
    "none": (RETRIEVAL, RERANK),
    "minmax": ([1.0, 1 / 3, 0.0], [5 / 7, 0.0, 1.0]),
    # deviations (.5-1/3, ...) over sqrt(7/450); mean 0, variance 26/3
    "zscore": (
        [(1 / 6) / (7 / 450) ** 0.5, (-1 / 30) / (7 / 450) ** 0.5, (-2 / 15) / (7 / 450) ** 0.5],
        [1 / (26 / 3) ** 0.5, -4 / (26 / 3) ** 0.5, 3 / (26 / 3) ** 0.5],
    ),
    "rank": ([1.0, 2 / 3, 1 / 3], [2 / 3, 1 / 3, 1.0]),
    "rrf": (SIXTIETHS, [SIXTIETHS[1], SIXTIETHS[2], SIXTIETHS[0]]),
}
# Integer scores times a scale per array, exact in float32.
STEPS = st.one_of(st.integers(-3, 3), st.integers(-(2**22), 2**22))
SCALES = st.sampled_from([1.0, 2.0**-21, 2.0**-140, 2.0**100])


def make(option: str, value: float) -> Weight:
    config = OmegaConf.load(CONF_DIR / "weight" / f"{option}.yaml")
    return instantiate(config, value=value)


def order(fused: np.ndarray) -> list[list[int]]:
    """Return the order of each row, best first, ties in input order, by Python's stable sort."""
    return [sorted(range(len(row)), key=lambda i: -row[i]) for row in fused.tolist()]


def rows_of(width: int) -> st.SearchStrategy[np.ndarray]:
    """Return a strategy for two rows of scores with ties and both signs."""
    steps = arrays(np.int64, (2, width), elements=STEPS)
    return st.builds(lambda values, scale: (values * scale).astype(np.float32), steps, SCALES)


def as_retrieved(rows: np.ndarray) -> np.ndarray:
    """Sort each row descending, as retrieval scores are."""
    return -np.sort(-rows, axis=1)


def test_the_expected_values_cover_every_option() -> None:
    assert sorted(NORMALIZED) == OPTIONS


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 1.0])
def test_fused_scores_equal_the_values_computed_by_hand(option: str, value: float) -> None:
    left, right = NORMALIZED[option]
    expected = [(1 - value) * a + value * b for a, b in zip(left, right, strict=True)]
    fused = make(option, value).combine(np.float32([RETRIEVAL]), np.float32([RERANK]))
    np.testing.assert_allclose(fused, [expected], rtol=1e-6)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_query_is_normalised_separately(option: str) -> None:
    other = np.float32([[9.0, 5.0, -7.0]])
    together = make(option, 0.4).combine(
        np.vstack([np.float32([RETRIEVAL]), other]), np.vstack([np.float32([RERANK]), other])
    )
    alone = make(option, 0.4).combine(np.float32([RETRIEVAL]), np.float32([RERANK]))
    np.testing.assert_array_equal(together[:1], alone)


@pytest.mark.parametrize("option", PRESERVING)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "row",
    [
        [0.7],  # a single candidate
        [-0.7],
        [0.0],
        [0.1, 0.1, 0.1],  # constant, a number without an exact binary representation
        [0.0, 0.0, 0.0],
        [-0.3, -0.3, -0.3],
        [3e38, 3e38, 3e38],
        [1e-45, 1e-45, 1e-45],
        [0.5, 0.0, -0.5],  # sums to zero
        [-0.1, -0.2, -0.3],
        [1e-45, 0.0, -1e-45],
        [3e38, 0.0, -3e38],
    ],
)
def test_degenerate_rows_are_fused_without_floating_point_errors(
    option: str, value: float, row: list[float]
) -> None:
    scores = np.float32([row])
    with np.errstate(all="raise"):
        fused = make(option, value).combine(scores, scores)
    assert np.isfinite(fused).all()
    assert order(fused) == order(scores)
    if len(set(row)) == 1:
        assert len(set(fused[0].tolist())) == 1  # equal scores remain equal


@pytest.mark.parametrize("option", OPTIONS)
def test_constant_scores_of_one_side_do_not_change_the_order_of_the_other(option: str) -> None:
    flat = np.float32([[0.1, 0.1, 0.1]])
    other = np.float32([[0.3, 0.9, 0.6]])
    for value in (0.01, 0.5, 0.99):
        assert order(make(option, value).combine(flat, other)) == [[1, 2, 0]]
        assert order(make(option, value).combine(other, flat)) == [[1, 2, 0]]


@pytest.mark.parametrize("option", PRESERVING)
@given(data=st.data())
def test_weight_0_gives_the_retrieval_order_and_1_the_rerankers_order(
    option: str, data: st.DataObject
) -> None:
    width = data.draw(st.integers(1, 6))
    retrieval, rerank = as_retrieved(data.draw(rows_of(width))), data.draw(rows_of(width))
    with np.errstate(all="raise", under="ignore"):
        assert order(make(option, 0).combine(retrieval, rerank)) == order(retrieval)
        assert order(make(option, 1).combine(retrieval, rerank)) == order(rerank)


@pytest.mark.parametrize("option", PRESERVING)
@given(data=st.data())
def test_equal_scores_of_both_sides_preserve_the_order_at_any_weight(
    option: str, data: st.DataObject
) -> None:
    retrieval = as_retrieved(data.draw(rows_of(data.draw(st.integers(1, 6)))))
    value = data.draw(st.floats(0, 1))
    fused = make(option, value).combine(retrieval, retrieval)
    assert order(fused) == order(retrieval)


@pytest.mark.parametrize("option", PRESERVING)
@given(data=st.data())
def test_a_candidate_preferred_by_both_sides_is_never_ranked_lower(
    option: str, data: st.DataObject
) -> None:
    width = data.draw(st.integers(2, 6))
    retrieval, rerank = data.draw(rows_of(width)), data.draw(rows_of(width))
    fused = make(option, data.draw(st.floats(0, 1))).combine(retrieval, rerank)
    assert fused.shape == retrieval.shape
    better = (retrieval[:, :, None] >= retrieval[:, None]) & (rerank[:, :, None] >= rerank[:, None])
    assert (fused[:, :, None] >= fused[:, None])[better].all()


@pytest.mark.parametrize("option", OPTIONS)
@given(data=st.data())
def test_a_fused_score_is_linear_in_the_weight(option: str, data: st.DataObject) -> None:
    elements = st.floats(-1, 1, width=32).map(np.float32)
    retrieval, rerank = (data.draw(arrays(np.float32, (1, 4), elements=elements)) for _ in "ab")
    value = data.draw(st.floats(0, 1))
    ends = [make(option, end).combine(retrieval, rerank) for end in (0, 1)]
    middle = make(option, value).combine(retrieval, rerank)
    np.testing.assert_allclose(middle, (1 - value) * ends[0] + value * ends[1], atol=1e-12)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_arguments_are_not_modified(option: str) -> None:
    retrieval, rerank = np.float32([RETRIEVAL]), np.float32([RERANK])
    make(option, 0.3).combine(retrieval, rerank)
    np.testing.assert_array_equal(retrieval, np.float32([RETRIEVAL]))
    np.testing.assert_array_equal(rerank, np.float32([RERANK]))


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=STEPS))
def test_ranks_are_those_of_scipy(scores: np.ndarray) -> None:
    np.testing.assert_array_equal(rank_rows(scores), rankdata(-scores, axis=1))


@pytest.mark.parametrize("option", ["rank", "rrf"])
def test_equal_scores_get_their_mean_rank(option: str) -> None:
    tied = np.float32([[0.4, 0.4, 0.1]])
    expected = {"rank": [2.5 / 3, 2.5 / 3, 1 / 3], "rrf": [1 / 61.5, 1 / 61.5, 1 / 63]}[option]
    fused = make(option, 0).combine(tied, np.float32([[1, 2, 3]]))
    np.testing.assert_allclose(fused, [expected])


def test_the_signed_sum_reverses_a_list_of_negative_cosines_and_equals_l1_without_them() -> None:
    signed, absolute = make("l1_signed", 0.2), make("l1", 0.2)
    ratings = np.float32([[2.0, 4.0, 2.0]])
    cosines = np.float32([[0.04, 0.02, 0.01]])
    np.testing.assert_array_equal(
        signed.combine(cosines, ratings), absolute.combine(cosines, ratings)
    )
    negative = np.float32([[-0.01, -0.03, -0.06]])  # of SigLIP, best first; they sum to -0.1
    np.testing.assert_allclose(
        make("l1_signed", 0).combine(negative, ratings), [[0.1, 0.3, 0.6]], rtol=1e-6
    )
    by_hand = [[0.8 * 0.1 + 0.2 * 0.25, 0.8 * 0.3 + 0.2 * 0.5, 0.8 * 0.6 + 0.2 * 0.25]]
    np.testing.assert_allclose(signed.combine(negative, ratings), by_hand, rtol=1e-6)
    assert order(make("l1_signed", 0).combine(negative, ratings)) == [[2, 1, 0]]
    assert order(make("l1", 0).combine(negative, ratings)) == [[0, 1, 2]]


def test_rrf_uses_k_and_refuses_a_negative_one() -> None:
    weight = get_class("newsimg.weight.rrf.RRFWeight")
    fused = weight(value=0.5, k=1).combine(np.float32([[2, 1]]), np.float32([[1, 2]]))
    np.testing.assert_allclose(fused, [[0.5 / 2 + 0.5 / 3] * 2])
    with pytest.raises(ValueError, match=r"weight.k must be at least 0, got -1"):
        weight(value=0.5, k=-1)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [-0.01, 1.01, 2, float("nan"), float("inf")])
def test_a_weight_outside_0_to_1_is_refused_with_its_value(option: str, value: float) -> None:
    config = OmegaConf.load(CONF_DIR / "weight" / f"{option}.yaml")
    with pytest.raises(ValueError, match=rf"weight.value must be in \[0, 1\], got {value}"):
        get_class(config._target_)(
            **{k: v for k, v in config.items() if k not in ("_target_", "value")}, value=value
        )


@pytest.mark.parametrize("option", OPTIONS)
def test_scores_that_cannot_be_fused_are_refused(option: str) -> None:
    weight = make(option, 0.5)
    good = np.float32([[1, 2]])
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 3\)"):
        weight.combine(good, np.float32([[1, 2, 3]]))
    with pytest.raises(ValueError, match=r"\(n_queries, top_k\)"):
        weight.combine(good[0], good[0])
    for bad in (np.nan, np.inf, -np.inf):
        broken = np.float32([[1, 2], [3, bad]])
        fine = np.float32([[1, 2], [3, 4]])
        said = rf"scores must be finite, got {bad} for query row 1, candidate 1"
        with pytest.raises(ValueError, match=f"rerank {said}"):
            weight.combine(fine, broken)
        with pytest.raises(ValueError, match=f"retrieval {said}"):
            weight.combine(broken, fine)


def test_a_row_of_equal_scores_whose_mean_is_rounded_has_no_deviations() -> None:
    rows = np.array([[0.1, 0.1, 0.1], [-1.0, 0.0, 1.0]])
    assert rows[0].mean() != 0.1
    found = ZScoreWeight(value=0.5).normalize(rows)
    np.testing.assert_allclose(found, [[0, 0, 0], [-(1.5**0.5), 0, 1.5**0.5]], atol=1e-15)


def test_reciprocal_ranks_have_any_constant_that_is_not_negative() -> None:
    scores = np.float32([[3, 1, 2]])
    np.testing.assert_array_equal(RRFWeight(value=0.5, k=0).normalize(scores), [[1, 1 / 3, 1 / 2]])
    with pytest.raises(ValueError, match=r"weight\.k must be"):
        RRFWeight(value=0.5, k=-0.5)
