"""Members of tar and zip archives, read where they lie; safe in threads."""

import os
import posixpath
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TypeVar

MAX_OPEN = 4  # archives whose table of contents is kept: one of YFCC100M takes some 15 MB
MAX_BYTES = 1 << 29  # no picture file is larger; a zip bomb's member is
MAX_LINKS = 40  # that lead to one another, as Linux has it
ZIP_END = b"PK\5\6"  # begins the record that a zip ends with
ZIP_END_SIZE = 22  # the last two bytes say how long the comment is that follows
TWICE = "its name is there twice with different bytes: the later member is taken"
T = TypeVar("T")


class Archive(ABC):
    """An open archive. It is closed when the last reader lets go of it.

    Links are names of the members that they lead to. Of two members of one name the later one
    counts, as it would if the archive were unpacked.

    Attributes:
        rejected: Names of what cannot be read, or only in part -> the reason.
    """

    rejected: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of its regular files, and of links to them."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            KeyError: If there is no such member.
            ValueError: If it is damaged, encrypted or too large.
        """

    def read_head(self, name: str, n_bytes: int) -> bytes:
        """Return a member's first bytes; see `read`."""
        return self.read(name)[:n_bytes]


class ZipArchive(Archive):
    """A zip file, of any of Python's compressions."""

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)
        _check_beginning(path, self._file.infolist())
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.rejected: dict[str, str] = {}
        links: dict[str, str] = {}
        for info in self._file.infolist():
            name = info.filename
            if name.endswith("/"):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                try:
                    target = self._read(info).decode(errors="surrogateescape")
                    links[name] = join_link(name, target)
                except ValueError as error:
                    self.rejected[name] = str(error)
                continue
            before = self._members.get(name)
            if before and (before.CRC, before.file_size) != (info.CRC, info.file_size):
                self.rejected[name] = TWICE
            self._members[name] = info
        self.rejected |= _resolve(links, self._members)

    def names(self) -> list[str]:
        """See `Archive.names`."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """See `Archive.read`. The member's checksum is verified."""
        return self._read(self._members[name])

    def read_head(self, name: str, n_bytes: int) -> bytes:
        """See `Archive.read_head`."""
        return self._read(self._members[name], n_bytes)

    def _read(self, info: zipfile.ZipInfo, n_bytes: int = -1) -> bytes:
        _check_size(info.file_size)
        try:
            with self._file.open(info) as member:
                return member.read(n_bytes)
        # A damaged member raises errors of zipfile, of the decompressors, of struct ...
        except Exception as error:
            raise ValueError(f"damaged archive member: {error}") from error


class TarArchive(Archive):
    """An uncompressed tar file, as WebDataset's shards are: its headers are read once.

    Archives that were put together end to end are read as one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._members: dict[str, tuple[int, int]] = {}
        self.rejected: dict[str, str] = {}
        links: dict[str, str] = {}
        start: int | None = 0
        while start is not None:
            self._file.seek(start)
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for info in tar:
                    self._add(info, links)
                end = tar.offset
            start = self._find_next(end)
        self.rejected |= _resolve(links, self._members)

    def _add(self, info: tarfile.TarInfo, links: dict[str, str]) -> None:
        name = info.name
        if info.islnk():
            links[name] = posixpath.normpath(info.linkname)
        elif info.issym():
            links[name] = join_link(name, info.linkname)
        elif info.isreg() and info.sparse is None:
            before, self._members[name] = self._members.get(name), (info.offset_data, info.size)
            if before and self._pread(*before) != self._pread(info.offset_data, info.size):
                self.rejected[name] = TWICE
        elif not info.isdir():
            self.rejected[name] = "no regular file, or one with holes"

    def _find_next(self, end: int) -> int | None:
        """Return where an archive begins behind the one that ends at `end`, if one does."""
        # Python takes an archive that was cut off, and any damaged header but the first, for its
        # end.
        block = os.pread(self._file.fileno(), tarfile.BLOCKSIZE, end)
        if len(block) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"no end block at byte {end}: it was not written to its end")
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"bad header at byte {end}")
        while chunk := os.pread(self._file.fileno(), tarfile.RECORDSIZE, end):
            if rest := chunk.lstrip(b"\0"):
                at = end + len(chunk) - len(rest)
                return at - at % tarfile.BLOCKSIZE
            end += len(chunk)
        return None

    def names(self) -> list[str]:
        """See `Archive.names`."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """See `Archive.read`."""
        offset, size = self._members[name]
        _check_size(size)
        content = self._pread(offset, size)
        if len(content) < size:
            raise ValueError(f"damaged archive member: {len(content)} of {size} bytes are there")
        return content

    def read_head(self, name: str, n_bytes: int) -> bytes:
        """See `Archive.read_head`."""
        offset, size = self._members[name]
        return self._pread(offset, min(size, n_bytes))

    def _pread(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)  # has no position to share


KINDS: dict[str, type[Archive]] = {".zip": ZipArchive, ".tar": TarArchive}
_open_archives: OrderedDict[tuple[str, int, int], Archive] = OrderedDict()
_lock = Lock()


def list_members(path: Path) -> list[str]:
    """Return the names of an archive's regular files, and of links to them.

    Raises:
        ValueError: If it is no zip or tar file, or a damaged one.
        FileNotFoundError: If it is not there.
    """
    return open_archive(path).names()


def read_member_head(path: Path, name: str, n_bytes: int) -> bytes:
    """Return the first bytes of a member that `list_members` names.

    Raises:
        ValueError: If the archive or the member is damaged.
        FileNotFoundError: If the archive is not there.
    """
    return open_archive(path).read_head(name, n_bytes)


def list_rejected(path: Path) -> Mapping[str, str]:
    """Return the names of an archive's members that cannot be read -> the reason.

    Raises:
        ValueError: See `list_members`.
        FileNotFoundError: See `list_members`.
    """
    return open_archive(path).rejected


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


def _resolve(links: Mapping[str, str], members: MutableMapping[str, T]) -> dict[str, str]:
    """Add links to the members that they lead to within their archive; return the others."""
    if not links:
        return {}
    own = {posixpath.normpath(name): member for name, member in members.items()}
    known = {posixpath.normpath(name): target for name, target in links.items()}
    broken = {}
    for name, target in links.items():
        place, n_steps = target, 0
        while place in known and place not in own and n_steps < MAX_LINKS:
            place, n_steps = known[place], n_steps + 1
        if place in own:
            members[name] = own[place]
        else:
            broken[name] = f"a link to {target}, which is no file of its archive"
    return broken


def _check_beginning(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse two zips in one file: only the members of the last one would be listed."""
    first = min((info.header_offset for info in infos), default=0)
    with path.open("rb") as file:
        file.seek(max(0, first - ZIP_END_SIZE - 0xFFFF))
        before = file.read(first - file.tell())
    at = before.rfind(ZIP_END)
    comment = int.from_bytes(before[at + ZIP_END_SIZE - 2 : at + ZIP_END_SIZE], "little")
    if at >= 0 and at + ZIP_END_SIZE + comment == len(before):
        raise zipfile.BadZipFile(f"another zip lies in front of it, up to byte {first}")


def join_link(name: str, target: str) -> str:
    """Return the place that a symbolic link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, more than the {MAX_BYTES} that a picture may have")
