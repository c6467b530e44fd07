"""A reranker that blocks until the test creates a file."""

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
LONGEST = 300.0  # seconds; a failing test leaves no job running


class WaitingReranker(IdentityReranker):
    """Creates `at/<process>` and waits for a file `go`."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        Path("at").mkdir(exist_ok=True)
        Path("at", str(os.getpid())).touch()
        deadline = time.monotonic() + LONGEST
        while not Path("go").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return super().score(queries, candidates)
