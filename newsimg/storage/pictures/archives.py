"""Members of tar and zip archives, read where they lie; safe in threads."""

import os
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from threading import Lock

MAX_OPEN = 4  # archives whose table of contents is kept: one of YFCC100M takes some 15 MB
MAX_BYTES = 1 << 29  # no picture file is larger; a zip bomb's member is


class Archive(ABC):
    """An open archive. It is closed when the last reader lets go of it."""

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of its regular files. Of two of one name the later one counts."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            KeyError: If there is no such member.
            ValueError: If it is damaged, encrypted or too large.
        """


class ZipArchive(Archive):
    """A zip file, of any of Python's compressions."""

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)

    def names(self) -> list[str]:
        """See `Archive.names`."""
        names = dict.fromkeys(self._file.namelist())
        return [name for name in names if not name.endswith("/")]

    def read(self, name: str) -> bytes:
        """See `Archive.read`. The member's checksum is verified."""
        info = self._file.getinfo(name)
        _check_size(info.file_size)
        try:
            return self._file.read(info)
        # A damaged member raises errors of zipfile, of the decompressors, of struct ...
        except Exception as error:
            raise ValueError(f"damaged archive member: {error}") from error


class TarArchive(Archive):
    """An uncompressed tar file, as WebDataset's shards are: its headers are read once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            self._members = {
                info.name: (info.offset_data, info.size) for info in tar if info.isreg()
            }
            end = tar.offset
        # Python takes any damaged header but the first for the archive's end.
        if os.pread(self._file.fileno(), tarfile.BLOCKSIZE, end).strip(b"\0"):
            raise tarfile.ReadError(f"bad header at byte {end}")

    def names(self) -> list[str]:
        """See `Archive.names`."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """See `Archive.read`."""
        offset, size = self._members[name]
        _check_size(size)
        content = os.pread(self._file.fileno(), size, offset)  # has no position to share
        if len(content) < size:
            raise ValueError(f"damaged archive member: {len(content)} of {size} bytes are there")
        return content


KINDS: dict[str, type[Archive]] = {".zip": ZipArchive, ".tar": TarArchive}
_open_archives: OrderedDict[tuple[str, int, int], Archive] = OrderedDict()
_lock = Lock()


def list_members(path: Path) -> list[str]:
    """Return the names of an archive's regular files.

    Raises:
        ValueError: If it is no zip or tar file, or a damaged one.
        FileNotFoundError: If it is not there.
    """
    return open_archive(path).names()


def read_member(path: Path, name: str, kind: type[Archive] | None = None) -> bytes:
    """Return the bytes of an archive's member.

    Args:
        path: The archive.
        name: The member's name.
        kind: What the archive is; None: what its extension says.

    Raises:
        ValueError: If the archive or the member is damaged.
        FileNotFoundError: If the archive or the member is not there.
    """
    try:
        return open_archive(path, kind).read(name)
    except KeyError as error:
        raise FileNotFoundError(f"{path} has no member {name}") from error


def open_archive(path: Path, kind: type[Archive] | None = None) -> Archive:
    """Return an open archive, which many may read at once; see `read_member`."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _open_archives:
            kind = kind or KINDS.get(path.suffix.lower())
            if kind is None:
                raise ValueError(f"{path} must end in {' or '.join(KINDS)}")
            try:
                _open_archives[key] = kind(path)
            except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
                raise ValueError(f"damaged archive {path}: {error}; fetch it again") from error
        _open_archives.move_to_end(key)
        while len(_open_archives) > MAX_OPEN:
            _open_archives.popitem(last=False)
        return _open_archives[key]


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, more than the {MAX_BYTES} that a picture may have")
