"""Thread-safe reading of members of tar and zip archives, without unpacking."""

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

MAX_OPEN = 4  # open archives; the table of contents of one of YFCC100M takes about 15 MB
MAX_BYTES = 1 << 29  # larger members are rejected, such as zip bombs
MAX_LINKS = 40  # length of a chain of links, as in Linux
ZIP_END = b"PK\5\6"  # signature of the end-of-central-directory record
ZIP_END_SIZE = 22  # its last two bytes are the length of the comment that follows
DUPLICATE = "two members have this name and different bytes: the later one is used"
T = TypeVar("T")


class Archive(ABC):
    """An open archive, closed when it is no longer referenced.

    Links are listed as members with the content of their targets. Of members with equal names the
    last one is used, as when unpacking.

    Attributes:
        rejected: Names of members that cannot be read, or only in part -> the reason.
    """

    rejected: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the regular files and of links to them."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            KeyError: If there is no such member.
            ValueError: If it is damaged, encrypted or too large.
        """

    def read_head(self, name: str, n_bytes: int) -> bytes:
        """Return the first `n_bytes` of a member; see `read`."""
        return self.read(name)[:n_bytes]


class ZipArchive(Archive):
    """A zip file with any compression that Python supports."""

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
                self.rejected[name] = DUPLICATE
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
        # Damaged members raise errors of zipfile, zlib, struct and others.
        except Exception as error:
            raise ValueError(f"damaged archive member: {error}") from error


class TarArchive(Archive):
    """An uncompressed tar file, such as a WebDataset shard. Its headers are read once.

    Concatenated archives are read as one.
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
                self.rejected[name] = DUPLICATE
        elif not info.isdir():
            self.rejected[name] = "not a regular file, or a sparse one"

    def _find_next(self, end: int) -> int | None:
        """Return the offset of the next concatenated archive, or None."""
        # tarfile treats a truncated archive, and a damaged header after the first, as the end.
        block = os.pread(self._file.fileno(), tarfile.BLOCKSIZE, end)
        if len(block) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"no end block at byte {end}, the archive is truncated")
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
            raise ValueError(f"damaged archive member: {len(content)} of {size} bytes")
        return content

    def read_head(self, name: str, n_bytes: int) -> bytes:
        """See `Archive.read_head`."""
        offset, size = self._members[name]
        return self._pread(offset, min(size, n_bytes))

    def _pread(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)  # thread-safe, unlike seek and read


KINDS: dict[str, type[Archive]] = {".zip": ZipArchive, ".tar": TarArchive}
_open_archives: OrderedDict[tuple[str, int, int], Archive] = OrderedDict()
_lock = Lock()


def list_members(path: Path) -> list[str]:
    """Return the names of an archive's regular files and of links to them.

    Raises:
        ValueError: If the file is not a zip or tar archive, or is damaged.
        FileNotFoundError: If the file does not exist.
    """
    return open_archive(path).names()


def read_member_head(path: Path, name: str, n_bytes: int) -> bytes:
    """Return the first bytes of a member listed by `list_members`.

    Raises:
        ValueError: If the archive or the member is damaged.
        FileNotFoundError: If the archive does not exist.
    """
    return open_archive(path).read_head(name, n_bytes)


def list_rejected(path: Path) -> Mapping[str, str]:
    """Return the names of members that cannot be read -> the reason.

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
        kind: Type of the archive; None derives it from the extension.

    Raises:
        ValueError: If the archive or the member is damaged.
        FileNotFoundError: If the archive or the member does not exist.
    """
    try:
        return open_archive(path, kind).read(name)
    except KeyError as error:
        raise FileNotFoundError(f"{path} has no member {name}") from error


def open_archive(path: Path, kind: type[Archive] | None = None) -> Archive:
    """Return an open archive that threads may share; see `read_member`."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _open_archives:
            kind = kind or KINDS.get(path.suffix.lower())
            if kind is None:
                raise ValueError(f"{path} must end in {' or '.join(KINDS)}")
            try:
                _open_archives[key] = kind(path)
            except (OSError, MemoryError):
                raise  # of the disk or the machine, not of the archive
            # Damaged headers raise errors of zipfile, tarfile, struct, codecs and others.
            except Exception as error:
                raise ValueError(f"damaged archive {path}: {error}; fetch it again") from error
        _open_archives.move_to_end(key)
        while len(_open_archives) > MAX_OPEN:
            _open_archives.popitem(last=False)
        return _open_archives[key]


def _resolve(links: Mapping[str, str], members: MutableMapping[str, T]) -> dict[str, str]:
    """Add links to `members` with their targets' content; return the broken links."""
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
            broken[name] = f"a link to {target}, which is not a file in the archive"
    return broken


def _check_beginning(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Reject concatenated zip files, of which only the last one would be listed."""
    first = min((info.header_offset for info in infos), default=0)
    with path.open("rb") as file:
        file.seek(max(0, first - ZIP_END_SIZE - 0xFFFF))
        before = file.read(first - file.tell())
    at = before.rfind(ZIP_END)
    comment = int.from_bytes(before[at + ZIP_END_SIZE - 2 : at + ZIP_END_SIZE], "little")
    if at >= 0 and at + ZIP_END_SIZE + comment == len(before):
        raise zipfile.BadZipFile(f"two zip files are concatenated, the first ends at byte {first}")


def join_link(name: str, target: str) -> str:
    """Return the target of a symbolic link within the archive."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, the maximum for a picture is {MAX_BYTES}")
