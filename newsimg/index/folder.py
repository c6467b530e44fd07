"""A saved index: a folder with the vectors, the pictures' metadata and a manifest.

vectors.faiss      the index; its ids are the column `row_id` of images.parquet
images.parquet     one row per picture
rejected.parquet   the rejected files, each with a reason
manifest.json      written last: size and hash of the other files, build settings
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from newsimg.datatypes import FloatArray, Image, IntArray
from newsimg.index.merged_search import Searchable
from newsimg.index.mismatch import explain_mismatch
from newsimg.index.vectors import VectorIndex
from newsimg.interfaces import Backbone
from newsimg.storage.files import (
    hash_file,
    hash_files,
    name_full_disk,
    read_checked_json,
    write_checked_json,
)
from newsimg.storage.metadata.fields import METADATA

log = logging.getLogger(__name__)

FILES = ("vectors.faiss", "images.parquet", "rejected.parquet")
MANIFEST = "manifest.json"
# Columns of images.parquet that a search does not need in memory: size and modification time of the
# file, and the number of metadata values cut or dropped.
BUILD_COLUMNS = ("stamp", "n_cut")
N_CHECKED = 100  # sampled pictures that are searched for by their own embeddings
SELF_QUERY_TOP_K = 10  # a picture is found if it is among the first SELF_QUERY_TOP_K results
MAX_NEWLY_MISSED = 5  # pictures found when the index was written that may be missed now


class SavedImages(Sequence[Image]):
    """The pictures of an index; `Image` objects are created on access.

    Args:
        path: Path of images.parquet.
    """

    def __init__(self, path: Path) -> None:
        with (
            NamedTemporaryFile() as copy,
            name_full_disk(Path(copy.name)),
            pq.ParquetFile(path) as file,
        ):
            columns = [name for name in file.schema_arrow.names if name not in BUILD_COLUMNS]
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            with pa.ipc.new_file(copy.name, schema) as writer:
                for batch in file.iter_batches(4096, columns=columns):
                    writer.write_batch(batch)
            # Uncompressed for random access; the memory map stays valid after the file is deleted.
            self.table = pa.ipc.open_file(pa.memory_map(copy.name)).read_all()
        self.row_ids: IntArray = self.table["row_id"].to_numpy()

    def __len__(self) -> int:
        return len(self.row_ids)

    @overload
    def __getitem__(self, position: int) -> Image: ...
    @overload
    def __getitem__(self, position: slice) -> list[Image]: ...
    def __getitem__(self, position: int | slice) -> Image | list[Image]:
        """Return the picture at a position, or the list of pictures of a slice."""
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
        {name: row[name] for name in METADATA if row.get(name)},  # older folders have fewer
    )


class SavedIndex:
    """An index opened for searching.

    Args:
        folder: Folder of images.parquet.
        manifest: Contents of manifest.json, which may not be written yet.
        vectors: The vectors, with the ids of images.parquet.
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
        """Number of searchable images."""
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
    device: str = "cpu",
    hasher: Callable[[Sequence[Path]], list[str]] = hash_files,
    description: Mapping[str, Any] | None = None,
) -> SavedIndex:
    """Open an index for searching and check its files.

    Args:
        folder: Folder of the index.
        fingerprint: Fingerprint of the backbone that embeds the queries.
        mapped: See `VectorIndex.read`.
        device: See `VectorIndex`.
        hasher: Returns the SHA-256 of each file; `OutputCache.hash_files` reads unchanged files
            only once.
        description: Description of that backbone, for the error message on a mismatch.

    Raises:
        FileNotFoundError: If there is no complete index.
        ValueError: If a file differs from the manifest, or the index was built with another
            backbone; names both backbones.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest["files"], hasher)
    if manifest["fingerprint"] != fingerprint:
        raise ValueError(explain_mismatch(folder, manifest, fingerprint, description))
    vectors = VectorIndex.read(folder / "vectors.faiss", mapped, device)
    saved = SavedIndex(folder, manifest, vectors)
    if len(saved.images) != manifest["n_images"]:
        raise ValueError(
            f"{folder}: {MANIFEST} lists {manifest['n_images']} pictures, images.parquet has "
            f"{len(saved.images)}"
        )
    return saved


def check_rows(saved: SavedIndex, backbone: Backbone) -> None:
    """Check that random pictures of an index are found by their own (mostly cached) embeddings.

    Raises:
        ValueError: If clearly fewer are found than when the index was written.
    """
    n_checked, n_found = count_found(saved, backbone)
    before = saved.manifest["self_query"]
    if n_checked < before["n_checked"]:
        log.warning(
            "%s: %d of %d rows checked; the others have neither a cached embedding nor a file",
            saved.folder,
            n_checked,
            before["n_checked"],
        )
    n_missed, missed_before = n_checked - n_found, before["n_checked"] - before["n_found"]
    if n_missed > missed_before + MAX_NEWLY_MISSED:
        raise ValueError(
            f"{saved.folder}: {n_found} of {n_checked} pictures are found by their own embeddings, "
            f"{before['n_found']} of {before['n_checked']} when the index was written: the index "
            "or the cache is inconsistent; build the index again"
        )


def count_found(saved: SavedIndex, backbone: Backbone) -> tuple[int, int]:
    """Return how many sampled pictures were searched for, and how many of them were found."""
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
    _, found = saved.search(np.stack(rows), min(SELF_QUERY_TOP_K, n_images))
    n_found = sum(
        any(saved.images[position].digest == image.digest for position in nearest)
        for image, nearest in zip(images, found, strict=True)
    )
    return len(rows), n_found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an index folder.

    Raises:
        FileNotFoundError: If the folder has no manifest.
        ValueError: If the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"no complete index in {folder}: {MANIFEST} is missing, which newsimg task=index "
            "writes last"
        )
    return read_checked_json(path)


def install_files(staging: Path, folder: Path, manifest: dict[str, Any] | None) -> None:
    """Move the files of `staging` to `folder`, replacing those there, the manifest last.

    Once the manifest is in `staging`, the function can be called again after a crash.

    Args:
        staging: A folder on the same file system with all of `FILES`.
        folder: Folder of the index.
        manifest: Manifest to write, without the file hashes; None if `staging` has one already.
    """
    if manifest is not None:
        files = {
            name: {"sha256": hash_file(staging / name), "n_bytes": (staging / name).stat().st_size}
            for name in FILES
        }
        write_checked_json(staging / MANIFEST, manifest | {"files": files})
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in (*FILES, MANIFEST):
        if (staging / name).is_file():  # else it was moved before the crash
            (staging / name).replace(folder / name)


def _check_files(
    folder: Path, listed: dict[str, Any], hasher: Callable[[Sequence[Path]], list[str]]
) -> None:
    paths = [folder / name for name in FILES]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}, which {MANIFEST} lists")
        n_bytes, expected = path.stat().st_size, listed[path.name]["n_bytes"]
        if n_bytes != expected:
            raise ValueError(f"{path} has {n_bytes} bytes, {MANIFEST} says {expected}")
    for path, found in zip(paths, hasher(paths), strict=True):
        expected = listed[path.name]["sha256"]
        if found != expected:
            raise ValueError(f"{path} has sha256 {found}, {MANIFEST} says {expected}")
