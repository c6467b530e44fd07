"""A weighted ensemble of rerankers."""

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
    """A member of an ensemble: reranker, share and normalisation."""

    reranker: Reranker
    weight: float
    normalization: LinearWeight


class EnsembleReranker(Reranker):
    """Scores by the mean of its members' normalised scores, weighted by their shares.

    The scores of a single member are not normalised.

    Args:
        members: Name -> `reranker`, `weight` (its share, relative to the others') and
            `normalization`, a weight component of which only the normalisation is used. A member
            that is null or has share 0 is not used.

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

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        for member in self.members.values():
            member.reranker.check_queries(queries)

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`. Each member is scored once; all its results are included."""
        found = {
            name: member.reranker.score(queries, candidates)
            for name, member in self.members.items()
        }
        members = self._normalize(found, candidates)
        fused = np.zeros(candidates.rows.shape)
        for share, scores in members.values():
            fused += share * scores
        components = {name: scores.astype(np.float32) for name, (_, scores) in members.items()}
        captioned = next((own for own in found.values() if own.captions), None)
        return RerankScores(
            fused.astype(np.float32),
            components | _prefix({name: own.components for name, own in found.items()}),
            captioned.captions if captioned else (),
            _prefix({name: own.metrics for name, own in found.items()}),
            members,
            captioned.best_captions if captioned else None,
            _prefix({name: own.explanations for name, own in found.items()}),
        )

    def _normalize(
        self, found: Mapping[str, RerankScores], candidates: Candidates
    ) -> dict[str, tuple[float, FusedArray]]:
        """Return each member's share (the shares sum to 1) and normalised scores."""
        total = sum(member.weight for member in self.members.values())
        scored = {  # separately: ranks would amplify differences in the last bit
            name: share_scores(own.values, candidates.rows) for name, own in found.items()
        }
        if len(scored) == 1:
            return {name: (1.0, scores.astype(np.float64)) for name, scores in scored.items()}
        return {
            name: (member.weight / total, member.normalization.normalize(scored[name]))
            for name, member in self.members.items()
        }


def _prefix(named: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Prefix the keys of each member's results with its name."""
    return {f"{name}/{key}": value for name, own in named.items() for key, value in own.items()}


def check_member(name: str, member: Mapping[str, Any], others: Sequence[str] = ()) -> Member:
    """Check a member's config and return it as a `Member`.

    Args:
        name: Name of the member.
        member: Its config.
        others: Names of the other members, for suggestions.

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
