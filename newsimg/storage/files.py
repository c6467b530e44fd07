"""Hashing, downloads, locks and atomic writes of files."""

import codecs
import errno
import hashlib
import json
import os
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

# Errors that the system raises without a file name.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CHECKSUM = "sha256"  # key of a checked JSON file: the hash of its other keys
PACKAGE_DIR = Path(__file__).resolve().parents[1]
# A wheel has the configs inside the package, a checkout beside it.
CONF_DIR = PACKAGE_DIR / "conf" if (PACKAGE_DIR / "conf").is_dir() else PACKAGE_DIR.parent / "conf"


def user_cache_dir() -> Path:
    """Return the folder of files that can be recreated: NEWSIMG_CACHE, or the user's cache."""
    override = os.environ.get("NEWSIMG_CACHE")
    return Path(override).expanduser() if override else user_cache_path("newsimg")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file's bytes, as hex digits."""
    return [hash_file(path) for path in paths]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a UTF-8 file, without line ends.

    Raises:
        ValueError: If the file has another encoding or a NUL character; names the line and the
            command that converts the file.
    """
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(
                f"{path} is in UTF-16; {_convert('UTF-16', path)} converts it to UTF-8"
            )
        file.seek(0)
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if b"\0" in line:
                raise ValueError(
                    f"{path}, line {number} has a NUL character: {line[:80]!r}; if the file is in "
                    f"UTF-16, {_convert('UTF-16LE', path)} converts it to UTF-8"
                )
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number} is not UTF-8: {line[:80]!r}; if the file is in "
                    f"Latin-1, {_convert('ISO-8859-1', path)} converts it to UTF-8"
                ) from error
            yield number, text.rstrip("\r\n")


def _convert(encoding: str, path: Path) -> str:
    converted = path.with_stem(f"{path.stem}_utf8")
    return f"iconv -f {encoding} -t UTF-8 {quote(str(path))} > {quote(str(converted))}"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it against other jobs.

    Raises:
        ValueError: If another job holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise ValueError(f"another job is at work in {folder}") from error
    with held:
        yield


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Add the file name to errors of a full disk or quota.

    Raises:
        OSError: If the disk or quota is full; names `path`, or the file that was written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or (error.filename is not None and error.filename2 is None):
            raise
        # Of a copy, the first name is that of the source.
        written = path if error.filename2 is None else error.filename2
        raise OSError(error.errno, os.strerror(error.errno), str(written)) from error


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` on success and deleted on failure.

    Raises:
        OSError: If the file cannot be written; names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with name_full_disk(path):
            temporary.touch(exist_ok=False)  # permissions follow the umask
            try:
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename != str(temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_checked_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON atomically, with a checksum that `read_checked_json` verifies."""
    with write_atomically(path) as temporary:
        text = json.dumps({**content, CHECKSUM: _hash_json(content)}, indent=1)
        temporary.write_text(text, encoding="utf-8")


def read_checked_json(path: Path) -> dict[str, Any]:
    """Return the mapping that `write_checked_json` wrote.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If its content is not what was written; names the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.pop(CHECKSUM, None) != _hash_json(content):
        raise ValueError(f"{path} is damaged: its checksum differs from its content")
    return content


def _hash_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    # Without this, a power failure may undo the rename.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fetch_file(source: str, sha256: str | None) -> Path:
    """Return the local path of `source`, a path or a URL; URLs are downloaded once.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file's hash is not `sha256`, or a URL has no `sha256`.
        OSError: If the download fails.
    """
    if urlparse(source).scheme not in ("http", "https"):
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        if sha256 is not None:
            _check_hash(path, source, sha256)
        return path
    if sha256 is None:
        raise ValueError(f"a download needs the sha256 of the file: {source}")
    path = user_cache_dir() / "downloads" / sha256[:16] / Path(urlparse(source).path).name
    if not path.is_file():
        with write_atomically(path) as temporary:
            try:
                with urllib.request.urlopen(source, timeout=60) as response:
                    content = response.read()
            except OSError as error:
                raise OSError(f"cannot download {source}: {error}") from error
            temporary.write_bytes(content)
            _check_hash(temporary, source, sha256)
    _check_hash(path, source, sha256)
    return path


def _check_hash(path: Path, source: str, sha256: str) -> None:
    if (found := hash_file(path)) != sha256.lower():
        raise ValueError(f"{source} must have sha256 {sha256}, got {found}")
