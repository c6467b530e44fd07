"""The steps that building, extending and shrinking a saved index have in common."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from newsimg.datatypes import FloatArray, Image, IntArray, Listed, Query, render_queries
from newsimg.engine.base import Engine
from newsimg.engine.listing import Listing, write_listing
from newsimg.engine.validation import Accepted, Rejected, ValidationRules
from newsimg.index.base import GrowingIndex
from newsimg.index.building.checkpoint import IMAGES, REJECTED, BuildCheckpoint
from newsimg.index.building.quality import IndexQuality, cut_blocks, measure_quality
from newsimg.index.folder import SavedIndex, count_found
from newsimg.interfaces import Backbone

log = logging.getLogger(__name__)

CHUNK = 512  # pictures whose results are written at once: what a killed job may lose


class UnusableError(ValueError):
    """Too many pictures cannot be used; the reasons are in the checkpoint."""


@dataclass(frozen=True)
class Asked:
    """What an index is measured with.

    Attributes:
        kind: "headlines" or "pictures".
        source: What they are, in words.
        embeddings: (n_queries, dim) float32.
    """

    kind: str
    source: str
    embeddings: FloatArray


def ask_pictures(embeddings: FloatArray) -> Asked:
    """Return pictures of the index, which find themselves first."""
    return Asked("pictures", "pictures of the index", embeddings)


def collect(
    images: Iterable[Listed],
    backbone: Backbone,
    checkpoint: BuildCheckpoint,
    *,
    engine: Engine,
    rules: ValidationRules,
    on_bad_image: str,
    max_rejected: float,
    n_threads: int,
) -> Listing:
    """Embed a collection into `checkpoint`, chunk by chunk, going on where an earlier job stopped.

    Raises:
        UnusableError: If the share of bad pictures is above `max_rejected`.
        ValueError: If a picture is bad and `on_bad_image` is "raise", or two pictures have the same
            id.
    """
    # Whole batches, so that a job that goes on has the same ones as a job that was never stopped.
    size = -(-CHUNK // backbone.batch_size) * backbone.batch_size
    listing = write_listing(images, checkpoint.folder / "listing.arrow", size)
    done = checkpoint.resume(listing)
    numbers = range(done, listing.n_chunks)
    results = engine.embed(listing, numbers, backbone, rules, n_threads)
    _check_share(checkpoint, len(listing), max_rejected)
    with tqdm(
        total=len(listing),
        initial=checkpoint.n_accepted + checkpoint.n_rejected,
        desc="Embedding",
        unit="picture",
        disable=None,
    ) as progress:
        for number in numbers:
            n_chunk = min(size, len(listing) - number * size)
            kept: list[Accepted | Rejected] = []
            for result in islice(results, n_chunk):
                kept.append(result)
                progress.update()
                if isinstance(result, Rejected) and on_bad_image == "raise":
                    raise ValueError(f"cannot use {result.uri}: {result.reason}")
            checkpoint.add(listing, number, kept)
            _check_share(checkpoint, len(listing), max_rejected)
    return listing


def _check_share(checkpoint: BuildCheckpoint, n_listed: int, max_rejected: float) -> None:
    if checkpoint.n_rejected > max_rejected * n_listed:
        raise UnusableError(
            f"{checkpoint.n_rejected} of {n_listed} pictures cannot be used, more than the share "
            f"task.max_rejected={max_rejected} allows"
        )


def train_index(index: GrowingIndex, embeddings: FloatArray) -> None:
    """Train on a random sample of the embeddings, which may lie on disk."""
    n_images = len(embeddings)
    random = np.random.default_rng(index.seed)
    drawn = random.choice(n_images, index.training_size(n_images), replace=False)
    index.train(np.ascontiguousarray(embeddings[np.sort(drawn)]), n_images)


def add_embeddings(index: GrowingIndex, embeddings: FloatArray, first_id: int) -> None:
    """Add embeddings under the ids from `first_id` on, part by part."""
    ids = np.arange(first_id, first_id + len(embeddings))
    for block, block_ids in cut_blocks(embeddings, ids):
        index.add(block, block_ids)


def embed_headlines(
    queries: Sequence[Query], source: str, backbone: Backbone, n_queries: int
) -> Asked | None:
    """Return some headlines to measure an index with; None if there are none.

    Args:
        queries: The headlines.
        source: Where they are from, in words.
        backbone: Embeds them.
        n_queries: How many of them.
    """
    if not queries:
        return None
    random = np.random.default_rng(len(queries))
    drawn = np.sort(random.choice(len(queries), min(n_queries, len(queries)), replace=False))
    texts = render_queries([queries[i] for i in drawn], backbone.query_template)
    return Asked("headlines", f"headlines of {source}", backbone.embed_texts(texts))


def measure_saved(
    saved: SavedIndex,
    index: GrowingIndex,
    backbone: Backbone,
    asked: Asked | None,
    n_queries: int,
    top_k: int,
) -> tuple[Asked, IndexQuality] | None:
    """Measure an index against an exact search of the embeddings that the backbone can find.

    The queries are those that are given, or random pictures of the index. Returns None, and says
    so, if the embedding of a picture is gone.
    """
    try:
        if asked is None:
            drawn = [saved.images[row] for row in draw_rows(saved, n_queries)]
            asked = ask_pictures(_find_rows(drawn, backbone))
        blocks = _read_blocks(saved, backbone)
        return asked, measure_quality(index, blocks, asked.embeddings, top_k)
    except LookupError as error:
        log.warning("the index is not measured: %s", error)
        return None


def measure_built(
    saved: SavedIndex,
    index: GrowingIndex,
    embeddings: FloatArray,
    asked: Asked | None,
    n_queries: int,
    top_k: int,
) -> tuple[Asked, IndexQuality]:
    """Measure an index against an exact search of its embeddings, which may lie on disk."""
    if asked is None:
        asked = ask_pictures(np.ascontiguousarray(embeddings[draw_rows(saved, n_queries)]))
    blocks = cut_blocks(embeddings, saved.images.row_ids)
    return asked, measure_quality(index, blocks, asked.embeddings, top_k)


def draw_rows(saved: SavedIndex, n_rows: int) -> IntArray:
    """Draw rows of an index, always the same ones."""
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


def read_kept_images(path: Path, removed: Collection[str] = ()) -> Iterator[pa.Table]:
    """Yield the rows of an images.parquet, without the images of some ids."""
    gone = pa.array(sorted(removed), pa.string())
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            table = pa.Table.from_batches([batch])
            for field in IMAGES:
                if field.name not in table.schema.names:  # of an older form
                    table = table.append_column(field, pa.nulls(len(table), field.type))
            table = table.select(IMAGES.names).cast(IMAGES)
            yield table.filter(pc.invert(pc.is_in(table["image_id"], gone)))


def merge_rejected(path: Path, checkpoint: BuildCheckpoint) -> Iterator[pa.Table]:
    """Yield what was rejected before and not tried again, then what is rejected now."""
    before = pq.read_table(path, schema=REJECTED)
    tried = [_uris(images) for images in checkpoint.read_images(0)]
    tried += [rejected["uri"] for rejected in checkpoint.read_rejected()]
    for uris in tried:
        before = before.filter(
            pc.invert(pc.is_in(before["uri"], pa.array(uris.to_pylist(), pa.string())))
        )
    yield before
    yield from checkpoint.read_rejected()


def _uris(images: pa.Table) -> pa.ChunkedArray:
    inside = pc.binary_join_element_wise(images["path"], images["member"], "::")
    return pc.if_else(pc.is_valid(images["member"]), inside, images["path"])


def describe_quality(measured: tuple[Asked, IndexQuality] | None) -> dict[str, Any]:
    """Return what a manifest says of a measured index, or of one that could not be measured."""
    if measured is None:
        return {"recall": {}, "ms_per_query": {}, "measured_with": None}
    asked, quality = measured
    return {
        "recall": {str(quality.top_k): quality.recall},
        "ms_per_query": {"single": quality.ms_single, "batched": quality.ms_batched},
        "measured_with": {
            "kind": asked.kind,
            "queries": asked.source,
            "n_queries": quality.n_queries,
            "n_threads": quality.n_threads,
        },
    }


def describe_contents(
    saved: SavedIndex, index: GrowingIndex, backbone: Backbone, typed: list[str]
) -> dict[str, Any]:
    """Return what a manifest says of an index and of the backbone that it was made with.

    Args:
        saved: The index with its pictures.
        index: The index itself.
        backbone: What embedded the pictures.
        typed: What chooses this backbone on the command line.
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
        "versions": describe_versions(),
    }


def describe_versions() -> dict[str, Any]:
    """Return the versions that an index depends on."""
    from importlib.metadata import version

    import faiss

    return {"newsimg": version("newsimg"), "faiss": faiss.__version__}
