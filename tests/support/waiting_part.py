"""A reranker whose jobs say where they are, and wait there until they are let go."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from newsimg.datatypes import Candidates, Query, RerankScores
from newsimg.reranker.identity import IdentityReranker

OPTIONS = [
    "reranker._target_=waiting_part.WaitingReranker",
    "trusted_packages=[newsimg,waiting_part]",
]
LONGEST = 300.0  # seconds; a test that fails leaves no job behind


class WaitingReranker(IdentityReranker):
    """Touches `at/<process>`, and goes on when there is a file `go`."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        Path("at").mkdir(exist_ok=True)
        Path("at", str(os.getpid())).touch()
        deadline = time.monotonic() + LONGEST
        while not Path("go").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return super().score(queries, candidates)
