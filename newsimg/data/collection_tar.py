"""Tar archives such as WebDataset shards, read without unpacking."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import require_pictures, stream_archives
from newsimg.datatypes import Listed


class TarDataset(PictureCollection):
    """The pictures in tar files. An image id is the archive's path and the member's name.

    Args:
        name: Name of the collection.
        folder: Folder of archives, at any depth, or a single archive.
        id_prefix: Prefix of each id, such as `cam24/`.
    """

    def __init__(self, *, name: str, folder: str, id_prefix: str = "") -> None:
        super().__init__(name=name, id_prefix=id_prefix)
        self.folder = Path(folder).expanduser()

    def list_images(self) -> Iterator[Listed]:
        """See `PictureCollection.list_images`."""
        return require_pictures(stream_archives(self.folder, ".tar"), self.folder)
