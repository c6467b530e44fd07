"""Immutable data types shared by all packages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Embeddings and scores: float32, larger is better."""
FusedArray = NDArray[np.float64]
"""Normalised and fused scores: float64, so that rounding cannot merge two float32 scores."""
IntArray = NDArray[np.int64]
Run = Mapping[str, Mapping[str, float]]
"""TREC run: query_id -> image_id -> score, strictly descending in rank order."""
Qrels = Mapping[str, Mapping[str, int]]
"""TREC judgements: query_id -> image_id -> relevance (1 for the editor's picture)."""


QUERY_FIELDS = ("title", "tags", "people", "organisations")
"""Fields that a query template may contain."""


@dataclass(frozen=True)
class Query:
    """A headline to find a picture for. `query_id` is the id of the article."""

    query_id: str
    title: str
    people: tuple[str, ...] = ()
    organisations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A picture on disk, not yet opened.

    Attributes:
        image_id: Id, unique in the collection.
        path: The picture's file, or the archive that contains it.
        member: Name within the archive.
        digest: SHA-256 of the encoded bytes in hex digits, if known.
        truncated: Whether the file is truncated and accepted as such.
        metadata: Known values of licence, title, author and page_url.
    """

    image_id: str
    path: Path
    member: str | None = None
    digest: str | None = None
    truncated: bool = False
    metadata: Mapping[str, str] | None = field(default=None, compare=False, repr=False)

    @property
    def uri(self) -> str:
        """Location for messages: a path, or `archive.zip::member`."""
        return str(self.path) if self.member is None else f"{self.path}::{self.member}"


@dataclass(frozen=True, eq=False)
class Collection:
    """The content of a data set: queries, the images to search, and judgements if known.

    Attributes:
        name: Name of the collection.
        queries: The headlines.
        images: Images in the order of their ids, so that row order breaks ties.
        qrels: Relevant image of each query; queries without one are not evaluated. None if no
            relevant image is known.
        on_damaged: Whether to "raise" on or "skip" unreadable images; None raises and does not
            suggest the option.
        named_in: Image id -> file and line that refer to the image, for messages.
        skipped: Kind of skipped images ("missing", "damaged") -> their number.
    """

    name: str
    queries: tuple[Query, ...]
    images: Sequence[Image]
    qrels: Qrels | None
    on_damaged: str | None = None
    named_in: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best `top_k` images of each query, best first.

    Attributes:
        images: The pool that `rows` index.
        rows: (n_queries, top_k) int64, positions in `images`.
        scores: (n_queries, top_k), descending; the current order follows them.
        parts: The scores that went into `scores`, each (n_queries, top_k) and in the same order as
            `rows`: "retrieval", and after reranking "rerank" and, for `Reranker.parts`,
            "criterion/...".
    """

    images: Sequence[Image]
    rows: IntArray
    scores: FloatArray | FusedArray
    parts: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A picture that cannot be used, or a location that cannot be listed."""

    uri: str
    reason: str


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not a picture. `suffix` is its extension in lower case, "" if none."""

    uri: str
    suffix: str


Listed = Image | Rejected | SkippedFile
"""The results of listing a collection."""


def check_template(template: str) -> str:
    """Check that a query template has at least one field and no unknown field; return it.

    Raises:
        ValueError: If it has none, or an unknown one.
    """
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError:  # an unmatched brace
        names = set()
    if not names or names - set(QUERY_FIELDS):
        known = ", ".join(f"{{{name}}}" for name in QUERY_FIELDS)
        raise ValueError(f"query_template must use one or more of {known}, got {template!r}")
    return template


def render_queries(queries: Sequence[Query], template: str) -> list[str]:
    """Fill `template` for each query; tags are people, then organisations, joined by ', '."""
    return [
        template.format(
            title=query.title,
            tags=", ".join(query.people + query.organisations),
            people=", ".join(query.people),
            organisations=", ".join(query.organisations),
        ).strip()
        for query in queries
    ]


def make_image_id(place: str) -> str:
    """Escape white space and % in a path, so that the id is one word; the mapping is injective."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), place)
