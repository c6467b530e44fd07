"""The baseline: retrieval alone."""

from collections.abc import Sequence

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.interfaces import Reranker


class IdentityReranker(Reranker):
    """Returns the retrieval scores, so that every weight keeps the retrieval order."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        return RerankScores(candidates.parts["retrieval"])
