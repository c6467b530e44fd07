"""A table of pictures, with what is known of them."""

from collections.abc import Iterator
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.tables import METADATA, locate_picture, stream_table


class TableDataset(PictureCollection):
    """A Parquet or CSV file with a row for each picture.

    The columns licence, title, author and page_url are kept with the picture, where they are there.

    Args:
        name: What to call the collection.
        path: The table: .parquet, or .csv in UTF-8 with a header row.
        path_column: The pictures' paths or file:// URLs; relative ones start at the table's folder.
        id_column: Their ids; null: the paths as they stand.
    """

    def __init__(self, *, name: str, path: str, path_column: str, id_column: str | None) -> None:
        super().__init__(name=name)
        self.path = Path(path).expanduser()
        self.path_column = path_column
        self.id_column = id_column

    def stream_images(self) -> Iterator[Image]:
        """See `Dataset.stream_images`. Images come in the table's order.

        Raises:
            FileNotFoundError: If the table is not there.
            ValueError: If a column is missing, a path or id is empty, or a URL is not on disk.
        """
        required = [self.path_column, *([self.id_column] if self.id_column else [])]
        for row, values in enumerate(stream_table(self.path, required, METADATA), start=1):
            for column in required:
                if not values[column]:
                    raise ValueError(f"{self.path}: empty {column} (row {row})")
            place = values[self.path_column]
            try:
                picture = locate_picture(place, self.path.absolute().parent)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error} (row {row})") from error
            yield Image(
                make_image_id(values[self.id_column] if self.id_column else place),
                picture,
                metadata={name: values[name] for name in METADATA if values.get(name)},
            )
