"""Steps shared by building a saved index, appending to it and removing from it."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from newsimg.datatypes import (
    FloatArray,
    Image,
    IntArray,
    Query,
)
from newsimg.index.base import GrowingIndex
from newsimg.index.building.checkpoint import IMAGES, REJECTED, BuildCheckpoint
from newsimg.index.building.quality import IndexQuality, measure_quality, split_blocks
from newsimg.index.folder import SavedIndex, count_found
from newsimg.interfaces import Backbone
from newsimg.storage.metadata.fields import WORDS
from newsimg.storage.models.queries import embed_queries

log = logging.getLogger(__name__)

CHUNK = 512  # pictures whose cached embeddings are read at once


@dataclass(frozen=True)
class QuerySample:
    """Queries with which the quality of an index is measured.

    Attributes:
        kind: "headlines" or "pictures".
        source: Description of their origin.
        embeddings: (n_queries, dim) float32.
    """

    kind: str
    source: str
    embeddings: FloatArray


def make_picture_sample(embeddings: FloatArray) -> QuerySample:
    """Use pictures of the index as queries; each finds itself first, which inflates recall."""
    return QuerySample("pictures", "pictures of the index", embeddings)


def train_index(index: GrowingIndex, embeddings: FloatArray) -> None:
    """Train on a random sample of the embeddings, which may be memory-mapped."""
    n_images = len(embeddings)
    random = np.random.default_rng(index.seed)
    drawn = random.choice(n_images, index.training_size(n_images), replace=False)
    index.train(np.ascontiguousarray(embeddings[np.sort(drawn)]), n_images)


def add_embeddings(index: GrowingIndex, embeddings: FloatArray, first_id: int) -> None:
    """Add embeddings with consecutive ids from `first_id`, block by block."""
    ids = np.arange(first_id, first_id + len(embeddings))
    for block, block_ids in split_blocks(embeddings, ids):
        index.add(block, block_ids)


def embed_headlines(
    queries: Sequence[Query], source: str, backbone: Backbone, n_queries: int
) -> QuerySample | None:
    """Embed a random sample of headlines to measure an index with; None if there are none.

    Args:
        queries: The headlines.
        source: Description of their origin.
        backbone: Backbone that embeds them.
        n_queries: Size of the sample.
    """
    if not queries:
        return None
    random = np.random.default_rng(len(queries))
    drawn = np.sort(random.choice(len(queries), min(n_queries, len(queries)), replace=False))
    embeddings = embed_queries([queries[i] for i in drawn], backbone)
    return QuerySample("headlines", f"headlines of {source}", embeddings)


def measure_saved(
    saved: SavedIndex,
    index: GrowingIndex,
    backbone: Backbone,
    query_sample: QuerySample | None,
    n_queries: int,
    top_k: int,
) -> tuple[QuerySample, IndexQuality] | None:
    """Measure an index against an exact search over the cached embeddings.

    Args:
        saved: The index with its pictures.
        index: The index itself.
        backbone: Backbone with a cache of the pictures' embeddings.
        query_sample: The queries; None for random pictures of the index.
        n_queries: Number of random pictures.
        top_k: Images per query.

    Returns:
        The queries and the quality; None, with a warning, if an embedding is not in the cache.
    """
    try:
        if query_sample is None:
            drawn = [saved.images[row] for row in draw_rows(saved, n_queries)]
            query_sample = make_picture_sample(_find_rows(drawn, backbone))
        blocks = _read_blocks(saved, backbone)
        return query_sample, measure_quality(index, blocks, query_sample.embeddings, top_k)
    except LookupError as error:
        log.warning("the index is not measured: %s", error)
        return None


def measure_built(
    saved: SavedIndex,
    index: GrowingIndex,
    embeddings: FloatArray,
    query_sample: QuerySample | None,
    n_queries: int,
    top_k: int,
) -> tuple[QuerySample, IndexQuality]:
    """Measure an index against an exact search over its embeddings; see `measure_saved`."""
    if query_sample is None:
        rows = draw_rows(saved, n_queries)
        query_sample = make_picture_sample(np.ascontiguousarray(embeddings[rows]))
    blocks = split_blocks(embeddings, saved.images.row_ids)
    return query_sample, measure_quality(index, blocks, query_sample.embeddings, top_k)


def draw_rows(saved: SavedIndex, n_rows: int) -> IntArray:
    """Draw random rows of an index, reproducibly."""
    n_images = len(saved.images)
    random = np.random.default_rng(n_images)
    return np.sort(random.choice(n_images, min(n_rows, n_images), replace=False))


def _read_blocks(saved: SavedIndex, backbone: Backbone) -> Iterator[tuple[FloatArray, IntArray]]:
    for start in range(0, len(saved.images), CHUNK):
        images = saved.images[start : start + CHUNK]
        yield _find_rows(images, backbone), saved.images.row_ids[start : start + CHUNK]


def _find_rows(images: list[Image], backbone: Backbone) -> FloatArray:
    rows = backbone.find_embeddings(images)
    for image, row in zip(images, rows, strict=True):
        if row is None:
            raise LookupError(f"the cache has no embedding of {image.uri}")
    return np.stack([row for row in rows if row is not None])


def read_remaining_images(path: Path, removed: Collection[str] = ()) -> Iterator[pa.Table]:
    """Yield the rows of an images.parquet without the removed image ids."""
    removed_ids = pa.array(sorted(removed), pa.string())
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            table = pa.Table.from_batches([batch])
            for field in IMAGES:  # a folder of an earlier version has fewer columns
                if field.name not in table.column_names:
                    table = table.append_column(field, pa.nulls(len(table), field.type))
            table = table.select(IMAGES.names).cast(IMAGES)
            yield table.filter(pc.invert(pc.is_in(table["image_id"], removed_ids)))


def merge_rejected(path: Path, checkpoint: BuildCheckpoint) -> Iterator[pa.Table]:
    """Yield the earlier rejected rows that this job did not process again, then its own."""
    before = pq.read_table(path, schema=REJECTED)
    processed = [_uris(images) for images in checkpoint.read_images(0)]
    processed += [rejected["uri"] for rejected in checkpoint.read_rejected()]
    for uris in processed:
        before = before.filter(
            pc.invert(pc.is_in(before["uri"], pa.array(uris.to_pylist(), pa.string())))
        )
    yield before
    yield from checkpoint.read_rejected()


def _uris(images: pa.Table) -> pa.ChunkedArray:
    members = pc.binary_join_element_wise(images["path"], images["member"], "::")
    return pc.if_else(pc.is_valid(images["member"]), members, images["path"])


def describe_quality(measured: tuple[QuerySample, IndexQuality] | None) -> dict[str, Any]:
    """Return the manifest entries about quality; empty values if it was not measured."""
    if measured is None:
        return {"recall": {}, "ms_per_query": {}, "measured_with": None}
    query_sample, quality = measured
    return {
        "recall": {str(quality.top_k): quality.recall},
        "ms_per_query": {"single": quality.ms_single, "batched": quality.ms_batched},
        "measured_with": {
            "kind": query_sample.kind,
            "queries": query_sample.source,
            "n_queries": quality.n_queries,
            "n_threads": quality.n_threads,
        },
    }


def describe_contents(
    saved: SavedIndex, index: GrowingIndex, backbone: Backbone, typed: list[str]
) -> dict[str, Any]:
    """Return the manifest entries about an index and its backbone.

    Args:
        saved: The index with its pictures.
        index: The index itself.
        backbone: Backbone that embedded the pictures.
        typed: Command-line overrides that select this backbone.
    """
    n_checked, n_found = count_found(saved, backbone)
    return {
        "version": 1,
        "fingerprint": backbone.fingerprint,
        "backbone": {**backbone.description, "typed": typed},
        "metric": "inner_product",
        "n_images": len(saved.images),
        "bytes_per_vector": index.bytes_per_vector,
        "self_query": {"n_checked": n_checked, "n_found": n_found},
        "metadata": count_metadata(saved.folder / "images.parquet"),
        "versions": describe_versions(),
    }


def count_metadata(path: Path) -> dict[str, int]:
    """Return how many pictures of an images.parquet have words, and how many values were cut."""
    table = pq.read_table(path, columns=[*WORDS, "n_cut"])
    words = pc.coalesce(*(table[name] for name in WORDS))
    n_cut = pc.sum(table["n_cut"]).as_py() or 0
    return {"n_with_words": len(table) - words.null_count, "n_cut": n_cut}


def describe_versions() -> dict[str, Any]:
    """Return the versions of newsimg and FAISS."""
    from importlib.metadata import version

    import faiss

    return {"newsimg": version("newsimg"), "faiss": faiss.__version__}
