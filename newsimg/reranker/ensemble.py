"""Several second opinions as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, FloatArray, FusedArray, Query
from newsimg.interfaces import Reranker
from newsimg.storage.copies import share_scores
from newsimg.storage.text.suggest import suggest
from newsimg.weight.base import LinearEnsemble, LinearWeight


@dataclass(frozen=True)
class Member:
    """A reranker in company: its share, and what brings its scores to the common scale."""

    reranker: Reranker
    weight: float
    normalization: LinearWeight


class EnsembleReranker(LinearEnsemble):
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
            name: check_member(name, member, [other for other in members if other != name])
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
        members = self.normalize_members(queries, candidates)
        self.metrics = {
            f"{name}/{metric}": value
            for name, member in self.members.items()
            for metric, value in member.reranker.metrics.items()
        }
        self.parts = {name: scores.astype(np.float32) for name, (_, scores) in members.items()} | {
            f"{name}/{part}": scores
            for name, member in self.members.items()
            for part, scores in member.reranker.parts.items()
        }
        spoken = (member.reranker.captions for member in self.members.values())
        self.captions = next((captions for captions in spoken if captions), ())
        fused = np.zeros(candidates.rows.shape)
        for share, scores in members.values():
            fused += share * scores
        return fused.astype(np.float32)

    def normalize_members(
        self, queries: Sequence[Query], candidates: Candidates
    ) -> dict[str, tuple[float, FusedArray]]:
        """See `LinearEnsemble.normalize_members`."""
        total = sum(member.weight for member in self.members.values())
        scored = {  # each member for itself: ranks would make steps of what differs in the last bit
            name: share_scores(member.reranker.score(queries, candidates), candidates.rows)
            for name, member in self.members.items()
        }
        if len(scored) == 1:
            return {name: (1.0, scores.astype(np.float64)) for name, scores in scored.items()}
        return {
            name: (member.weight / total, member.normalization.normalize(scored[name]))
            for name, member in self.members.items()
        }


def check_member(name: str, member: Mapping[str, Any], others: Sequence[str] = ()) -> Member:
    """Return a member of a config as one.

    Args:
        name: Its name.
        member: Its parts.
        others: Names of the members beside it, one of which may have been meant.

    Raises:
        ValueError: If a part is missing, unknown or of the wrong kind.
    """
    where = f"reranker.members.{name}"
    if set(member) != {"reranker", "weight", "normalization"}:
        raise ValueError(
            f"{where} must have reranker, weight and normalization, got {', '.join(member)}"
            f"{suggest(name, others)}"
        )
    share = member["weight"]
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{where}.weight must be in [0, 1], got {share!r}")
    for part, kind in (("reranker", Reranker), ("normalization", LinearWeight)):
        if not isinstance(member[part], kind):
            raise ValueError(f"{where}.{part} must be a {kind.__name__}, got {member[part]!r}")
    return Member(member["reranker"], float(share), member["normalization"])
