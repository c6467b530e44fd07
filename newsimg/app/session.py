"""Interactive search: models run once per headline or picture and reranker."""

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from newsimg.datatypes import (
    Candidates,
    Collection,
    Image,
    IntArray,
    PictureFilter,
    Query,
    RerankScores,
)
from newsimg.evaluation.comparison import find_rows
from newsimg.evaluation.ground_truth import match_ground_truth
from newsimg.interfaces import Components, Reranker, Weight
from newsimg.pipeline import find_nearest, fuse, prepare_pool, score_candidates
from newsimg.reporting.results import gather
from newsimg.storage.metadata.filters import check_matching, find_matching
from newsimg.storage.models.queries import check_queries, embed_queries, find_truncated_queries
from newsimg.storage.progress import announce

N_KEPT = 256  # cached results
N_LISTED = 2000  # pictures whose metadata are looked through for values to filter by
N_VALUES = 200  # of a kind
FILTERS = {"licence": ("licence",), "author": ("author",), "source": ("source", "credit")}


@dataclass(frozen=True)
class Asked:
    """What is searched for: a headline, or a picture.

    Attributes:
        headline: The headline; empty if a picture is searched for.
        picture: The picture; None if a headline is searched for.
        filter: Which pictures are searched, besides the filter of the data; None for all.
    """

    headline: str = ""
    picture: Image | None = None
    filter: PictureFilter | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """Candidates and their rerank scores.

    Attributes:
        collection: The query, with the editor's picture if the headline is one of the data.
        retrieved: The candidates.
        scores: Scores of the reranker.
    """

    collection: Collection
    retrieved: Candidates
    scores: RerankScores


@dataclass(frozen=True)
class Facts:
    """What is known of the data once they are read.

    Attributes:
        n_images: Number of pictures that are searched.
        headlines: First headlines of the data; empty if they do not belong to the pictures.
    """

    n_images: int
    headlines: Sequence[str] = ()


