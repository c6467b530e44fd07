"""Metadata that are read from a picture when they are needed."""

from collections.abc import Iterator, Mapping

from newsimg.datatypes import Image


class PictureMetadata(Mapping[str, str]):
    """The metadata of a picture on disk, which is read when a value that is not given is needed.

    Args:
        image: The picture; its own metadata come first.
    """

    def __init__(self, image: Image) -> None:
        self._given = image.metadata or {}
        self._image = image
        self._values: Mapping[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._given[name] if self._given.get(name) else self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, str]:
        if self._values is None:
            # These import Pillow, which a search without metadata does not need.
            from newsimg.storage.metadata.reading import add_embedded
            from newsimg.storage.pictures.images import read_image

            try:
                content = read_image(self._image)
            except (OSError, ValueError):  # whoever needs the pixels says why
                content = b""
            self._values = add_embedded(self._given, content)[0]
        return self._values


def with_metadata(image: Image) -> Image:
    """Return the picture with its own metadata, read when they are needed."""
    if isinstance(image.metadata, PictureMetadata):
        return image
    known = PictureMetadata(image)
    return Image(image.image_id, image.path, image.member, image.digest, image.truncated, known)
