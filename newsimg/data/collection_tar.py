"""Tar archives such as WebDataset shards, read without unpacking."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import require_pictures, stream_archives
from newsimg.datatypes import Listed


class TarDataset(PictureCollection):
    """The pictures in tar files. An image id is the archive's path and the member's name.

    A .txt file of the same name is the caption of a picture, a .json file its metadata by field.

    Args:
        name: Name of the collection.
        folder: Folder of archives, at any depth, or a single archive.
        id_prefix: Prefix of each id, such as `cam24/`.
        filter: Conditions on the pictures; see `make_filter`.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        id_prefix: str = "",
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name=name, id_prefix=id_prefix, filter=filter)
        self.folder = Path(folder).expanduser()

    def list_images(self) -> Iterator[Listed]:
        """See `PictureCollection.list_images`."""
        return require_pictures(stream_archives(self.folder, ".tar"), self.folder)
