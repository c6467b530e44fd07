"""Several second opinions as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from newsimg.datatypes import Candidates, FusedArray, Query, RerankScores
from newsimg.interfaces import Reranker
from newsimg.storage.copies import share_scores
from newsimg.storage.text.suggest import suggest
from newsimg.weight.base import LinearWeight


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

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`. Each member is asked once; all that it returns is handed on."""
        found = {
            name: member.reranker.score(queries, candidates)
            for name, member in self.members.items()
        }
        members = self._normalize(found, candidates)
        fused = np.zeros(candidates.rows.shape)
        for share, scores in members.values():
            fused += share * scores
        components = {name: scores.astype(np.float32) for name, (_, scores) in members.items()}
        return RerankScores(
            fused.astype(np.float32),
            components | _prefix({name: own.components for name, own in found.items()}),
            next((own.captions for own in found.values() if own.captions), ()),
            _prefix({name: own.metrics for name, own in found.items()}),
            members,
        )

    def _normalize(
        self, found: Mapping[str, RerankScores], candidates: Candidates
    ) -> dict[str, tuple[float, FusedArray]]:
        """Return each member's share, of 1 in all, and its scores on the common scale."""
        total = sum(member.weight for member in self.members.values())
        scored = {  # each member for itself: ranks would make steps of what differs in the last bit
            name: share_scores(own.values, candidates.rows) for name, own in found.items()
        }
        if len(scored) == 1:
            return {name: (1.0, scores.astype(np.float64)) for name, scores in scored.items()}
        return {
            name: (member.weight / total, member.normalization.normalize(scored[name]))
            for name, member in self.members.items()
        }


def _prefix(named: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Put each member's name before what it names itself."""
    return {f"{name}/{key}": value for name, own in named.items() for key, value in own.items()}


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
