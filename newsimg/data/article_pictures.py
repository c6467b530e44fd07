"""Lookup of pictures by image id in a folder."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from newsimg.data.folder_listing import stream_folder
from newsimg.datatypes import Image, make_image_id
from newsimg.storage.pictures.formats import EXTENSIONS


class PictureFolder:
    """The pictures below a folder, identified by their file names without extension.

    Hidden files are ignored. Names are normalised to NFC, because file systems may change the form.

    Args:
        folder: Folder of the pictures, at any depth.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of pictures at {folder}")
        self.folder = folder
        self._paths: dict[str, list[Path]] = {}
        for found in stream_folder(folder):
            if not isinstance(found, Image):
                continue
            path = found.path
            stem = unicodedata.normalize("NFC", path.stem)
            image_id = make_image_id(stem) if re.search(r"\s", stem) else stem
            self._paths.setdefault(image_id, []).append(path)

    def locate(self, image_ids: Sequence[str]) -> dict[str, str]:
        """Map each id in the data to the id of a picture; missing pictures are omitted.

        An id in the data may include the file extension.
        """
        found = {}
        for given in image_ids:
            own = PurePath(given)
            if given in self._paths:
                found[given] = given
            elif own.suffix.lower() in EXTENSIONS and own.stem in self._paths:
                found[given] = own.stem
        return found

    def list_ids(self) -> list[str]:
        """Return the ids of all pictures, sorted."""
        return sorted(self._paths)

    def open(self, image_ids: Sequence[str]) -> Mapping[str, Path]:
        """Return the path of each picture.

        Raises:
            ValueError: If two pictures have the same id; names both.
        """
        for image_id in image_ids:
            if len(paths := self._paths[image_id]) > 1:
                raise ValueError(f"two pictures for one image id: {paths[0]} and {paths[1]}")
        return {image_id: self._paths[image_id][0] for image_id in image_ids}
