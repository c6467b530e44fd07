"""Embeddings of queries, by the backbone's template or templates."""

from collections.abc import Sequence

import numpy as np

from newsimg.datatypes import FloatArray, Query
from newsimg.interfaces import Backbone
from newsimg.storage.models.truncated import warn_truncated
from newsimg.storage.text.templates import check_query_fields, list_fields, render_queries


def check_queries(queries: Sequence[Query], backbone: Backbone) -> None:
    """Check that queries have the fields of the backbone's templates; no model runs.

    Raises:
        ValueError: If they lack one; names it and those that exist.
    """
    check_query_fields(queries, list_fields(backbone.query_template), "query_template")


def embed_queries(queries: Sequence[Query], backbone: Backbone) -> FloatArray:
    """Embed queries; of several templates the mean of the embeddings, scaled to length 1.

    Radford et al. (2021), "Learning transferable visual models from natural language supervision",
    ICML, section 3.1.4: the prompts of an ensemble are averaged in embedding space.

    Returns:
        (n_queries, dim), rows of unit length.

    Raises:
        ValueError: If the queries lack a field, or the embeddings of a query cancel out.
    """
    texts = _render(queries, backbone)
    if len(texts) == 1:
        return backbone.embed_texts(texts[0])
    embedded = backbone.embed_texts([text for own in texts for text in own])
    means = embedded.reshape(len(texts), len(queries), -1).mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if not lengths.all():
        query = queries[int(np.argmin(lengths))]
        raise ValueError(f"the templates' embeddings of {query.title!r} cancel out: use one alone")
    return (means / lengths).astype(np.float32)


def find_truncated_queries(
    queries: Sequence[Query], backbone: Backbone, what: str, limit: str = "backbone.text_length"
) -> tuple[bool, ...]:
    """Return which queries are truncated in at least one template; see `warn_truncated`."""
    texts = _render(queries, backbone)
    flags = backbone.find_truncated([text for own in texts for text in own])
    by_template = np.reshape(flags, (len(texts), len(queries)))
    shown = [texts[first][i] for i, first in enumerate(by_template.argmax(axis=0))]
    any_template = [bool(own.any()) for own in by_template.T]
    return tuple(warn_truncated(any_template, shown, what, limit))


def _render(queries: Sequence[Query], backbone: Backbone) -> list[list[str]]:
    template = backbone.query_template
    templates = [template] if isinstance(template, str) else template
    return [render_queries(queries, one) for one in templates]
