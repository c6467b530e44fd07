"""A folder of pictures, at any depth."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import refuse_none, stream_folder
from newsimg.datatypes import Listed


class FolderDataset(PictureCollection):
    """The pictures below a folder; an image id is the path within it, extension included.

    Args:
        name: What to call the collection.
        folder: Where the pictures are.
    """

    def __init__(self, *, name: str, folder: str) -> None:
        super().__init__(name=name)
        self.folder = Path(folder).expanduser()

    def stream_images(self) -> Iterator[Listed]:
        """See `Dataset.stream_images`."""
        return refuse_none(stream_folder(self.folder), self.folder)
