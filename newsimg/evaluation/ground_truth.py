"""Matching of ground-truth ids to the ids of a pool that are written differently."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from unicodedata import normalize

from newsimg.datatypes import Candidates, Collection, Image, Qrels
from newsimg.evaluation.comparison import find_rows
from newsimg.storage.pictures.formats import EXTENSIONS

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSION = "(?i)(" + "|".join(map(re.escape, EXTENSIONS)) + ")$"
BLOCK = 65_536  # ids per block


@runtime_checkable
class ListsIds(Protocol):
    """A sequence of images whose ids can be read without creating image objects."""

    def read_ids(self) -> "Iterator[pa.Array]":
        """Yield all ids in blocks, in any order."""


def match_ground_truth(collection: Collection, candidates: Candidates) -> Collection:
    """Convert ground-truth ids to the ids of the searched pictures.

    An unknown id matches the only picture whose id differs in the extension, in leading folders
    (which one of both lacks) or in the Unicode normalisation form. An id without a match is kept;
    its query counts 0.

    Args:
        collection: Queries and, where known, their relevant images.
        candidates: Candidates whose pool the ids are matched with.

    Raises:
        ValueError: If an id matches several pictures, or several ids match one; names both.
    """
    if collection.qrels is None:
        return collection
    images = candidates.images
    wanted = {image_id for relevant in collection.qrels.values() for image_id in relevant}
    known = find_rows(images, wanted)
    if len(known) == len(wanted):
        return collection
    found = _find_similar(images, sorted(wanted - known.keys()))
    _check_distinct(found, known)
    if not found:
        return collection
    qrels = {
        query_id: {found.get(image_id, image_id): value for image_id, value in relevant.items()}
        for query_id, relevant in collection.qrels.items()
    }
    return replace(collection, qrels=qrels)


def count_covered(collection: Collection, images: Sequence[Image]) -> int:
    """Return the number of queries with a relevant image in `images`."""
    qrels: Qrels = collection.qrels or {}
    known = find_rows(images, {image_id for relevant in qrels.values() for image_id in relevant})
    return sum(not known.keys().isdisjoint(relevant) for relevant in qrels.values())


def measure_coverage(collection: Collection, images: Sequence[Image]) -> dict[str, float]:
    """Return `n_judged`, the queries with a relevant image in the pool, and their share.

    Raises:
        ValueError: If the collection has no ground truth, or none of it is in the pool.
    """
    if collection.qrels is None:
        raise ValueError(f"{collection.name} names no editors' pictures: nothing to measure by")
    n_judged, n_queries = count_covered(collection, images), len(collection.qrels)
    if not n_judged:
        example = next(image_id for relevant in collection.qrels.values() for image_id in relevant)
        raise ValueError(
            f"none of the editors' pictures of the {n_queries} headlines of {collection.name} is "
            f"among the {len(images)} pictures that are searched (they have ids like "
            f"{images[0].image_id!r}, the headlines name {example!r}): there is nothing to measure "
            "by. The same command with task=infer finds pictures for these headlines; with "
            "data=queries data.csv_path=FILE or data=newsimages it measures by the articles that "
            "the pictures belong to"
        )
    return {"n_judged": n_judged, "ground_truth_share": n_judged / n_queries}


def describe_coverage(metrics: Mapping[str, float]) -> str:
    """Describe how much of the ground truth is in the pool; empty if all of it is."""
    share, n_judged = metrics["ground_truth_share"], metrics["n_judged"]
    if share == 1:
        return ""
    return (
        f"the editors' pictures of {n_judged:.0f} of {round(n_judged / share)} headlines "
        f"({share:.4f}) are among those searched; the others count 0"
    )


def _find_similar(images: Sequence[Image], wanted: Sequence[str]) -> dict[str, str]:
    """Return the matching picture of each id that has one.

    Raises:
        ValueError: If an id matches several.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = {image_id: _split(image_id) for image_id in wanted}
    forms = {normalize(form, parts[-1]) for parts in names.values() for form in ("NFC", "NFD")}
    last = pa.array(sorted(forms), pa.string())
    similar: dict[str, list[str]] = {}
    for ids in _read_ids(images):
        keys = pc.replace_substring_regex(ids, "^.*/", "")
        keys = pc.replace_substring_regex(keys, EXTENSION, "")
        for image_id in ids.filter(pc.is_in(keys, last)).to_pylist():
            similar.setdefault(_split(image_id)[-1], []).append(image_id)
    found = {}
    for image_id, parts in names.items():
        fitting = [one for one in similar.get(parts[-1], ()) if _fit(parts, _split(one))]
        if len(fitting) > 1:
            first, second = sorted(fitting)[:2]
            raise ValueError(
                f"the editor's picture {image_id!r} may be {first!r} or {second!r} of the pictures "
                "that are searched: write its id in full, or search only one of both"
            )
        if fitting:
            found[image_id] = fitting[0]
    return found


def _check_distinct(found: dict[str, str], known: Iterable[str]) -> None:
    """Check that no two ids, such as a/1 and b/1, match the same picture."""
    owner: dict[str, str] = {image_id: image_id for image_id in known}
    for image_id, picture in found.items():
        other = owner.setdefault(picture, image_id)
        if not _fit(_split(image_id), _split(other)):
            raise ValueError(
                f"the editors' pictures {other!r} and {image_id!r} both fit {picture!r} of the "
                "pictures that are searched: write the ids as these have them"
            )


def _read_ids(images: Sequence[Image]) -> "Iterator[pa.Array]":
    import pyarrow as pa

    if isinstance(images, ListsIds):
        yield from images.read_ids()
        return
    for start in range(0, len(images), BLOCK):
        yield pa.array([image.image_id for image in images[start : start + BLOCK]], pa.string())


def _split(image_id: str) -> list[str]:
    """Return the folders and the name without its extension."""
    return normalize("NFC", re.sub(EXTENSION, "", image_id)).split("/")


def _fit(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether one path is a suffix of the other."""
    n_parts = min(len(one), len(other))
    return one[-n_parts:] == other[-n_parts:]
