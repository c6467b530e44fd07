"""Retrieval by several searches, such as those of several backbones."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.stats import rankdata

from newsimg.datatypes import FloatArray, FusedArray, Image, IntArray, Query
from newsimg.interfaces import Index
from newsimg.storage.text.suggest import check_choice, refuse_all

FUSIONS = ("ranks", "scores")
AT_ONCE = 4096  # pictures compared, as a saved index reads them in slices


class FusedIndex(Index):
    """Several searches, fused by their ranks or scores.

    By ranks, a picture has the sum of `share / (k + rank)` over the members that find it among
    their first `depth` results (Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion
    outperforms Condorcet and individual rank learning methods", SIGIR); by scores, the sum of
    `share` times the member's score, scaled to [0, 1] over these results (Fox and Shaw 1994,
    "Combination of multiple searches", TREC-2). A picture that a member does not find has 0 there.
    Equal scores of a member share the mean of their ranks.

    Args:
        members: Name -> index; one with a backbone of its own is an `OwnBackboneIndex`. Null
            members are not used. Saved ones must have the same pictures as the others.
        weights: Name -> weight of a member, 1 by default; their shares sum to 1.
        by: "ranks" or "scores".
        k: Constant of the fusion by ranks: the larger, the less the first ranks count.
        depth: Results of each search; at least `top_k` are used.

    Raises:
        ValueError: If an argument is invalid, or fewer than two members are left.
    """

    def __init__(
        self,
        *,
        members: Mapping[str, Index | None],
        weights: Mapping[str, float],
        by: str,
        k: float,
        depth: int,
    ) -> None:
        check_choice("index.by", by, FUSIONS)
        refuse_all(
            f"index.{name} must be at least 1, got {number}"
            for name, number in {"k": k, "depth": depth}.items()
            if number < 1
        )
        for name in weights:
            check_choice("a name in index.weights", name, members)
        refuse_all(
            f"index.weights.{name} must be a number of at least 0, got {weight}"
            for name, weight in weights.items()
            if not 0 <= weight < float("inf")
        )
        found = {name: one for name, one in members.items() if one and weights.get(name, 1) > 0}
        if len(found) < 2:
            raise ValueError(
                "index.members must hold at least 2 with a weight above 0, "
                f"got {', '.join(found) or 'none'}"
            )
        total = sum(weights.get(name, 1) for name in found)
        self.members = found
        self.shares = {name: weights.get(name, 1) / total for name in found}
        self.by = by
        self.k = float(k)
        self.depth = depth
        self._described: Sequence[Image] | None = None

    @property
    def images(self) -> Sequence[Image] | None:
        """See `Index.images`: those of the first saved member, if there is one."""
        for name, member in self.members.items():
            with name_member(name):
                if (images := member.images) is not None:
                    return images
        return None

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Index.check_queries`."""
        for name, member in self.members.items():
            with name_member(name):
                member.check_queries(queries)

    def build(self, embeddings: FloatArray) -> None:
        """See `Index.build`."""
        for member in self.members.values():
            member.build(embeddings)

    def describe(self, images: Sequence[Image]) -> None:
        """See `Index.describe`.

        Raises:
            ValueError: If a saved member has other pictures.
        """
        if images is self._described:
            return
        for name, member in self.members.items():
            with name_member(name):
                if (own := member.images) is not None:
                    check_same(own, images)
                member.describe(images)
        self._described = images

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`: by the first member alone."""
        return next(iter(self.members.values())).search(embeddings, top_k)

    def search_queries(
        self, queries: Sequence[Query], embeddings: FloatArray, top_k: int
    ) -> tuple[FloatArray, IntArray]:
        """See `Index.search_queries`; the scores are the fused ones.

        Raises:
            ValueError: If `describe` was not called.
        """
        if self._described is None:
            raise ValueError("index=fused needs the pictures: call describe first")
        depth = min(max(top_k, self.depth), len(self._described))
        parts, found = [], []
        for name, member in self.members.items():
            scores, rows = member.search_queries(queries, embeddings, depth)
            found.append(rows)
            parts.append(self.shares[name] * self._rate(scores))
        all_rows, all_parts = np.concatenate(found, axis=1), np.concatenate(parts, axis=1)
        fused_scores = np.empty((len(queries), top_k), np.float32)
        fused_rows = np.empty((len(queries), top_k), np.int64)
        for i in range(len(queries)):
            distinct, where = np.unique(all_rows[i], return_inverse=True)
            sums = np.bincount(where, weights=all_parts[i])
            best = np.argsort(-sums, kind="stable")[:top_k]
            fused_scores[i], fused_rows[i] = sums[best], distinct[best]
        return fused_scores, fused_rows

    def _rate(self, scores: FloatArray) -> FusedArray:
        """Return what a member's results, best first, contribute: (n_queries, depth)."""
        if self.by == "ranks":
            return np.asarray(1 / (self.k + rankdata(-scores, axis=1)))
        exact = scores.astype(np.float64)
        first, last = exact[:, :1], exact[:, -1:]
        spread = first - last
        return np.divide(exact - last, spread, out=np.ones_like(exact), where=spread > 0)


@contextmanager
def name_member(name: str) -> Iterator[None]:
    """Put the member's key before the message of a ValueError inside the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"index.members.{name}: {error}") from error


def check_same(own: Sequence[Image], images: Sequence[Image]) -> None:
    """Check that a saved member has the pictures of the others, in the same order.

    Args:
        own: Pictures of the member.
        images: Those of the others.

    Raises:
        ValueError: If it has others, or other bytes under one id.
    """
    if own is images:
        return
    if len(own) != len(images):
        raise ValueError(
            f"it has {len(own)} pictures, the search has {len(images)}: all members must have the "
            "same ones"
        )
    for start in range(0, len(own), AT_ONCE):
        chunk = slice(start, start + AT_ONCE)
        for one, other in zip(own[chunk], images[chunk], strict=True):
            if one.image_id != other.image_id:
                raise ValueError(
                    f"it has {one.image_id!r} where the search has {other.image_id!r}: all "
                    "members must have the same pictures"
                )
            if one.digest and other.digest and one.digest != other.digest:
                raise ValueError(
                    f"it was built from other bytes of {one.image_id!r} than {other.uri} has: all "
                    "members must have the same pictures"
                )
