"""No second opinion."""

from collections.abc import Sequence

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.interfaces import Reranker


class IdentityReranker(Reranker):
    """Repeats the retrieval scores, so that any weight keeps the retrieval order."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        return RerankScores(candidates.parts["retrieval"])
