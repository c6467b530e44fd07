"""Zip shards, such as YFCC100M's, read where they lie."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import cast

from newsimg.data.base import PictureCollection
from newsimg.data.folder_listing import refuse_none, stream_archives
from newsimg.datatypes import Image, Listed
from newsimg.reporting.console import console
from newsimg.storage.tables import add_metadata


class ZipDataset(PictureCollection):
    """The pictures in zip files; an image id is the archive's path and the member's name.

    Where `000.parquet` lies beside `000.zip`, its columns licence, title, author and page_url are
    kept with the picture that its column member names.

    Args:
        name: What to call the collection.
        folder: Where the archives are, at any depth; or a single archive.
        licences: Take only pictures of these licences, as the tables write them; null: all.

    Raises:
        ValueError: If `licences` is not a list of names.
    """

    def __init__(self, *, name: str, folder: str, licences: Sequence[str] | None) -> None:
        super().__init__(name=name)
        if licences is not None and (
            isinstance(licences, str)
            or not licences
            or not all(isinstance(one, str) for one in licences)
        ):
            raise ValueError(f"data.licences must be a list of names or null, got {licences!r}")
        self.folder = Path(folder).expanduser()
        self.licences = licences

    def stream_images(self) -> Iterator[Listed]:
        """See `Dataset.stream_images`. Tells at the end how many pictures `licences` leaves out.

        Raises:
            FileNotFoundError: If `licences` is given and an archive has no table beside it.
            ValueError: If a table cannot be read, or no picture has one of the licences.
        """
        n_kept, left_out = 0, Counter[str]()
        listed = refuse_none(stream_archives(self.folder, ".zip"), self.folder)
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
                    n_kept += 1
                    yield image
                else:
                    left_out[licence] += 1
        if left_out:
            others = ", ".join(f"{name}: {count}" for name, count in left_out.most_common())
            told = (
                f"{left_out.total()} of {n_kept + left_out.total()} pictures are left out, {others}"
            )
            if not n_kept:
                raise ValueError(f"no picture has a licence of data.licences: {told}")
            console.print(told)


def _find_archive(found: Listed) -> Path | None:
    """Return a picture's archive; what is no picture comes in front of an archive's pictures."""
    return found.path if isinstance(found, Image) else None
