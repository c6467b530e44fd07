"""A table of pictures, with what is known of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.tables import METADATA, locate_picture, stream_places, stream_table


class TableDataset(PictureCollection):
    """A Parquet or CSV file with a row for each picture.

    The columns licence, title, author and page_url are kept with the picture, where they are there.

    Args:
        name: What to call the collection.
        path: The table: .parquet, or .csv in UTF-8 with a header row.
        path_column: The pictures' paths or file:// URLs; relative ones start at the table's folder.
            In a Parquet file also the pictures themselves, as bytes, as structs of bytes and path,
            or as lists of such.
        id_column: Their ids; null: the paths as they stand, and the table's name and the row's
            number from 0 for bytes without a path. Of several pictures in a row, the position in
            it comes behind.
        id_prefix: What stands before each id, as `cam24/`.
    """

    def __init__(
        self, *, name: str, path: str, path_column: str, id_column: str | None, id_prefix: str = ""
    ) -> None:
        super().__init__(name=name, id_prefix=id_prefix)
        self.path = Path(path).expanduser()
        self.path_column = path_column
        self.id_column = id_column

    def list_images(self) -> Iterator[Image]:
        """See `PictureCollection.list_images`. Images come in the table's order.

        Raises:
            FileNotFoundError: If the table is not there.
            ValueError: If a column is missing or of a type that cannot be, a picture or id is
                empty, a URL is not on disk, or there are no rows.
        """
        required = [self.id_column] if self.id_column else []
        places = stream_places(self.path, self.path_column)
        rows = stream_table(self.path, required, METADATA)
        row = -1
        for row, (cells, values) in enumerate(zip(places, rows, strict=True)):
            if self.id_column and not values[self.id_column]:
                raise ValueError(f"{self.path}: empty {self.id_column} (row {row + 1})")
            metadata = {name: values[name] for name in METADATA if values.get(name)}
            for position, (place, member) in enumerate(cells):
                try:
                    picture = self._locate(place, member)
                except ValueError as error:
                    raise ValueError(f"{self.path}: {error} (row {row + 1})") from error
                image_id = self._name(row, values, place)
                if len(cells) > 1 and (self.id_column or not place):
                    image_id += f"/{position}"
                yield Image(image_id, picture, member, metadata=metadata)
        if row < 0:
            raise ValueError(f"no pictures in {self.path}: it has no rows")

    def _locate(self, place: str | None, member: str | None) -> Path:
        if member is not None:
            return self.path.absolute()
        if not place:
            raise ValueError(f"empty {self.path_column}")
        return locate_picture(place, self.path.absolute().parent)

    def _name(self, row: int, values: Mapping[str, str], place: str | None) -> str:
        text = values[self.id_column] if self.id_column else place or f"{self.path.name}/{row}"
        return make_image_id(text)
