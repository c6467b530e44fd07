"""A table of pictures with metadata."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from newsimg.data.base import PictureCollection
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.metadata.fields import COLUMNS, clean_metadata
from newsimg.storage.tables import locate_picture, stream_places, stream_table


class TableDataset(PictureCollection):
    """The pictures of a Parquet or CSV file.

    Columns with the names of metadata (title, caption, keywords, date, place, credit, source,
    author, licence, page_url, or description, tags, license ...) become metadata.

    Args:
        name: Name of the collection.
        path: The table: .parquet, or .csv in UTF-8 with a header row.
        path_column: Column of paths or file:// URLs; relative paths are relative to the table's
            folder. In a Parquet file also a column of pictures: bytes, structs of bytes and path,
            or lists of these.
        id_column: Column of ids; null uses the unchanged path or, for bytes without a path, the
            table's name and the row number from 0. The position in the row is appended if a row
            has several pictures.
        id_prefix: Prefix of each id, such as `cam24/`.
        filter: Conditions on the pictures; see `make_filter`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        path_column: str,
        id_column: str | None,
        id_prefix: str = "",
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name=name, id_prefix=id_prefix, filter=filter)
        self.path = Path(path).expanduser()
        self.path_column = path_column
        self.id_column = id_column

    def list_images(self) -> Iterator[Image]:
        """See `PictureCollection.list_images`. Images come in the table's order.

        Raises:
            FileNotFoundError: If the table does not exist.
            ValueError: If a column is missing or has an unsupported type, a path or id is empty, a
                URL is not a file:// URL, or there are no rows.
        """
        required = [self.id_column] if self.id_column else []
        places = stream_places(self.path, self.path_column)
        rows = stream_table(self.path, required, COLUMNS)
        row = -1
        for row, (cells, values) in enumerate(zip(places, rows, strict=True)):
            if self.id_column and not values[self.id_column]:
                raise ValueError(f"{self.path}: empty {self.id_column} (row {row + 1})")
            metadata, _ = clean_metadata(values)
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
