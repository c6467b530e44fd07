"""Immutable data types shared by all packages, and the results shared by the jobs of a sweep."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, TypeVarTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Embeddings and scores: float32, larger is better."""
FusedArray = NDArray[np.float64]
"""Normalised and fused scores: float64, so that rounding cannot merge two float32 scores."""
IntArray = NDArray[np.int64]
TextArray = NDArray[np.object_]
"""Texts by query and candidate: (n_queries, top_k)."""
Run = Mapping[str, Mapping[str, float]]
"""TREC run: query_id -> image_id -> score, strictly descending in rank order."""
Qrels = Mapping[str, Mapping[str, int]]
"""TREC judgements: query_id -> image_id -> relevance (1 for the editor's picture)."""


Chat = Sequence[Mapping[str, str]]
"""Messages with `role` (system, user, assistant) and `content`."""
KeepText = Callable[[int, str], None]  # called with a chat's position and its answer
KeepRow = Callable[[int, FloatArray], None]  # likewise, with the probabilities of answers
KeepAnswers = Callable[[int, Mapping[int, FloatArray]], None]
"""Takes a picture's position and, by position, (n_answers,) for some of its questions."""
KeepWritten = Callable[[int, Mapping[int, str]], None]
"""Takes a picture's position and, by position, the answers to some of its questions."""

PICTURE_PLACE = "\ufffc"  # object replacement character
"""Where a question shows the picture; by default before its text."""

MAX_COMPARED = 8
"""Runs on a page that compares them."""

QUERY_FIELDS = ("title", "tags", "people", "organisations")
"""Fields of every query in templates and prompts; further columns of the data are fields too."""


@dataclass(frozen=True)
class Query:
    """A headline to find a picture for.

    Attributes:
        query_id: Id of the article.
        title: The headline.
        people: Tags.
        organisations: Tags.
        columns: Further columns of the data, (name, value).
        typed: Whether it is a headline alone, typed by hand, whose other fields are all empty.
    """

    query_id: str
    title: str
    people: tuple[str, ...] = ()
    organisations: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    typed: bool = False

    @property
    def fields(self) -> Mapping[str, str]:
        """Values for templates and prompts, by name; tags are people, then organisations."""
        known = {
            **{name: value.strip() for name, value in self.columns},
            "title": self.title,
            "tags": ", ".join(self.people + self.organisations),
            "people": ", ".join(self.people),
            "organisations": ", ".join(self.organisations),
        }
        return defaultdict(str, known) if self.typed else known


