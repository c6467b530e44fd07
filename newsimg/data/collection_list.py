"""A text file that lists pictures."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.files import read_lines


class ListDataset(PictureCollection):
    """A path on each line; an image id is the line as it stands.

    Args:
        name: What to call the collection.
        path: The list, in UTF-8. Relative paths in it start at its own folder.
        id_prefix: What stands before each id, as `cam24/`.
    """

    def __init__(self, *, name: str, path: str, id_prefix: str = "") -> None:
        super().__init__(name=name, id_prefix=id_prefix)
        self.path = Path(path).expanduser()

    def list_images(self) -> Iterator[Image]:
        """See `PictureCollection.list_images`. Images come in the list's order.

        Raises:
            FileNotFoundError: If the list is not there.
            ValueError: If a line is not UTF-8 or has a NUL character, which is named, or no line is
                there.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"no list of pictures {self.path}")
        folder = self.path.absolute().parent
        empty = True
        for _, place in read_lines(self.path):
            if place:
                empty = False
                yield Image(make_image_id(place), folder / place)
        if empty:
            raise ValueError(f"no pictures in {self.path}: write the path of one in each line")
