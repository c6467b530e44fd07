"""Several second opinions as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, Query
from newsimg.fusion import LinearWeight
from newsimg.interfaces import Reranker


@dataclass(frozen=True)
class Member:
    """A reranker in company: its share, and what brings its scores to the common scale."""

    reranker: Reranker
    weight: float
    normalization: LinearWeight


class EnsembleReranker(Reranker):
    """Scores by the mean of its members' normalised scores, weighted by their shares.

    A member alone has nothing to be brought to a scale with, and keeps its scores as they are.

    Args:
        members: Name -> `reranker`, `weight` (its share, relative to the others') and
            `normalization`, a weight component of which only the normalisation is used. A member
            that is null is switched off, and one whose share is 0 is not asked.

    Raises:
        ValueError: If a member lacks a part or has an unknown one, a share is not in [0, 1], or no
            member is left.
    """

    def __init__(self, *, members: Mapping[str, Mapping[str, Any] | None]) -> None:
        named = {
            name: check_member(name, member)
            for name, member in members.items()
            if member is not None
        }
        self.members = {name: member for name, member in named.items() if member.weight > 0}
        if not self.members:
            raise ValueError(
                "reranker.members must hold a member with a weight above 0, "
                f"got {', '.join(members) or 'none'}"
            )

    def score(self, queries: Sequence[Query], candidates: Candidates) -> FloatArray:
        """See `Reranker.score`."""
        scores = {name: m.reranker.score(queries, candidates) for name, m in self.members.items()}
        self.metrics = {
            f"{name}/{metric}": value
            for name, member in self.members.items()
            for metric, value in member.reranker.metrics.items()
        }
        if len(scores) == 1:
            return next(iter(scores.values()))
        total = sum(member.weight for member in self.members.values())
        fused = np.zeros(candidates.rows.shape)
        for name, member in self.members.items():
            fused += member.weight / total * member.normalization.normalize(scores[name])
        return fused.astype(np.float32)


def check_member(name: str, member: Mapping[str, Any]) -> Member:
    """Return a member of a config as one.

    Raises:
        ValueError: If a part is missing, unknown or of the wrong kind.
    """
    where = f"reranker.members.{name}"
    if set(member) != {"reranker", "weight", "normalization"}:
        raise ValueError(
            f"{where} must have reranker, weight and normalization, got {', '.join(member)}"
        )
    share = member["weight"]
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{where}.weight must be in [0, 1], got {share!r}")
    for part, kind in (("reranker", Reranker), ("normalization", LinearWeight)):
        if not isinstance(member[part], kind):
            raise ValueError(f"{where}.{part} must be a {kind.__name__}, got {member[part]!r}")
    return Member(member["reranker"], float(share), member["normalization"])
