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
    """

    def __init__(self, *, name: str, folder: str) -> None:
        super().__init__(name=name)
        self.folder = Path(folder).expanduser()

    def stream_images(self) -> Iterator[Listed]:
        """See `Dataset.stream_images`."""
        return refuse_none(stream_archives(self.folder, ".tar"), self.folder)
