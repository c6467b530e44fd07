"""A text file that lists pictures."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id


class ListDataset(PictureCollection):
    """A path on each line; an image id is the line as it stands.

    Args:
        name: What to call the collection.
        path: The list, in UTF-8. Relative paths in it start at its own folder.
    """

    def __init__(self, *, name: str, path: str) -> None:
        super().__init__(name=name)
        self.path = Path(path).expanduser()

    def stream_images(self) -> Iterator[Image]:
        """See `Dataset.stream_images`. Images come in the list's order."""
        if not self.path.is_file():
            raise FileNotFoundError(f"no list of pictures {self.path}")
        folder = self.path.absolute().parent
        with self.path.open(encoding="utf-8-sig") as lines:
            for line in lines:
                if place := line.rstrip("\r\n"):
                    yield Image(make_image_id(place), folder / place)
