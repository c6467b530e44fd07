"""Files that are hashed, fetched, and never half written."""

import hashlib
import os
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

PACKAGE_DIR = Path(__file__).resolve().parents[1]
# A wheel carries the configs inside the package; in a checkout they lie beside it.
CONF_DIR = PACKAGE_DIR / "conf" if (PACKAGE_DIR / "conf").is_dir() else PACKAGE_DIR.parent / "conf"


def cache_dir() -> Path:
    """Return the folder for what can be made again: NEWSIMG_CACHE, or the user's cache."""
    override = os.environ.get("NEWSIMG_CACHE")
    return Path(override).expanduser() if override else user_cache_path("newsimg")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file's bytes, as hex digits."""
    return [hash_file(path) for path in paths]


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and keep other jobs out of it.

    Raises:
        ValueError: If one is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise ValueError(f"another job is at work in {folder}") from error
    with held:
        yield


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the name `path` on success and vanishes on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.touch(exist_ok=False)  # others may read it as far as the umask lets them
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without it a power cut may take back the new name.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fetch_file(source: str, sha256: str | None) -> Path:
    """Return the local path of `source`: a path, or a URL that is downloaded once into the cache.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the bytes do not hash to `sha256`, or a URL comes without one.
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
        raise ValueError(f"a download needs the sha256 that its file must have: {source}")
    path = cache_dir() / "downloads" / sha256[:16] / Path(urlparse(source).path).name
    if not path.is_file():
        with write_atomically(path) as temporary:
            try:
                with urllib.request.urlopen(source, timeout=60) as response:
                    temporary.write_bytes(response.read())
            except OSError as error:
                raise OSError(f"cannot download {source}: {error}") from error
            _check_hash(temporary, source, sha256)
    _check_hash(path, source, sha256)
    return path


def _check_hash(path: Path, source: str, sha256: str) -> None:
    if (found := hash_file(path)) != sha256.lower():
        raise ValueError(f"{source} must have sha256 {sha256}, got {found}")
