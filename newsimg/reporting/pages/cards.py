"""Description of headlines, candidates and pictures as JSON for the cards of the pages."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from newsimg.datatypes import (
    Candidates,
    Collection,
    FusedArray,
    Image,
    RerankScores,
)
from newsimg.evaluation.comparison import find_rows
from newsimg.interfaces import Weight
from newsimg.reporting.pages.assemble import drop_empty
from newsimg.reporting.thumbnails import Thumbnail
from newsimg.weight.base import LinearWeight

N_SHOWN = 5


def describe_picture(image: Image, thumb: Thumbnail | None, full: str | None) -> dict[str, Any]:
    """Describe a picture.

    Args:
        image: The picture.
        thumb: Its thumbnail; None if it cannot be read.
        full: URL of the whole picture; see `locate_picture`. None if it has none.
    """
    size = {}
    if thumb is not None:
        size = {"width": thumb.width, "height": thumb.height, "bytes": thumb.n_bytes}
    metadata = drop_empty(image.metadata or {})
    known = {"thumb": thumb.uri if thumb else None, "full": full, **size, "metadata": metadata}
    return {"id": image.image_id} | drop_empty(known)


def locate_picture(image: Image, folder: Path) -> str | None:
    """Return the URL of a picture's file for a page in `folder`.

    It is relative to the folder, or a file: URI on another drive; None for pictures in archives.
    """
    if image.member is not None:
        return None
    path = image.path.absolute()
    try:
        relative = os.path.relpath(path, folder.absolute())
    except ValueError:  # another drive
        return path.as_uri()
    return quote(Path(relative).as_posix())


@dataclass(frozen=True)
class Stages:
    """The candidates of a run before and after reranking, from which cards are described.

    Attributes:
        collection: Queries, and the editors' pictures if they are known.
        retrieved: The candidates in retrieval order.
        reranked: The same candidates in the order of the fused scores.
        scores: Result of the reranker, aligned with `retrieved`.
        weight: Normalisation and weight; shares are described for linear ones only.
        text_length: Tokens that the backbone reads; None if that is not known.
        n_shown: Candidates described in each stage.
        confidences: (n_queries,) probability that the first picture is the right one, if known.
    """

    collection: Collection
    retrieved: Candidates
    reranked: Candidates
    scores: RerankScores
    weight: Weight
    text_length: int | None = None
    n_shown: int = N_SHOWN
    confidences: FusedArray | None = None

    def __post_init__(self) -> None:
        """Check that the scores have the shape of the candidates.

        Raises:
            ValueError: If a shape differs; names it.
        """
        shape = self.retrieved.rows.shape
        arrays = {"the reranker": self.scores.values, **self.scores.components}
        for name, values in arrays.items():
            if values.shape != shape:
                raise ValueError(
                    f"scores of {name} must be {shape}, as the candidates are, got {values.shape}"
                )
        if self.scores.captions and len(self.scores.captions) != shape[0]:
            raise ValueError(
                f"captions must be of {shape[0]} queries, got {len(self.scores.captions)}"
            )

    @cached_property
    def shares(self) -> tuple[FusedArray, FusedArray] | None:
        """Shares of the fused score, `(1 - w) * retrieval` and `w * rerank`, both normalised."""
        if not isinstance(self.weight, LinearWeight):
            return None
        value, normalize = self.weight.value, self.weight.normalize
        retrieval, rerank = self.retrieved.parts["retrieval"], self.scores.values
        return (1 - value) * normalize(retrieval), value * normalize(rerank)

    @cached_property
    def editors(self) -> dict[str, int]:
        """Rows of the editors' pictures in the pool, by id, without those that are not in it."""
        qrels = self.collection.qrels or {}
        chosen = {image_id for relevant in qrels.values() for image_id in relevant}
        return find_rows(self.retrieved.images, chosen)

    def describe(self, position: int) -> dict[str, Any]:
        """Describe the headline at `position` with its first candidates before and after."""
        query = self.collection.queries[position]
        before, after = (
            {int(row): i for i, row in enumerate(stage.rows[position])}
            for stage in (self.retrieved, self.reranked)
        )
        first = [list(ranks)[: self.n_shown] for ranks in (before, after)]
        fused = self.reranked.scores[position]
        captions = self.scores.captions
        truncated = bool(len(self.retrieved.truncated)) and bool(self.retrieved.truncated[position])
        known = {
            "truncated": (self.text_length or True) if truncated else None,
            "captions": list(captions[position]) if captions else [],
            "relevant": self._describe_relevant(query.query_id, before, after),
            "before": list(map(str, first[0])),
            "after": list(map(str, first[1])),
            "range": [
                [shorten(scores.min()), shorten(scores.max())]
                for scores in (self.retrieved.scores[position], fused)
            ],
            "candidates": {
                str(row): self._describe_candidate(position, before[row], after[row])
                for row in dict.fromkeys([*first[0], *first[1]])
            },
            "confidence": None if self.confidences is None else shorten(self.confidences[position]),
            "gap": shorten(fused[0] - fused[1]) if len(fused) > 1 else 0.0,
        }
        return {"id": query.query_id, "title": query.title} | drop_empty(known)

    def _describe_relevant(
        self, query_id: str, before: Mapping[int, int], after: Mapping[int, int]
    ) -> list[list[Any]]:
        described: list[list[Any]] = []
        for image_id in (self.collection.qrels or {}).get(query_id, {}):
            row = self.editors.get(image_id, -1)
            ranks = [stage[row] + 1 if row in stage else None for stage in (before, after)]
            described.append([str(row) if row >= 0 else None, image_id, *ranks])
        return described

    def _describe_candidate(self, position: int, old: int, new: int) -> dict[str, Any]:
        """Describe the candidate of rank `old` before and `new` after, both from 0."""
        place = position, old
        captions = self.scores.best_captions
        caption = -1 if captions is None else int(captions[place])
        candidate = {
            "before": old + 1,
            "after": new + 1,
            "retrieval": shorten(self.retrieved.parts["retrieval"][place]),
            "rerank": shorten(self.scores.values[place]),
            "fused": shorten(self.reranked.scores[position, new]),
            "shares": [shorten(share[place]) for share in self.shares or ()],
            "components": [shorten(part[place]) for part in self.scores.components.values()],
            "members": {
                name: [shorten(share), shorten(scores[place])]
                for name, (share, scores) in self.scores.members.items()
            },
            "caption": caption if caption >= 0 else None,
            "explanations": drop_empty(
                {name: texts[place] for name, texts in self.scores.explanations.items()}
            ),
        }
        return drop_empty(candidate)


def list_refs(headline: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the pictures that a headline's card shows; one may come twice."""
    yield from headline.get("candidates", ())
    for candidates in headline.get("runs", ()):
        yield from (ref for ref, *_ in candidates)
    yield from (ref for ref, *_ in headline.get("relevant", ()) if ref is not None)


def shorten(score: Any) -> float:
    """Round to five significant digits."""
    return float(f"{float(score):.5g}")


def read_text_length(description: Mapping[str, Any]) -> int | None:
    """Return the tokens that a backbone reads from its `description`; None if that is not known."""
    length = description.get("text_length")
    return int(length) if isinstance(length, int | np.integer) else None


def describe_pictures(
    images: Sequence[Image],
    thumbs: Mapping[Image, Thumbnail | None],
    refs: Sequence[str],
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Describe the pictures at the rows `refs` of a pool, by ref, for a page in `folder`."""
    described = {}
    for ref in refs:
        image = images[int(ref)]
        described[ref] = describe_picture(image, thumbs[image], locate_picture(image, folder))
    return described