class HeadlineSearch:
    """Thread-safe search for single headlines and pictures.

    Data and models are loaded at the first search, or by `load`.

    Args:
        components: Components of the run.
        rerankers: Name -> reranker to choose from.
        weights: Name -> weight to choose from, whose value is not used.
        n_examples: Number of headlines of the data to suggest; 0: none, and no editor's pictures
            are known.
    """

    def __init__(
        self,
        components: Components,
        rerankers: Mapping[str, Reranker],
        weights: Mapping[str, Weight],
        n_examples: int = 0,
    ) -> None:
        self.rerankers = rerankers
        self.weights = weights
        self.n_scored = 0
        self._components = components
        self._n_examples = n_examples
        self._lock = threading.Lock()  # models and cache are not thread-safe
        self._match = lru_cache(N_KEPT)(self._match_anew)
        self._retrieve = lru_cache(N_KEPT)(self._retrieve_anew)
        self._kept: OrderedDict[tuple[Asked, str, int], Scored] = OrderedDict()

    @cached_property
    def _data(self) -> Collection:
        """Headlines and pictures of the data; no headlines if they are of other pictures."""
        dataset, saved = self._components.dataset, self._components.index.images
        none = Collection("query", (), (), None, filter=dataset.filter)
        is_foreign = dataset.is_sample and not self._components.info.is_sample
        if saved is not None and (is_foreign or not self._n_examples):
            return none
        announce("reading the data")
        if saved is not None and not dataset.load_queries():
            return none  # the pictures of the data need not be listed
        data = dataset.load()
        return replace(data, queries=(), qrels=None) if is_foreign else data

    @cached_property
    def _pool(self) -> tuple[Sequence[Image], IntArray | None]:
        """The pictures, and the rows that are searched, None for all."""
        saved = self._components.index.images
        if not (self._data.images if saved is None else saved):
            raise ValueError("there are no pictures to search")
        asked = replace(self._data, queries=(), qrels=None)
        backbone, index = self._components.backbone, self._components.index
        _, images, searched = prepare_pool(asked, backbone, index)
        index.describe(images)
        return images, searched

    @property
    def n_images(self) -> int:
        """Number of pictures that are searched."""
        images, searched = self._pool
        return len(images) if searched is None else len(searched)

    def load(self) -> Facts:
        """Load data and models that a search needs."""
        with self._lock:
            n_images = self.n_images
            self._components.backbone.embed_texts(["news"])
            titles = dict.fromkeys(query.title for query in self._data.queries)
        return Facts(n_images, list(titles)[: self._n_examples])

    def warm(self, headline: str, reranker: str, top_k: int) -> dict[str, list[str]]:
        """Search for a headline, or else the first one of the data, and load the models.

        Returns:
            Filter -> known values of licence, author and source, of the first pictures.
        """
        titles = (query.title for query in self._data.queries)
        if headline := headline or (next(titles, "") if self._n_examples else ""):
            self.score(Asked(headline), reranker, top_k)
        with self._lock:  # results on disk need no model, those of a new text do
            unseen = Asked(f"news of {time.time():.6f}")
            score_candidates(*self._retrieve_anew(unseen, 1), self.rerankers[reranker])
        return self._list_values()

    def _list_values(self) -> dict[str, list[str]]:
        with self._lock:
            images, searched = self._pool
            rows = range(len(images)) if searched is None else searched
            first = [images[row] for row in rows[:N_LISTED]]
        found: dict[str, dict[str, None]] = {name: {} for name in FILTERS}
        for image in first:
            metadata = image.metadata or {}
            for name, keys in FILTERS.items():
                found[name] |= {metadata[key]: None for key in keys if metadata.get(key)}
        return {name: sorted(values)[:N_VALUES] for name, values in found.items() if values}

    def find_picture(self, image_id: str) -> Image:
        """Return the picture with an id.

        Raises:
            ValueError: If there is none.
        """
        with self._lock:
            images, _ = self._pool
            rows = find_rows(images, [image_id])
            if not rows:
                raise ValueError(f"no picture has the id {image_id!r}")
            return images[rows[image_id]]

    def score(self, asked: Asked, reranker: str, top_k: int) -> Scored:
        """Retrieve and score candidates; those of headlines are kept, and found without waiting.

        A picture's candidates are not reranked: rerankers compare with a headline.

        Raises:
            ValueError: If there is no headline, no such reranker, or `top_k` is below 1. Above the
                number of pictures it is lowered.
        """
        asked = replace(asked, headline=asked.headline.strip())
        if not asked.headline and asked.picture is None:
            raise ValueError("there is no headline to search for")
        if reranker not in self.rerankers:
            raise ValueError(
                f"reranker must be one of {', '.join(self.rerankers)}, got {reranker!r}"
            )
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        key = asked, reranker, top_k
        if (known := self._kept.get(key)) is not None:
            return known
        with self._lock:
            if asked.picture is not None:
                collection, retrieved = self._retrieve_anew(asked, top_k)
                return Scored(collection, retrieved, RerankScores(retrieved.parts["retrieval"]))
            if key not in self._kept:
                self._kept[key] = self._score_anew(asked, reranker, top_k)
                if len(self._kept) > N_KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]

    def is_kept(self, asked: Asked, reranker: str, top_k: int) -> bool:
        """Return whether `score` returns at once."""
        return (replace(asked, headline=asked.headline.strip()), reranker, top_k) in self._kept

    def fuse(self, scored: Scored, weight: str, value: float) -> Candidates:
        """Sort candidates by the fused score; no model runs.

        Raises:
            ValueError: If there is no such weight, or `value` is not in [0, 1].
        """
        return fuse(scored.retrieved, scored.scores, self.find_weight(weight, value))

    def find_weight(self, name: str, value: float) -> Weight:
        """Return a weight with another value.

        Raises:
            ValueError: See `fuse`.
        """
        if name not in self.weights:
            raise ValueError(f"weight must be one of {', '.join(self.weights)}, got {name!r}")
        if not 0 <= value <= 1:
            raise ValueError(f"weight.value must be in [0, 1], got {value}")
        chosen = copy.copy(self.weights[name])
        chosen.value = value
        return chosen

    def _match_anew(self, wanted: PictureFilter | None) -> IntArray | None:
        """Return the rows that are searched with a filter, None for all."""
        images, searched = self._pool
        if wanted is None:
            return searched
        rows = np.array(find_matching(images, wanted), np.int64)
        if searched is not None:
            rows = np.intersect1d(rows, searched)
        check_matching(len(rows), self.n_images)
        return rows

    def _retrieve_anew(self, asked: Asked, top_k: int) -> tuple[Collection, Candidates]:
        backbone, index = self._components.backbone, self._components.index
        images, _ = self._pool
        searched = self._match(asked.filter)
        top_k = min(top_k, len(images) if searched is None else len(searched))
        query = Query("query", asked.headline, typed=True)
        place: tuple[Any, ...] = (top_k, images, searched)
        collection = Collection("query", (query,), images, None)
        if asked.picture is not None:
            embeddings = backbone.embed_images([asked.picture])
            return gather(collection, find_nearest(index, None, embeddings, *place))
        check_queries([query], backbone)
        index.check_queries([query])
        truncated = find_truncated_queries([query], backbone, "headlines")
        found = find_nearest(index, [query], embed_queries([query], backbone), *place)
        found = replace(found, truncated=truncated)
        collection = replace(collection, qrels=self._find_relevant(asked.headline))
        return gather(match_ground_truth(collection, found), found)

    def _find_relevant(self, headline: str) -> dict[str, dict[str, int]] | None:
        """Return the judgements of the data's headlines of this text."""
        known = self._data.qrels or {}
        relevant: dict[str, int] = {}
        for query in self._data.queries:
            if query.title == headline:
                relevant |= known.get(query.query_id, {})
        return {"query": relevant} if relevant else None

    def _score_anew(self, asked: Asked, name: str, top_k: int) -> Scored:
        collection, retrieved = self._retrieve(asked, top_k)
        scores = score_candidates(collection, retrieved, self.rerankers[name])
        self.n_scored += 1
        return Scored(collection, retrieved, scores)