@dataclass(frozen=True)
class Image:
    """A picture on disk, not yet opened.

    Attributes:
        image_id: Id, unique in the collection.
        path: The picture's file, or the archive that contains it.
        member: Name within the archive.
        digest: SHA-256 of the encoded bytes in hex digits, if known.
        truncated: Whether the file is truncated and accepted as such.
        metadata: Known values of title, caption, keywords (joined by ", "), date (ISO), place,
            credit, source, author, licence and page_url.
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


@dataclass(frozen=True)
class PictureFilter:
    """Conditions on the metadata of a picture; empty ones select all.

    Attributes:
        licence: Licences, one of which the picture has.
        after: First ISO date.
        before: Last ISO date.
        source: Sources, one of which is the picture's source or credit.
        author: Authors, one of whom is the picture's.
        name: Texts, one of which occurs in the picture's id or file name.
        words: Words or phrases, all of which occur in title, caption, keywords or place.
    """

    licence: tuple[str, ...] = ()
    after: str = ""
    before: str = ""
    source: tuple[str, ...] = ()
    author: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rating:
    """A person's rating of how well a picture fits an article.

    Attributes:
        article_id: The article.
        image_id: The picture.
        value: The rating; larger is better.
        rater: Pseudonym of the person; empty if not known.
        run: The run that chose the picture; empty if not known.
    """

    article_id: str
    image_id: str
    value: float
    rater: str = ""
    run: str = ""


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
        filter: Which pictures are searched, of `images` or of a saved index; None for all.
        ratings: People's ratings, of these and other queries; empty if there are none.
    """

    name: str
    queries: tuple[Query, ...]
    images: Sequence[Image]
    qrels: Qrels | None
    on_damaged: str | None = None
    named_in: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    filter: PictureFilter | None = None
    ratings: Sequence[Rating] = ()


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best `top_k` images of each query, best first.

    Attributes:
        images: The pool that `rows` index.
        rows: (n_queries, top_k) int64, positions in `images`.
        scores: (n_queries, top_k), descending; the current order follows them.
        parts: The scores that went into `scores`, each (n_queries, top_k) and in the same order as
            `rows`: "retrieval", and after reranking "rerank" and, for `RerankScores.components`,
            "criterion/...".
        truncated: (n_queries,) whether the backbone has read only the beginning of a headline;
            empty if that is not known.
        texts: Texts about the candidates, each (n_queries, top_k) and in the same order as `rows`:
            after reranking "explanation/..." for `RerankScores.explanations`.
    """

    images: Sequence[Image]
    rows: IntArray
    scores: FloatArray | FusedArray
    parts: Mapping[str, FloatArray] = field(default_factory=dict)
    truncated: Sequence[bool] = ()
    texts: Mapping[str, TextArray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RerankScores:
    """The result of a reranker.

    Attributes:
        values: (n_queries, top_k) float32, aligned with the candidates, never sorted.
        components: Scores by criterion or member, each (n_queries, top_k) float32, aligned with
            `values`.
        captions: Captions used for the scores, one list per query; empty if there are none.
        metrics: Further metrics, such as the number of answers without a rating.
        members: For an ensemble, name -> share and normalised scores, (n_queries, top_k) float64.
            The shares sum to 1; `values` is the sum of share times scores.
        best_captions: (n_queries, top_k) int64, position of the caption that matches a candidate
            best, -1 where a query has no captions; None if captions are not compared one by one.
        explanations: Why a component has its scores, in words: component -> texts aligned with
            `values`, "" where there is none.
    """

    values: FloatArray
    components: Mapping[str, FloatArray] = field(default_factory=dict)
    captions: Sequence[Sequence[str]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    members: Mapping[str, tuple[float, FusedArray]] = field(default_factory=dict)
    best_captions: IntArray | None = None
    explanations: Mapping[str, TextArray] = field(default_factory=dict)


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


class Chunks(Protocol):
    """Listed pictures in numbered chunks, stored in a file that other processes can read."""

    path: Path

    def size_of(self, number: int) -> int:
        """Return the number of pictures in a chunk."""

    def read_chunk(self, number: int) -> list[Image | Rejected]:
        """Return the pictures of a chunk, and rejected ones without a valid id."""


@dataclass(frozen=True)
class ValidationRules:
    """Rules for accepting pictures.

    Attributes:
        on_truncated: Whether to "reject" or "accept" truncated JPEGs; other formats are rejected.
        max_pixels: Maximum number of pixels, checked before decoding.
        min_side: Minimum width and height in pixels.
    """

    on_truncated: str
    max_pixels: int
    min_side: int


@dataclass(frozen=True)
class Accepted:
    """An embedded picture.

    Attributes:
        image: The picture with its digest and its metadata.
        width: Width of the upright picture.
        height: Its height.
        embedding: (dim,), of unit length.
        n_cut: Number of values of its metadata that were cut or dropped.
    """

    image: Image
    width: int
    height: int
    embedding: FloatArray
    n_cut: int = 0


Embedded = Accepted | Rejected  # an engine's result for a picture


@dataclass(frozen=True)
class Job:
    """A run, as passed to a tracker."""

    experiment: str
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    output_dir: Path


@dataclass(frozen=True)
class RunInfo:
    """Description of a run, for the console and its pages.

    Attributes:
        data: Name and split of the data.
        reranker: Option of the group `reranker`.
        normalization: Option of the group `weight`.
        flags: Flags on the command line, such as --config-dir.
        overrides: Overrides on the command line, for printed commands.
        is_sample: Whether its pictures are those of the sample newsroom.
        warning: Warning shown first on its pages; empty for none.
    """

    data: str = ""
    reranker: str = ""
    normalization: str = ""
    flags: Sequence[str] = ()
    overrides: Sequence[str] = ()
    is_sample: bool = False
    warning: str = ""


T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class SharedResults:
    """Results shared by the jobs of a sweep: the latest result of each step, by name.

    A step is not repeated for identical or equal arguments, so that jobs that differ only in later
    steps share its result.
    """

    def __init__(self) -> None:
        self._latest: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def get(self, name: str, compute: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Return `compute(*arguments)`, or the stored result for equal arguments."""
        if name in self._latest:
            known, result = self._latest[name]
            if len(known) == len(arguments) and all(map(_is_same, known, arguments)):
                return result
            del self._latest[name]  # frees the memory first
        result = compute(*arguments)
        self._latest[name] = (arguments, result)
        return result


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one is other or np.array_equal(one, other)
    return bool(one is other or one == other)


def make_image_id(place: str) -> str:
    """Escape white space and % in a path, so that the id is one word; the mapping is injective."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), place)
