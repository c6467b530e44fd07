"""Which picture an image id means: a folder of pictures that are named by id, at any depth."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from newsimg.data.base import make_image_id, walk_files
from newsimg.storage.pictures.images import EXTENSIONS


class PictureFolder:
    """The pictures of a folder, by file name without the extension.

    Hidden files, such as those that macOS leaves beside others, are no pictures. Names are compared
    in Unicode's composed form, which file systems may change.

    Args:
        folder: Where they are.

    Raises:
        FileNotFoundError: If the folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of pictures {folder}")
        self.folder = folder
        self._paths: dict[str, list[Path]] = {}
        for _, path in walk_files(folder, EXTENSIONS):
            stem = unicodedata.normalize("NFC", path.stem)
            image_id = make_image_id(stem) if re.search(r"\s", stem) else stem
            self._paths.setdefault(image_id, []).append(path)

    def locate(self, image_ids: Sequence[str]) -> dict[str, str]:
        """Return the ids that pictures have, by what they are called; without those not there.

        An id may be written with the picture's extension.
        """
        found = {}
        for written in image_ids:
            own = PurePath(written)
            if written in self._paths:
                found[written] = written
            elif own.suffix.lower() in EXTENSIONS and own.stem in self._paths:
                found[written] = own.stem
        return found

    def list_ids(self) -> list[str]:
        """Return the ids of all pictures."""
        return sorted(self._paths)

    def open(self, image_ids: Sequence[str]) -> Mapping[str, Path]:
        """Return the file of each picture.

        Raises:
            ValueError: If there are two of one id; names both.
        """
        for image_id in image_ids:
            if len(paths := self._paths[image_id]) > 1:
                raise ValueError(f"two pictures for one image id: {paths[0]} and {paths[1]}")
        return {image_id: self._paths[image_id][0] for image_id in image_ids}
