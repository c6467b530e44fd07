"""Bootstrap intervals and paired significance tests."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from newsimg.datatypes import FusedArray

CONFIDENCE = 0.95
N_RESAMPLES = (
    2000  # of the bootstrap: bounds are accurate to a few per cent of the interval's width
)
N_FLIPS = 2499  # of the sign-flipping test: p down to 0.0008
SEED = 28


@dataclass(frozen=True)
class Gain:
    """A difference of means with its interval and p value."""

    value: float
    low: float
    high: float
    p: float


def bound_means(values: pd.DataFrame, resamples: FusedArray | None = None) -> pd.DataFrame:
    """Compute bootstrap intervals (95 %, percentile) of each column's mean over queries.

    All columns share the resamples. Percentile intervals are used because BCa is undefined if all
    queries have the same value, and means need little correction (Efron and Tibshirani, 1993,
    chapters 13-14).

    Missing values are not counted.

    Args:
        values: A row per query, a column per measure.
        resamples: Result of `draw_resamples`, if available; it depends only on the number of
            queries.

    Returns:
        A row per measure: `value`, `low`, `high`.

    Raises:
        ValueError: If there are no queries.
    """
    if not len(values):
        raise ValueError("there must be at least one query, got 0")
    table = values.to_numpy(dtype=np.float64)
    low = high = table[0]
    if len(table) > 1:  # else there is nothing to resample
        drawn = draw_resamples(len(table)) if resamples is None else resamples
        means = _average_known(drawn, table)
        low, high = np.nanquantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2), axis=0)
    return pd.DataFrame(
        {"value": values.mean().to_numpy(), "low": low, "high": high}, index=values.columns
    )


def _average_known(counts: FusedArray, table: FusedArray) -> FusedArray:
    """Return the mean of each column over rows that count differently, without missing values."""
    known = np.isfinite(table)
    if known.all():
        return counts @ table / len(table)
    n_known = counts @ known
    sums = counts @ np.where(known, table, 0)
    return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)


def compute_p_values(differences: pd.DataFrame) -> pd.Series:
    """Compute the two-sided p value of each column's mean difference over queries.

    Columns of -1, 0 and 1, as differences of Hits@k are: the exact McNemar test, a binomial test of
    the queries helped among those helped or hurt. Others: a randomisation test that flips the signs
    of the queries' differences (Smucker, Allan and Carterette, 2007), exact for few queries. A
    missing difference counts as none.
    """
    differences = differences.fillna(0)
    changed = differences[(differences != 0).any(axis=1)]
    p_values = pd.Series(1.0, index=differences.columns)
    graded = []
    for name, column in changed.items():
        if np.isin(column, (-1, 0, 1)).all():
            n_helped, n_hurt = int((column > 0).sum()), int((column < 0).sum())
            if n_helped + n_hurt:
                p_values[name] = _test_binomial(n_helped, n_helped + n_hurt)
        else:
            graded.append(name)
    if graded:
        p_values[graded] = _flip_signs(changed[graded].to_numpy(dtype=np.float64))
    return p_values


def compare_means(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Compare two rankings of the same queries, measure by measure.

    Returns:
        A row per measure: `value` (mean difference), `low`, `high`, `p`.
    """
    differences = after - before
    return bound_means(differences).assign(p=compute_p_values(differences))


def correct_holm(p_values: FusedArray) -> FusedArray:
    """Correct p values for the number of tests (Holm, 1979); NaN values are not counted."""
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: int(np.isfinite(p_values).sum())]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def describe_gain(measure: str, gain: Gain, n_tried: int = 1) -> str:
    """Describe a gain and its significance in a sentence.

    Args:
        measure: Name of the measure, e.g. "Hits@1".
        gain: The difference, with a corrected `p` if several configs were tried.
        n_tried: Number of configs that `p` is corrected for.
    """
    if gain.value == gain.low == gain.high == 0:
        return f"{measure} does not change for any query"
    direction = "rises" if gain.value >= 0 else "falls"
    corrected = f", Holm-corrected for {n_tried} configs" if n_tried > 1 else ""
    alone = " of this one alone;" if n_tried > 1 else ","  # the interval is not corrected
    evidence = (
        f"{measure} {direction} by {abs(gain.value):.4f} "
        f"(95 % interval {gain.low:+.4f} to {gain.high:+.4f}{alone} p = {gain.p:.2g}{corrected})"
    )
    if gain.p >= 1 - CONFIDENCE and n_tried > 1 and not gain.low <= 0 <= gain.high:
        return f"{evidence}: as the best of several, not significantly different from zero"
    if gain.p >= 1 - CONFIDENCE:
        return f"{evidence}: not significantly different from zero"
    return f"{evidence}: significantly different from zero"


def measure_effective_weight(start: FusedArray, end: FusedArray, weight: float) -> float:
    """Return the effective weight: the rerank scores' share of the spread of the fused score.

    With s_a and s_b the standard deviations over a query's candidates of the normalised retrieval
    and rerank scores, averaged over the queries, it is `w s_b / ((1 - w) s_a + w s_b)`: 0.5 where
    both components contribute equally, regardless of their scales. It is in [0, 1], so that weights
    of different rerankers and normalisations can be compared; 0 if all scores are equal.
    """
    own, other = weight * end.std(axis=1).mean(), (1 - weight) * start.std(axis=1).mean()
    return float(own / (own + other)) if own + other > 0 else 0.0


def draw_resamples(n_queries: int) -> FusedArray:
    """Return the count of each query in each resample: (N_RESAMPLES, n_queries).

    With the counts, all resampled means are one matrix product. The resamples are those of
    `scipy.stats.bootstrap`, whose import takes longer than all tests of a run.
    """
    random = np.random.default_rng(SEED)
    rows = random.integers(0, n_queries, (N_RESAMPLES, n_queries))
    cells = rows + n_queries * np.arange(N_RESAMPLES)[:, None]
    counts = np.bincount(cells.ravel(), minlength=rows.size).reshape(rows.shape)
    return counts.astype(np.float64)


def _test_binomial(n_successes: int, n_trials: int) -> float:
    """Return the two-sided p value of a fair coin, exactly: twice the smaller tail."""
    term = tail = 1
    for i in range(min(n_successes, n_trials - n_successes)):
        term = term * (n_trials - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n_trials)


def _flip_signs(differences: FusedArray) -> FusedArray:
    """Return the two-sided p values of `scipy.stats.permutation_test` over the queries' signs.

    One draw is used for all measures.
    """
    n_queries = len(differences)
    if n_queries == 1:  # one query gives no evidence
        return np.ones(differences.shape[1])
    exact = 2**n_queries <= N_FLIPS
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n_queries)))
    else:
        pairs = np.tile([1.0, -1.0], (N_FLIPS, n_queries, 1))
        signs = np.random.default_rng(SEED).permuted(pairs, axis=-1)[..., 0]
    # Sums that differ only by rounding must count as equal.
    sums, observed = (np.round(one @ differences, 12) for one in (signs, np.ones(n_queries)))
    margin = 100 * np.finfo(np.float64).eps * abs(observed)
    tails = ((sums <= observed + margin).sum(axis=0), (sums >= observed - margin).sum(axis=0))
    seen = 0 if exact else 1  # the signs as they are count among those drawn
    return np.minimum(1.0, 2 * (np.minimum(*tails) + seen) / (len(signs) + seen))
