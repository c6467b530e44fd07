"""Names of the metrics that belong to an objective: a gain's base, its interval and p value."""

from collections.abc import Sequence

STAGE = "reranked/"


def list_companions(objectives: Sequence[str]) -> list[str]:
    """Return the metrics that a gain is measured from: retrieval's, if reranking's is sought."""
    measure = objectives[0].removeprefix(STAGE)
    return [f"retrieval/{measure}"] if objectives[0].startswith(STAGE) else []


def list_intervals(objectives: Sequence[str]) -> list[str]:
    """Return the metrics that say how sure a gain is."""
    if not list_companions(objectives):
        return []
    delta = f"delta/{objectives[0].removeprefix(STAGE)}"
    return [delta, f"{delta}_low", f"{delta}_high", f"{delta}_p"]
