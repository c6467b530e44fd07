"""A folder of pictures, at any depth."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection, stream_folder
from newsimg.datatypes import Image


class FolderDataset(PictureCollection):
    """The pictures below a folder; an image id is the path within it, extension included.

    Args:
        name: What to call the collection.
        folder: Where the pictures are.
    """

    def __init__(self, *, name: str, folder: str) -> None:
        super().__init__(name=name)
        self.folder = Path(folder).expanduser()

    def stream_images(self) -> Iterator[Image]:
        """See `Dataset.stream_images`."""
        return stream_folder(self.folder)
