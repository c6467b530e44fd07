"""How good confidences are: reliability, ECE, Brier score, and risk against coverage."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from newsimg.datatypes import FusedArray
from newsimg.evaluation.stats import CONFIDENCE, bound_means, draw_resamples

N_BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """The quality of confidences on judged queries.

    Attributes:
        measures: A row each for `ece`, `brier`, `brier_constant` (of the share of right pictures as
            the confidence of all) and `aurc`: `value`, and `low` and `high` of the 95 % bootstrap
            interval.
        bins: A row per bin of equally many queries: `confidence` and `right`, both means, `low` and
            `high` of the 95 % Wilson interval of `right`, and `n_queries`.
        risks: A row per coverage: `coverage`, `threshold` (the smallest confidence that is kept)
            and `risk`, the share of wrong first pictures among the kept queries.
    """

    measures: pd.DataFrame
    bins: pd.DataFrame
    risks: pd.DataFrame


def measure_reliability(
    confidences: FusedArray, is_right: NDArray[np.bool_], n_bins: int
) -> Reliability:
    """Measure confidences.

    The expected calibration error (Naeini, Cooper and Hauskrecht, 2015) is the mean over the
    queries of the difference between the mean confidence and the share of right pictures in their
    bin; with few queries in a bin it is above zero by chance even for perfect confidences.

    Args:
        confidences: (n_queries,)
        is_right: (n_queries,) whether the first picture is the relevant one.
        n_bins: Number of bins.
    """
    right = is_right.astype(np.float64)
    bin_of = assign_bins(confidences, n_bins)
    brier = pd.DataFrame(
        {"brier": (confidences - right) ** 2, "brier_constant": (right.mean() - right) ** 2}
    )
    measures = bound_means(brier)
    resamples = draw_resamples(len(right)) if len(right) > 1 else np.ones((1, 1))
    errors = measure_ece(confidences, right, bin_of, resamples)
    areas = measure_aurc(confidences, right, resamples)
    for name, own, drawn in (
        ("ece", measure_ece(confidences, right, bin_of, np.ones((1, len(right)))), errors),
        ("aurc", measure_aurc(confidences, right, np.ones((1, len(right)))), areas),
    ):
        low, high = np.quantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
        measures.loc[name] = [float(own[0]), low, high]
    return Reliability(
        measures, tabulate_bins(confidences, right, bin_of), tabulate_risks(confidences, right)
    )


def assign_bins(confidences: FusedArray, n_bins: int) -> NDArray[np.int64]:
    """Return the bin of each query: equally many in each, equal confidences in the same."""
    edges = np.quantile(confidences, np.arange(1, n_bins) / n_bins)
    bins = np.searchsorted(edges, confidences, side="right")
    return np.unique(bins, return_inverse=True)[1].astype(np.int64)


def measure_ece(
    confidences: FusedArray, right: FusedArray, bin_of: NDArray[np.int64], counts: FusedArray
) -> FusedArray:
    """Return the expected calibration error of each sample; `counts` (n_samples, n_queries)."""
    members = np.eye(bin_of.max() + 1)[bin_of]
    differences = counts @ (members * (confidences - right)[:, None])
    return np.abs(differences).sum(axis=1) / counts.sum(axis=1)


def measure_aurc(confidences: FusedArray, right: FusedArray, counts: FusedArray) -> FusedArray:
    """Return the area under the risk-coverage curve of each sample: the mean risk over coverages.

    After Geifman, Uziel and El-Yaniv (2019). Each occurrence of a query in a sample counts the risk
    among the queries with at least its confidence.
    """
    order = np.argsort(-confidences, kind="stable")
    ordered = -confidences[order]
    last = np.searchsorted(ordered, ordered, side="right") - 1  # of those of equal confidence
    drawn = counts[:, order]
    n_kept = np.cumsum(drawn, axis=1)[:, last]
    n_wrong = np.cumsum(drawn * (1 - right[order]), axis=1)[:, last]
    risks = np.divide(n_wrong, n_kept, out=np.zeros_like(n_wrong), where=n_kept > 0)
    return (drawn * risks).sum(axis=1) / counts.sum(axis=1)


def tabulate_bins(
    confidences: FusedArray, right: FusedArray, bin_of: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the reliability of each bin; see `Reliability`."""
    from scipy.stats import binomtest

    groups = pd.DataFrame({"confidence": confidences, "right": right}).groupby(bin_of)
    table = groups.mean().assign(n_queries=groups.size())
    ends = [
        binomtest(round(row.right * row.n_queries), int(row.n_queries)).proportion_ci(
            CONFIDENCE, method="wilson"
        )
        for row in table.itertuples()
    ]
    return table.assign(low=[end.low for end in ends], high=[end.high for end in ends])


def tabulate_risks(confidences: FusedArray, right: FusedArray) -> pd.DataFrame:
    """Return the risk at every coverage that a threshold can give; see `Reliability`."""
    order = np.argsort(-confidences, kind="stable")
    n_kept = np.arange(1, len(order) + 1)
    table = pd.DataFrame(
        {
            "coverage": n_kept / len(order),
            "threshold": confidences[order],
            "risk": np.cumsum(1 - right[order]) / n_kept,
        }
    )
    # A threshold keeps all queries of equal confidence.
    return table[~table["threshold"].duplicated(keep="last")].reset_index(drop=True)
