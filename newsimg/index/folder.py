"""An index that lies in a folder: vectors, the pictures they are of, and a manifest.

vectors.faiss      the index; its ids are the `row_id` of
images.parquet     the pictures
rejected.parquet   what could not be used, and why
manifest.json      written last: what the others must be, and what they were made with
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import FloatArray, Image, IntArray
from newsimg.engine.listing import METADATA
from newsimg.index.merged_search import Searchable
from newsimg.index.mismatch import explain_mismatch
from newsimg.index.vectors import VectorIndex
from newsimg.interfaces import Backbone
from newsimg.storage.files import hash_file, hash_files, write_atomically

log = logging.getLogger(__name__)

FILES = ("vectors.faiss", "images.parquet", "rejected.parquet")
MANIFEST = "manifest.json"
UNSEARCHED = ("stamp",)  # columns that searches do not need in memory
N_CHECKED = 100  # rows that must find themselves
FOUND_WITHIN = 10  # ... among so many
MAY_MISS = 5  # rows that found themselves when the index was written, and no longer do


class SavedImages(Sequence[Image]):
    """The pictures of an index; one becomes an object when it is asked for.

    Args:
        path: images.parquet.
    """

    def __init__(self, path: Path) -> None:
        with NamedTemporaryFile() as copy, pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name not in UNSEARCHED]
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            with pa.ipc.new_file(copy.name, schema) as writer:
                for batch in file.iter_batches(4096, columns=columns):
                    writer.write_batch(batch)
            # Uncompressed, rows can be picked one by one; the mapping outlives the file's name.
            self.table = pa.ipc.open_file(pa.memory_map(copy.name)).read_all()
        self.row_ids: IntArray = self.table["row_id"].to_numpy()

    def __len__(self) -> int:
        return len(self.row_ids)

    @overload
    def __getitem__(self, position: int) -> Image: ...
    @overload
    def __getitem__(self, position: slice) -> list[Image]: ...
    def __getitem__(self, position: int | slice) -> Image | list[Image]:
        """Return the picture at a position, or those of a slice."""
        if isinstance(position, slice):
            rows = range(*position.indices(len(self)))
            if rows.step != 1:
                return [self[row] for row in rows]
            part = self.table.slice(rows.start, len(rows))
            return [_to_image(row) for row in part.to_pylist()]
        position = int(position)
        if not -len(self) <= position < len(self):
            raise IndexError(f"position must be below {len(self)}, got {position}")
        (row,) = self.table.slice(position % len(self), 1).to_pylist()
        return _to_image(row)


def _to_image(row: dict[str, Any]) -> Image:
    return Image(
        row["image_id"],
        Path(row["path"]),
        row["member"],
        row["digest"],
        row["truncated"],
        {name: row[name] for name in METADATA if row[name]},
    )


class SavedIndex:
    """An open index.

    Args:
        folder: Where images.parquet is.
        manifest: What manifest.json says, or will.
        vectors: The vectors, under the ids of images.parquet.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], vectors: Searchable) -> None:
        self.folder = folder
        self.manifest = manifest
        self.images = SavedImages(folder / "images.parquet")
        self._vectors = vectors
        if vectors.n_vectors != len(self.images):
            raise ValueError(
                f"{folder}: vectors.faiss has {vectors.n_vectors} vectors, images.parquet "
                f"{len(self.images)} pictures"
            )

    @property
    def n_vectors(self) -> int:
        """Images that can be found."""
        return self._vectors.n_vectors

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """Find the `top_k` nearest images of each query; see `Index.search`.

        Returns:
            scores: (n_queries, top_k) float32, descending.
            rows: (n_queries, top_k) int64, positions in `images`.
        """
        scores, ids = self._vectors.search(embeddings, top_k)
        return scores, np.searchsorted(self.images.row_ids, ids)  # row ids ascend


