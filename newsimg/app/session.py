"""Try headlines one at a time: models run once for each, a weight is arithmetic."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from newsimg.datatypes import Candidates, Collection, FloatArray, Query
from newsimg.interfaces import Components, Reranker, Weight
from newsimg.pipeline import fuse, retrieve_readable, score_candidates
from newsimg.reporting.results import gather

N_KEPT = 256  # headlines and rerankers whose scores are remembered


@dataclass(frozen=True, eq=False)
class Scored:
    """A headline's candidates as retrieved, and what a reranker said of them."""

    retrieved: Candidates
    scores: FloatArray
    criteria: Mapping[str, FloatArray]
    captions: Sequence[str]


class HeadlineSearch:
    """Finds pictures for one headline after the other, from any thread.

    Args:
        components: What is searched, and with which backbone.
        rerankers: Name -> reranker to choose from.
        weights: Name -> weight to choose from; their values are not used.
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
        self._pool = Collection("query", (), (), None)
        if saved is None:
            self._pool = components.dataset.load()
        self.images = self._pool.images if saved is None else saved
        self.n_scored = 0
        self._lock = threading.Lock()  # models and cache are for one thread at a time
        self._retrieve = lru_cache(N_KEPT)(self._retrieve_anew)
        self._score = lru_cache(N_KEPT)(self._score_anew)

    def score(self, headline: str, reranker: str, top_k: int) -> Scored:
        """Retrieve a headline's candidates and have them scored; what is known is not asked again.

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
        return fuse(scored.retrieved, scored.scores, scored.criteria, chosen)

    def _retrieve_anew(self, headline: str, top_k: int) -> tuple[Collection, Candidates]:
        index = self._components.index
        queries = (Query("query", headline),)
        asked = replace(self._pool, name="query", queries=queries, qrels=None)
        collection, found = retrieve_readable(asked, self._components.backbone, index, top_k)
        self._pool = collection  # without the pictures that could not be read
        self.images = found.images
        return gather(collection, found)

    def _score_anew(self, headline: str, name: str, top_k: int) -> Scored:
        collection, retrieved = self._retrieve(headline, top_k)
        reranker = self.rerankers[name]
        scores = score_candidates(collection, retrieved, reranker)
        self.n_scored += 1
        captions = reranker.captions[0] if reranker.captions else ()
        return Scored(retrieved, scores, dict(reranker.parts), captions)
