"""Zip archives such as YFCC100M shards, read without unpacking."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import require_pictures, stream_archives
from newsimg.datatypes import Image, Listed
from newsimg.storage.tables import add_metadata

log = logging.getLogger(__name__)


class ZipDataset(PictureCollection):
    """The pictures in zip files. An image id is the archive's path and the member's name.

    If there is a table `000.parquet` beside `000.zip`, its columns with the names of
    metadata, such as title, tags or licence, describe the pictures, joined by its column member.

    Args:
        name: Name of the collection.
        folder: Folder of archives, at any depth, or a single archive.
        licences: Licences to include, as written in the tables; null includes all pictures.
        id_prefix: Prefix of each id, such as `cam24/`.
        filter: Conditions on the pictures; see `make_filter`.

    Raises:
        ValueError: If `licences` is not a list of strings.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        licences: Sequence[str] | None,
        id_prefix: str = "",
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name=name, id_prefix=id_prefix, filter=filter)
        if licences is not None and (
            isinstance(licences, str)
            or not licences
            or not all(isinstance(one, str) for one in licences)
        ):
            raise ValueError(f"data.licences must be a list of names or null, got {licences!r}")
        self.folder = Path(folder).expanduser()
        self.licences = licences

    def list_images(self) -> Iterator[Listed]:
        """See `PictureCollection.list_images`. Logs how many pictures `licences` excludes.

        Raises:
            FileNotFoundError: If `licences` is given and an archive has no table.
            ValueError: If a table cannot be read, or no picture has one of the licences.
        """
        n_included, excluded = 0, Counter[str]()
        listed = require_pictures(stream_archives(self.folder, ".zip"), self.folder)
        for path, found in groupby(listed, _find_archive):
            if path is None:
                yield from found
                continue
            images = cast("Iterator[Image]", found)
            table = path.with_suffix(".parquet")
            if self.licences is None:
                yield from add_metadata(images, table) if table.is_file() else images
                continue
            for image in add_metadata(images, table):
                licence = (image.metadata or {}).get("licence", "unknown")
                if licence in self.licences:
                    n_included += 1
                    yield image
                else:
                    excluded[licence] += 1
        if excluded:
            others = ", ".join(f"{name}: {count}" for name, count in excluded.most_common())
            n_listed = n_included + excluded.total()
            summary = f"{excluded.total()} of {n_listed} pictures are excluded, {others}"
            if not n_included:
                raise ValueError(f"no picture has a licence of data.licences: {summary}")
            log.info(summary)


def _find_archive(found: Listed) -> Path | None:
    """Return a picture's archive; None for other results, which precede an archive's pictures."""
    return found.path if isinstance(found, Image) else None
