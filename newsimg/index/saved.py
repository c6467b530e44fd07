"""Saved indexes written by `task=index`, searched as one."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from newsimg.datatypes import FloatArray, Image, IntArray
from newsimg.index.folder import SavedIndex, check_rows, open_saved_index
from newsimg.index.gpu import check_device
from newsimg.index.merged_search import search_merged
from newsimg.interfaces import Backbone, Index
from newsimg.storage.cached_models import hash_files


class SavedIndexes(Index):
    """One or several saved indexes, merged exactly; opened and checked at first use.

    Args:
        folders: Index folders.
        backbone: The run's backbone, which must be the one that the indexes were built with.
        mapped: Memory-map the vectors instead of loading them; the first searches are slower.
        device: "cpu", or "cuda" to search on a GPU; see `check_device`.

    Raises:
        ValueError: If there are no folders, or a folder occurs twice.
    """

    def __init__(
        self, *, folders: list[str], backbone: Backbone, mapped: bool, device: str = "cpu"
    ) -> None:
        if not isinstance(folders, list) or not folders or len(set(folders)) < len(folders):
            raise ValueError(f"index.folders must be a list of different folders, got {folders!r}")
        self.folders = [Path(folder).expanduser() for folder in folders]
        self.backbone = backbone
        check_device(device)
        self.mapped = mapped
        self.device = device

    @property
    def images(self) -> "MergedImages":
        """The pictures of all folders, in image-id order."""
        return self._merged

    def build(self, embeddings: FloatArray) -> None:
        """Raise an error: saved indexes are built by `task=index`.

        Raises:
            ValueError: Always.
        """
        raise ValueError("index=saved cannot be built from a collection: use newsimg task=index")

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        """See `Index.search`; rows are positions in `images`."""
        parts = self._merged.parts
        return search_merged(parts, [0] * len(parts), embeddings, top_k)

    @cached_property
    def _merged(self) -> "MergedImages":
        opened = []
        for folder in self.folders:
            opened.append(
                open_saved_index(
                    folder,
                    self.backbone.fingerprint,
                    self.mapped,
                    self.device,
                    partial(hash_files, self.backbone),
                    self.backbone.description,
                )
            )
            check_rows(opened[-1], self.backbone)
        return MergedImages(opened)


class MergedImages(Sequence[Image]):
    """The pictures of several indexes, in image-id order.

    Args:
        indexes: The opened indexes.

    Raises:
        ValueError: If two indexes have a picture with the same id; names both.
    """

    def __init__(self, indexes: Sequence[SavedIndex]) -> None:
        self.indexes = indexes
        ids = pa.chunked_array(
            [chunk for one in indexes for chunk in one.images.table["image_id"].chunks],
            pa.string(),
        )
        sizes = [len(one.images) for one in indexes]
        self._starts = np.cumsum([0, *sizes])
        order = np.arange(len(ids))
        if not pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py():
            order = pc.sort_indices(ids).to_numpy().astype(np.int64)
            self._check_ids(ids.take(pa.array(order)), order)
        self._order = order
        positions = np.empty_like(order)
        positions[order] = np.arange(len(order))
        self.parts = [
            _ReorderedIndex(one, positions[start : start + size])
            for one, start, size in zip(indexes, self._starts, sizes, strict=False)
        ]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, position: int) -> Image: ...
    @overload
    def __getitem__(self, position: slice) -> list[Image]: ...
    def __getitem__(self, position: int | slice) -> Image | list[Image]:
        """Return the picture at a position, or the list of pictures of a slice."""
        if isinstance(position, slice):
            rows = self._order[position]
            if len(rows) and (np.diff(rows) == 1).all():  # of one folder: read at once
                (part, first), (last_part, last) = (self._locate(int(rows[i])) for i in (0, -1))
                if part == last_part:
                    return self.indexes[part].images[first : last + 1]
            return [self[i] for i in range(*position.indices(len(self)))]
        part, row = self._locate(int(self._order[position]))
        return self.indexes[part].images[row]

    def read_ids(self) -> Iterator[pa.Array]:
        """Yield the ids of all pictures in chunks, in the order of the folders."""
        for one in self.indexes:
            yield from one.images.table["image_id"].chunks

    def _locate(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, row - int(self._starts[part])

    def _check_ids(self, ids: pa.ChunkedArray, order: IntArray) -> None:
        is_duplicate = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy()
        for position in np.flatnonzero(is_duplicate)[:1]:
            first, second = (
                self.indexes[self._locate(int(row))[0]].folder for row in order[position:][:2]
            )
            raise ValueError(
                f"{first} and {second} both have a picture with the id {ids[int(position)]}"
            )


class _ReorderedIndex:
    """One of the indexes, with rows mapped to positions in the merged pictures."""

    def __init__(self, index: SavedIndex, positions: IntArray) -> None:
        self._index = index
        self._positions = positions

    @property
    def n_vectors(self) -> int:
        return self._index.n_vectors

    def search(self, embeddings: FloatArray, top_k: int) -> tuple[FloatArray, IntArray]:
        scores, rows = self._index.search(embeddings, top_k)
        return scores, self._positions[rows]
