"""A folder of pictures, at any depth."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import require_pictures, stream_folder
from newsimg.datatypes import Listed


class FolderDataset(PictureCollection):
    """The pictures below a folder. An image id is the path below the folder, with extension.

    Args:
        name: Name of the collection.
        folder: Folder of the pictures.
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
        return require_pictures(stream_folder(self.folder), self.folder)
