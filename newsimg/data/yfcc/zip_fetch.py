"""Resumable download of a zip shard.

Pictures are written to zip files of about 16 MB below `.fetching`, each renamed when complete, so
that a killed job loses at most the last of them. When all pictures are fetched, they are merged
into the shard, and the checksum of each is verified. The comment of a member is the etag of its
object, by which pictures that changed on the server are detected.
"""

import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from newsimg.data.yfcc.s3 import Bucket, RemoteObject
from newsimg.storage.files import write_atomically

log = logging.getLogger(__name__)

PART_BYTES = 1 << 24


class ZipShard:
    """A shard on disk and its objects on the server.

    Args:
        path: The zip file.
        objects: Expected content, in order.
    """

    def __init__(self, path: Path, objects: Sequence[RemoteObject]) -> None:
        self.path = path
        self.objects = objects
        self._parts_dir = path.parent / ".fetching" / path.stem
        self._places: dict[RemoteObject, Path] = {}
        self._in_shard: set[RemoteObject] | None = None
        for file in (path, *sorted(self._parts_dir.glob("*.zip"))):
            self._read_members(file)

    @property
    def n_bytes(self) -> int:
        """Total size of the pictures in bytes."""
        return sum(one.size for one in self.objects)

    def is_complete(self) -> bool:
        """Return whether the zip has exactly the server's objects."""
        return self._in_shard == set(self.objects)

    def find_missing(self) -> list[RemoteObject]:
        """Return the objects that are not fetched yet."""
        return [one for one in self.objects if one not in self._places]

    def fetch(self, bucket: Bucket, pool: Executor, progress: Callable[[int], object]) -> None:
        """Fetch the missing pictures and assemble the shard.

        Args:
            bucket: Bucket of the objects.
            pool: Threads for reading.
            progress: Called with the size of each fetched picture.

        Raises:
            BucketError: If a picture cannot be read.
            OSError: If the disk is full; pictures fetched before remain on disk.
        """
        missing = self.find_missing()
        contents = bucket.read_all(pool, ((one, None) for one in missing))
        numbers = [int(path.stem) for path in self._parts_dir.glob("*.zip")]
        for number, part in enumerate(_cut(missing), start=max(numbers, default=-1) + 1):
            path = self._parts_dir / f"{number:05}.zip"
            with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
                for remote in part:
                    content = next(contents)
                    file.writestr(_describe(remote), content)
                    progress(len(content))
            self._read_members(path)
        self._assemble()

    def _read_members(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            with zipfile.ZipFile(path) as file:
                members = [
                    RemoteObject(
                        one.filename, one.file_size, one.comment.decode("ascii", "replace")
                    )
                    for one in file.infolist()
                ]
        except zipfile.BadZipFile as error:
            log.warning("%s is damaged (%s) and is fetched again", path, error)
            path.unlink()
            return
        if path == self.path:
            self._in_shard = set(members)
        wanted = set(self.objects)
        self._places |= {one: path for one in members if one in wanted}

    def _assemble(self) -> None:
        """Copy the pictures into one zip; reading them verifies their checksums."""
        files: dict[Path, zipfile.ZipFile] = {}
        try:
            for path in set(self._places.values()):
                files[path] = zipfile.ZipFile(path)
            with write_atomically(self.path) as temporary, zipfile.ZipFile(temporary, "w") as shard:
                for remote in self.objects:
                    path = self._places[remote]
                    try:
                        content = files[path].read(remote.key)
                    except zipfile.BadZipFile as error:
                        raise ValueError(f"damaged file {path}, delete it: {error}") from error
                    shard.writestr(_describe(remote), content)
        finally:
            for file in files.values():
                file.close()
        self._in_shard = set(self.objects)
        self._places = dict.fromkeys(self.objects, self.path)
        if self._parts_dir.is_dir():
            shutil.rmtree(self._parts_dir)


def _describe(remote: RemoteObject) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(remote.key)  # dated 1980, so that equal pictures give equal files
    info.comment = remote.etag.encode("ascii")
    return info


def _cut(objects: Sequence[RemoteObject]) -> Iterator[list[RemoteObject]]:
    part: list[RemoteObject] = []
    n_bytes = 0
    for one in objects:
        part.append(one)
        n_bytes += one.size
        if n_bytes >= PART_BYTES:
            yield part
            part, n_bytes = [], 0
    if part:
        yield part
