"""Base class of rerankers that compare the headline with the words of a picture."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from newsimg.datatypes import (
    Candidates,
    FloatArray,
    Query,
    RerankScores,
)
from newsimg.interfaces import Reranker
from newsimg.storage.metadata.word_index import check_fields, get_text
from newsimg.storage.text.suggest import check_choice
from newsimg.storage.text.templates import (
    check_query_fields,
    check_template,
    list_fields,
    render_queries,
)

log = logging.getLogger(__name__)

POOLS: dict[str, Callable[..., FloatArray]] = {"max": np.max, "sum": np.sum}


class MetadataReranker(Reranker):
    """Scores a candidate by the best or the sum of its metadata fields.

    A candidate without words in these fields gets the mean of the others of its headline. The
    metric `without_words` counts distinct pictures among the candidates that have none.

    Args:
        fields: Metadata fields to compare with the headline.
        pool: "max" or "sum" over the fields.
        query_template: Text that is compared, such as "{title}" or "{title} {tags}".

    Raises:
        ValueError: If a field, `pool` or the template is invalid.
    """

    def __init__(self, *, fields: list[str], pool: str, query_template: str) -> None:
        check_fields("reranker", fields)
        check_choice("reranker.pool", pool, POOLS)
        self.fields = fields
        self.pool = pool
        check_template(query_template)
        self.query_template = query_template

    def check_queries(self, queries: Sequence[Query]) -> None:
        """See `Reranker.check_queries`."""
        check_query_fields(queries, list_fields(self.query_template), "query_template")

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        """See `Reranker.score`."""
        rows, where = np.unique(candidates.rows, return_inverse=True)
        where = where.reshape(candidates.rows.shape)
        known = [candidates.images[row] for row in rows]
        has_words = np.array([any(get_text(one, field) for field in self.fields) for one in known])
        texts = render_queries(queries, self.query_template)
        by_field = self.compare(texts, candidates)
        values = POOLS[self.pool](np.stack(list(by_field.values())), axis=0)
        n_without = int((~has_words).sum())
        if n_without:
            log.info("%d of %d candidate pictures have no words", n_without, len(rows))
        return RerankScores(
            fill_with_mean(values, has_words[where]),
            {name: np.asarray(part, np.float32) for name, part in by_field.items()},
            metrics={"without_words": n_without},
        )

    @abstractmethod
    def compare(self, texts: Sequence[str], candidates: Candidates) -> Mapping[str, FloatArray]:
        """Return the scores of each field, (n_queries, top_k); 0 for a picture without it."""


def fill_with_mean(values: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Replace unknown values by the mean of the known ones in their row; 0 if all are unknown.

    Args:
        values: (n_queries, top_k).
        known: (n_queries, top_k), whether a value is known.
    """
    n_known = known.sum(axis=1, keepdims=True)
    totals = np.where(known, values, 0).sum(axis=1, keepdims=True, dtype=np.float64)
    means = totals / np.maximum(n_known, 1)
    return np.where(known, values, means).astype(np.float32)
