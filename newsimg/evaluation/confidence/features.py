"""What the confidence in a headline's first picture is computed from."""

import numpy as np

from newsimg.datatypes import Candidates, FusedArray


def describe_first(reranked: Candidates) -> dict[str, FusedArray]:
    """Return features of each query's first candidate.

    Args:
        reranked: Candidates after reranking, best first.

    Returns:
        Name -> (n_queries,): `fused`, the fused score; `gap`, to the second candidate; `retrieval`,
        the cosine; `retrieval_lead`, the cosine above the largest of the other candidates;
        `rerank`; and the component scores, `criterion/...`. A score that is unknown is NaN.
    """
    fused = reranked.scores.astype(np.float64)
    cosines = reranked.parts["retrieval"].astype(np.float64)
    several = fused.shape[1] > 1
    none = np.zeros(len(fused))
    features = {
        "fused": fused[:, 0],
        "gap": fused[:, 0] - fused[:, 1] if several else none,
        "retrieval": cosines[:, 0],
        "retrieval_lead": cosines[:, 0] - cosines[:, 1:].max(axis=1) if several else none,
    }
    for name, part in reranked.parts.items():
        if name != "retrieval":
            first = part[:, 0].astype(np.float64)
            features[name] = np.where(np.isfinite(first), first, np.nan)
    return features
