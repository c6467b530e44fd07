"""No second opinion."""

from collections.abc import Sequence

from newsimg.datatypes import Candidates, FloatArray, Query
from newsimg.interfaces import Reranker


class IdentityReranker(Reranker):
    """Repeats the retrieval scores, so that any weight keeps the retrieval order."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> FloatArray:
        """See `Reranker.score`."""
        return candidates.parts["retrieval"]
