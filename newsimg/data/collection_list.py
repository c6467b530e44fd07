"""A text file of picture paths."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.files import read_lines


class ListDataset(PictureCollection):
    """The pictures listed in a text file, one path per line. An image id is the unchanged line.

    Args:
        name: Name of the collection.
        path: The list, in UTF-8.
        root: Folder that relative paths in it are relative to; None for its own.
        id_prefix: Prefix of each id, such as `cam24/`.
        filter: Conditions on the pictures; see `make_filter`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        root: str | None = None,
        id_prefix: str = "",
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name=name, id_prefix=id_prefix, filter=filter)
        self.path = Path(path).expanduser()
        self.root = Path(root).expanduser() if root else self.path.parent

    def list_images(self) -> Iterator[Image]:
        """See `PictureCollection.list_images`. Images come in the list's order.

        Raises:
            FileNotFoundError: If the list does not exist.
            ValueError: If the list is empty, or a line is not UTF-8 or has a NUL character; names
                the line.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"no list of pictures at {self.path}")
        folder = self.root.absolute()
        empty = True
        for _, place in read_lines(self.path):
            if place:
                empty = False
                yield Image(make_image_id(place), folder / place)
        if empty:
            raise ValueError(f"no pictures in {self.path}: write one path per line")