def open_saved_index(
    folder: Path,
    fingerprint: str,
    mapped: bool = False,
    hasher: Callable[[Sequence[Path]], list[str]] = hash_files,
    description: Mapping[str, Any] | None = None,
) -> SavedIndex:
    """Open an index for searching.

    Args:
        folder: Where it is.
        fingerprint: That of the backbone whose embeddings are to be searched with.
        mapped: See `VectorIndex.read`.
        hasher: Returns the SHA-256 of each file; `OutputCache.hash_files` reads what it knows only once.
        description: That backbone's, for the message that says it is another one.

    Raises:
        FileNotFoundError: If there is no complete index.
        ValueError: If a file is not the one that the manifest tells of, or the index was made with
            another backbone; names both sides.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest["files"], hasher)
    if manifest["fingerprint"] != fingerprint:
        raise ValueError(explain_mismatch(folder, manifest, fingerprint, description))
    saved = SavedIndex(folder, manifest, VectorIndex.read(folder / "vectors.faiss", mapped))
    if len(saved.images) != manifest["n_images"]:
        raise ValueError(
            f"{folder}: the manifest tells of {manifest['n_images']} pictures, images.parquet has "
            f"{len(saved.images)}"
        )
    return saved


def check_rows(saved: SavedIndex, backbone: Backbone) -> None:
    """Search for random pictures of an index by their own embeddings, mostly from the cache.

    Raises:
        ValueError: If more of them are not found than when the index was written.
    """
    n_checked, n_found = count_found(saved, backbone)
    before = saved.manifest["self_query"]
    if n_checked < before["n_checked"]:
        log.warning(
            "%s: %d of %d rows checked; of the others there is neither embedding nor picture",
            saved.folder,
            n_checked,
            before["n_checked"],
        )
    n_missed, missed_before = n_checked - n_found, before["n_checked"] - before["n_found"]
    if n_missed > missed_before + MAY_MISS:
        raise ValueError(
            f"{saved.folder}: {n_found} of {n_checked} pictures are found by their own embeddings, "
            f"{before['n_found']} of {before['n_checked']} were when it was written: its rows or "
            "the cache's are not what they should be"
        )


def count_found(saved: SavedIndex, backbone: Backbone) -> tuple[int, int]:
    """Return how many random rows were searched for, and how many of them were found."""
    n_images = len(saved.images)
    random = np.random.default_rng(n_images)
    positions = np.sort(random.choice(n_images, min(N_CHECKED, n_images), replace=False))
    images, rows = [], []
    sample = [saved.images[position] for position in positions]
    for image, row in zip(sample, backbone.find_embeddings(sample), strict=True):
        if row is None and image.path.is_file():
            row = backbone.embed_images([image])[0]
        if row is not None:
            images.append(image)
            rows.append(row)
    if not rows:
        return 0, 0
    _, found = saved.search(np.stack(rows), min(FOUND_WITHIN, n_images))
    n_found = sum(
        any(saved.images[position].digest == image.digest for position in nearest)
        for image, nearest in zip(images, found, strict=True)
    )
    return len(rows), n_found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a folder's manifest says.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"no index in {folder}: it has no {MANIFEST}, which newsimg task=index writes last"
        )
    return json.loads(path.read_text())


def install(staging: Path, folder: Path, manifest: dict[str, Any] | None) -> None:
    """Let the files in `staging` take the place of those in `folder`, the manifest last.

    From the moment when the manifest is in `staging` this can be done again after a crash.

    Args:
        staging: A folder on the same disk, with all of `FILES`.
        folder: Where the index is to be.
        manifest: What to say of the files; None if it is in `staging` already.
    """
    if manifest is not None:
        files = {
            name: {"sha256": hash_file(staging / name), "n_bytes": (staging / name).stat().st_size}
            for name in FILES
        }
        with write_atomically(staging / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest | {"files": files}, indent=2))
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in (*FILES, MANIFEST):
        if (staging / name).is_file():  # otherwise it was moved before the crash
            (staging / name).replace(folder / name)


def _check_files(
    folder: Path, described: dict[str, Any], hasher: Callable[[Sequence[Path]], list[str]]
) -> None:
    paths = [folder / name for name in FILES]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}, which {MANIFEST} tells of")
        n_bytes, expected = path.stat().st_size, described[path.name]["n_bytes"]
        if n_bytes != expected:
            raise ValueError(f"{path} has {n_bytes} bytes, {MANIFEST} says {expected}")
    for path, found in zip(paths, hasher(paths), strict=True):
        expected = described[path.name]["sha256"]
        if found != expected:
            raise ValueError(f"{path} has sha256 {found}, {MANIFEST} says {expected}")
