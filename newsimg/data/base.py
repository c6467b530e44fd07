"""Pictures without articles: what folders, lists, tables and archives of them share.

An image id is where the picture lies within its collection: the path below the folder, with the
archive's name in front of a member's. White space and % in it become %20, %25 and so on, since
TREC's files are separated by spaces.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from newsimg.datatypes import Collection, Image
from newsimg.interfaces import Dataset
from newsimg.storage.pictures.archives import list_members
from newsimg.storage.pictures.images import EXTENSIONS


class PictureCollection(Dataset):
    """Pictures only. `stream_images` is what a collection adds; it lists and opens nothing.

    Args:
        name: What to call the collection.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name

    def load(self) -> Collection:
        """See `Dataset.load`. There are no queries; all images are in memory at once.

        Raises:
            ValueError: If two pictures have the same id, or there are none.
        """
        images = sorted(self.stream_images(), key=lambda image: image.image_id)
        if not images:
            raise ValueError(f"the collection {self.name} has no pictures")
        for first, second in pairwise(images):
            if first.image_id == second.image_id:
                raise ValueError(
                    f"two pictures for one image id {first.image_id}: {first.uri}, {second.uri}"
                )
        return Collection(self.name, (), tuple(images), None)

    def with_split(self, split: str) -> Dataset:
        """See `Dataset.with_split`.

        Raises:
            ValueError: Always: there are no articles to split.
        """
        raise ValueError(f"the collection {self.name} has no articles, so no split {split!r}")


def make_image_id(place: str) -> str:
    """Turn a place within a collection into an id of one word; different places stay different."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), place)


def stream_folder(folder: Path) -> Iterator[Image]:
    """List the pictures below a folder, by their extensions, in the order of their ids.

    Hidden files and folders are left out; linked folders are entered, but not in circles.

    Raises:
        FileNotFoundError: If the folder is not there.
    """
    for place, path in walk_files(folder, EXTENSIONS):
        yield Image(make_image_id(place), path)


def stream_archives(source: Path, suffix: str) -> Iterator[Image]:
    """List the pictures in an archive, or in all archives below a folder, sorted by id.

    Raises:
        FileNotFoundError: If there is no such archive or folder, or no archive in it.
        ValueError: If an archive is damaged.
    """
    if source.is_file():
        archives: Iterator[tuple[str, Path]] = iter([(source.name, source.absolute())])
    else:
        archives = walk_files(source, (suffix,))
    n_archives = 0
    for place, path in archives:
        n_archives += 1
        ids = {make_image_id(f"{place}/{name}"): name for name in list_members(path)}
        for image_id, name in sorted(ids.items()):
            hidden = any(part.startswith(".") for part in name.split("/") if part != ".")
            if name.lower().endswith(EXTENSIONS) and not hidden:
                yield Image(image_id, path, name)
    if not n_archives:
        raise FileNotFoundError(f"no {suffix} file below {source}")


def walk_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield place and path of the files below a folder, in the order of their ids.

    The names of one folder at a time are in memory, and of those that lead to it.

    Raises:
        FileNotFoundError: If the folder is not there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    yield from _walk(str(folder.absolute()), "", suffixes, (os.path.realpath(folder),))


def _walk(
    folder: str, place: str, suffixes: tuple[str, ...], above: tuple[str, ...]
) -> Iterator[tuple[str, Path]]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # With the slash, folders sort among files as whole paths do.
            if entry.is_dir():
                names.append(entry.name + "/")
            elif entry.name.lower().endswith(suffixes):
                names.append(entry.name)
    names.sort(key=make_image_id)
    for name in names:
        path = os.path.join(folder, name)
        if not name.endswith("/"):
            yield place + name, Path(path)
        elif (real := os.path.realpath(path)) not in above:
            yield from _walk(path, place + name, suffixes, (*above, real))
