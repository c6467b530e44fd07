"""Listing of pictures in folders and archives."""

import os
from collections.abc import Iterator
from pathlib import Path

from newsimg.datatypes import Image, Listed, Rejected, SkippedFile, make_image_id
from newsimg.storage.metadata.sidecars import find_sidecars, read_sidecars
from newsimg.storage.pictures.archives import list_members, list_rejected, read_member_head
from newsimg.storage.pictures.formats import (
    EXTENSIONS,
    GENERIC_EXTENSIONS,
    SNIFFED_BYTES,
    find_format,
)
from newsimg.storage.pictures.skipped import Tally


def stream_folder(folder: Path) -> Iterator[Listed]:
    """List the pictures and other files below a folder, in the order of their ids.

    Pictures are recognised by their extensions, files without one by their first bytes. Hidden
    files and folders are ignored; links to folders are followed, except in cycles.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    for found in walk_files(folder):
        if isinstance(found, Rejected):
            yield found
            continue
        place, path = found
        suffix = find_suffix(path.name)
        try:
            if suffix in EXTENSIONS or (
                suffix in GENERIC_EXTENSIONS and find_format(_read_head(path))
            ):
                yield Image(make_image_id(place), path)
            else:
                yield SkippedFile(str(path), suffix)
        except OSError as error:
            yield Rejected(str(path), _describe_error(error))


def stream_archives(source: Path, suffix: str) -> Iterator[Listed]:
    """List the pictures in an archive, or in all archives below a folder, sorted by id.

    Raises:
        FileNotFoundError: If the archive or folder does not exist, or the folder has no archives.
        ValueError: If an archive is damaged.
    """
    if source.is_file():
        found: Iterator[tuple[str, Path] | Rejected] = iter([(source.name, source.absolute())])
    else:
        found = walk_files(source)
    others = Tally()
    n_archives = 0
    for one in found:
        if isinstance(one, Rejected):
            yield one
        elif find_suffix(one[1].name) == suffix or source.is_file():
            n_archives += 1
            yield from _stream_members(*one)
        # The Parquet table of an archive is its metadata.
        elif one[1].suffix != ".parquet" or not one[1].with_suffix(suffix).is_file():
            other = SkippedFile(str(one[1]), find_suffix(one[1].name))
            others.add(other)
            yield other
    if not n_archives:
        raise FileNotFoundError(f"no {suffix} file below {source}{others.describe(before='; ')}")


def _stream_members(place: str, path: Path) -> Iterator[Listed]:
    for name, reason in list_rejected(path).items():
        if find_suffix(name) in EXTENSIONS and not _is_hidden(name):
            yield Rejected(f"{path}::{name}", reason)
    images = []
    names = [name for name in list_members(path) if not _is_hidden(name)]
    pictures = [name for name in names if find_suffix(name) in EXTENSIONS]
    sidecars = find_sidecars(pictures, names)
    used = {name for files in sidecars.values() for name in files.values()}
    for name in names:
        if name in used:
            continue
        suffix = find_suffix(name)
        try:
            if suffix in EXTENSIONS or (
                suffix in GENERIC_EXTENSIONS
                and find_format(read_member_head(path, name, SNIFFED_BYTES))
            ):
                words = read_sidecars(path, sidecars[name]) if name in sidecars else None
                images.append(Image(make_image_id(f"{place}/{name}"), path, name, metadata=words))
            else:
                yield SkippedFile(f"{path}::{name}", suffix)
        except ValueError as error:
            yield Rejected(f"{path}::{name}", str(error))
    yield from sorted(images, key=lambda image: image.image_id)


def require_pictures(listed: Iterator[Listed], place: Path) -> Iterator[Listed]:
    """Yield all items of a listing; raise an error at the end if there was no picture.

    Raises:
        ValueError: If there are neither pictures nor rejected ones; summarises the skipped files.
    """
    others, n_found = Tally(), 0
    for one in listed:
        if isinstance(one, SkippedFile):
            others.add(one)
        else:
            n_found += 1
        yield one
    if not n_found:
        summary = others.describe() or "there are no files"
        raise ValueError(f"no pictures in {place}: {summary}; looked for {' '.join(EXTENSIONS)}")


def find_suffix(name: str) -> str:
    """Return a file's extension in lower case, "" if none."""
    return os.path.splitext(name)[1].lower()


def walk_files(folder: Path) -> Iterator[tuple[str, Path] | Rejected]:
    """Yield relative and absolute path of the files below a folder, in the order of their ids.

    Memory is limited to the names in one folder and its parents. Unreadable entries are yielded as
    rejected.

    Raises:
        FileNotFoundError: If the folder does not exist.
        OSError: If the folder cannot be listed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    os.scandir(folder).close()
    yield from _walk(str(folder.absolute()), "", (os.path.realpath(folder),))


def _walk(folder: str, place: str, above: tuple[str, ...]) -> Iterator[tuple[str, Path] | Rejected]:
    names, rejected = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:  # with the slash, folders sort like their full paths
                    names.append(entry.name + "/" * entry.is_dir())
                except OSError as error:
                    rejected.append(Rejected(entry.path, _describe_error(error)))
    except OSError as error:
        rejected.append(Rejected(folder, _describe_error(error)))
    yield from sorted(rejected, key=lambda one: one.uri)
    names.sort(key=make_image_id)
    for name in names:
        path = os.path.join(folder, name)
        if not name.endswith("/"):
            yield place + name, Path(path)
        elif (real := os.path.realpath(path)) not in above:
            yield from _walk(path, place + name, (*above, real))


def _is_hidden(member: str) -> bool:
    return any(part.startswith(".") for part in member.split("/") if part not in (".", ".."))


def _read_head(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would block
        return b""
    with path.open("rb") as file:
        return file.read(SNIFFED_BYTES)


def _describe_error(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
