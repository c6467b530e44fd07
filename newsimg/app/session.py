"""Interactive search: models run once per headline and reranker."""

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from newsimg.datatypes import Candidates, Collection, Query, RerankScores
from newsimg.interfaces import Components, Reranker, Weight
from newsimg.pipeline import fuse, retrieve_readable, score_candidates
from newsimg.reporting.results import gather

N_KEPT = 256  # cached results


@dataclass(frozen=True, eq=False)
class Scored:
    """Candidates of a headline and their rerank scores."""

    retrieved: Candidates
    scores: RerankScores


class HeadlineSearch:
    """Thread-safe search for single headlines.

    Args:
        components: Components of the run.
        rerankers: Name -> reranker to choose from.
        weights: Name -> weight to choose from, whose value is not used.
    """

    def __init__(
        self,
        components: Components,
        rerankers: Mapping[str, Reranker],
        weights: Mapping[str, Weight],
    ) -> None:
        self.rerankers = rerankers
        self.weights = weights
        self._components = components
        saved = components.index.images
        self._pool = Collection("query", (), (), None, filter=components.dataset.filter)
        if saved is None:
            self._pool = components.dataset.load()
        self.images = self._pool.images if saved is None else saved
        self.n_scored = 0
        self._lock = threading.Lock()  # models and cache are not thread-safe
        self._retrieve = lru_cache(N_KEPT)(self._retrieve_anew)
        self._score = lru_cache(N_KEPT)(self._score_anew)

    def score(self, headline: str, reranker: str, top_k: int) -> Scored:
        """Retrieve and score the candidates of a headline; results are cached.

        Raises:
            ValueError: If there is no headline, no such reranker, or `top_k` is out of range.
        """
        headline = headline.strip()
        if not headline:
            raise ValueError("there is no headline to search for")
        if reranker not in self.rerankers:
            raise ValueError(
                f"reranker must be one of {', '.join(self.rerankers)}, got {reranker!r}"
            )
        if not 1 <= top_k <= len(self.images):
            raise ValueError(f"top_k must be in [1, {len(self.images)}], got {top_k}")
        with self._lock:
            return self._score(headline, reranker, top_k)

    def fuse(self, scored: Scored, weight: str, value: float) -> Candidates:
        """Sort candidates by the fused score; no model runs.

        Raises:
            ValueError: If there is no such weight, or `value` is not in [0, 1].
        """
        if weight not in self.weights:
            raise ValueError(f"weight must be one of {', '.join(self.weights)}, got {weight!r}")
        if not 0 <= value <= 1:
            raise ValueError(f"weight.value must be in [0, 1], got {value}")
        chosen = copy.copy(self.weights[weight])
        chosen.value = value
        return fuse(scored.retrieved, scored.scores, chosen)

    def _retrieve_anew(self, headline: str, top_k: int) -> tuple[Collection, Candidates]:
        index = self._components.index
        queries = (Query("query", headline),)
        asked = replace(self._pool, name="query", queries=queries, qrels=None)
        collection, found = retrieve_readable(asked, self._components.backbone, index, top_k)
        self._pool = collection  # without unreadable pictures
        self.images = found.images
        return gather(collection, found)

    def _score_anew(self, headline: str, name: str, top_k: int) -> Scored:
        collection, retrieved = self._retrieve(headline, top_k)
        scores = score_candidates(collection, retrieved, self.rerankers[name])
        self.n_scored += 1
        return Scored(retrieved, scores)
