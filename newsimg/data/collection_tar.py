"""WebDataset's tar shards, read where they lie."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import refuse_none, stream_archives
from newsimg.datatypes import Listed


class TarDataset(PictureCollection):
    """The pictures in tar files; an image id is the archive's path and the member's name.

    Args:
        name: What to call the collection.
        folder: Where the archives are, at any depth; or a single archive.
        id_prefix: What stands before each id, as `cam24/`.
    """

    def __init__(self, *, name: str, folder: str, id_prefix: str = "") -> None:
        super().__init__(name=name, id_prefix=id_prefix)
        self.folder = Path(folder).expanduser()

    def list_images(self) -> Iterator[Listed]:
        """See `PictureCollection.list_images`."""
        return refuse_none(stream_archives(self.folder, ".tar"), self.folder)
