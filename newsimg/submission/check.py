"""Check a submission against the benchmark's rules."""

import hashlib
import io
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from newsimg.submission.layouts import ALL, LAYOUTS, PICTURE_SIZE, SAFE, SIZES

# RET: retrieved, GEN: generated pictures.
FOLDER_2025 = re.compile(r"(?:RET|GEN)_(?P<approach>.+)_(?P<size>SMALL|LARGE)")
NAME = "[article_id]_[group]_[approach].png"
# The organisers' rules have a top folder with the group's name, their example has none.
PATH_2025 = f"[group]/[RET|GEN]_[approach]_[SMALL|LARGE]/{NAME}, with or without [group]/"
# Twice the size of the uncompressed pixels; larger files are not read into memory.
MAX_BYTES = 2 * 3 * PICTURE_SIZE[0] * PICTURE_SIZE[1]
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Violation:
    """A violated rule, and the file or folder of the zip, or the zip itself, that violates it."""

    file: str
    reason: str


@dataclass
class RunFolder:
    """A folder of the zip, with the pictures of one run."""

    name: str
    size: str
    group: str
    pictures: dict[str, str] = field(default_factory=dict)  # article id -> file
    pixels: dict[str, str] = field(default_factory=dict)  # file -> hash


def check_submission(
    path: Path, layout: int | None, subsets: Mapping[str, Iterable[str]]
) -> list[Violation]:
    """List all violations of the benchmark's rules, in the order of the zip's files.

    Args:
        path: The zip.
        layout: 2025 or 2026; None for the layout that most file names match.
        subsets: Size (SMALL, LARGE; in 2026 ALL) -> ids of exactly the articles to be submitted.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no submission {path}")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        return [Violation(path.name, f"is not a readable zip: {error}")]
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if not infos:
            return [Violation(path.name, "contains no files")]
        found = list(check_names(archive.infolist()))
        unsafe = {violation.file for violation in found}
        layout = layout or guess_layout([info.filename for info in infos])
        group = guess_group([info.filename for info in infos], path.stem)
        folders: dict[str, RunFolder] = {}
        for info in infos:
            reason = None
            if info.filename not in unsafe:
                reason = check_path(info.filename, layout, group, folders)
                if reason:
                    found.append(Violation(info.filename, reason))
            found += [Violation(info.filename, r) for r in check_picture(archive, info, folders)]
    found += check_folders(path.name, folders)
    found += check_articles(folders, subsets)
    if layout == 2026:
        found += check_distinct(folders)
    return found


def check_names(infos: Sequence[zipfile.ZipInfo]) -> Iterator[Violation]:
    """Yield names that are unsafe to unpack or occur more than once."""
    seen: dict[str, str] = {}
    for info in infos:
        name, parts = info.filename, info.filename.rstrip("/").split("/")
        # `orig_filename` is unmodified; `filename` is cut at a NUL, and on Windows "\" becomes "/".
        original = info.orig_filename
        if "\\" in original or "\0" in original:
            yield Violation(name, "has a backslash or NUL character in its name")
        elif name.startswith("/") or ".." in parts or ":" in parts[0]:
            yield Violation(name, "points outside the folder that the zip is unpacked in")
        elif "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini"):
            yield Violation(name, "is a metadata file of the operating system")
        elif (bad := [part for part in parts if not SAFE.fullmatch(part)]) and len(name) < 1000:
            yield Violation(name, f"has a name that is not safe on every system: {bad[0]!r}")
        elif (info.external_attr >> 16) & 0o170000 == 0o120000:
            yield Violation(name, "is a symbolic link")
        if (first := seen.get(name.casefold())) == name:
            yield Violation(name, "occurs more than once")
        elif first:
            yield Violation(name, f"differs from {first} only in case")
        seen[name.casefold()] = name


def guess_layout(names: Sequence[str]) -> int:
    """Return the layout that more of the names match; in case of a tie, guess by their depth."""
    n_matches = {layout: sum(matches_layout(name, layout) for name in names) for layout in LAYOUTS}
    if n_matches[2025] != n_matches[2026]:
        return max(n_matches, key=lambda layout: n_matches[layout])
    deep = sum(name.count("/") >= 2 for name in names)
    return 2025 if 2 * deep >= len(names) else 2026


def matches_layout(name: str, layout: int) -> bool:
    """Return whether a name matches a layout, for any group."""
    *_, folder, file = ("", *PurePosixPath(name).parts)
    depth = name.count("/")
    of_2026 = depth == 1 and "_" in folder and file.endswith(f"_{folder}.png")
    if layout == 2026:
        return of_2026
    match = FOLDER_2025.fullmatch(folder)
    return depth in (1, 2) and match is not None and not of_2026


def guess_group(names: Iterable[str], zip_stem: str) -> str:
    """Return the group of 2025's run folders that are not in a folder with the group's name.

    It is the stem of the zip if file names contain it, otherwise the most frequent candidate.
    """
    found: Counter[str] = Counter()
    for name in names:
        *above, folder, file = ("", *PurePosixPath(name).parts)
        match = FOLDER_2025.fullmatch(folder)
        if match is None or len(above) != 1:
            continue
        words = file.removesuffix(f"_{match['approach']}.png").split("_")
        found.update("_".join(words[start:]) for start in range(1, len(words)))
    if zip_stem in found:
        return zip_stem
    return max(found, key=lambda group: (found[group], len(group)), default=zip_stem)


def check_path(
    name: str, layout: int, default_group: str, folders: dict[str, RunFolder]
) -> str | None:
    """Return the violation of a file's path; add a valid file to its folder.

    Args:
        name: Path in the zip.
        layout: 2025 or 2026.
        default_group: The group, if there is no folder with its name.
        folders: Folders by path; the file is added here.
    """
    path = PurePosixPath(name)
    parts = path.parts
    if layout == 2025:
        match = FOLDER_2025.fullmatch(parts[-2]) if len(parts) in (2, 3) else None
        if match is None:
            return f"must be {PATH_2025}"
        group = parts[0] if len(parts) == 3 else default_group
        size, ending = match["size"], f"_{group}_{match['approach']}.png"
    else:
        if len(parts) != 2 or not re.fullmatch(r".+_.+", parts[0]):
            return f"must be [group]_[approach]/{NAME}"
        group = parts[0].split("_")[0]
        size, ending = ALL, f"_{parts[0]}.png"
    folder = folders.setdefault(str(path.parent), RunFolder(str(path.parent), size, group))
    article_id = path.name.removesuffix(ending)
    if article_id in ("", path.name):
        return f"must be named [article_id]{ending}"
    folder.pictures[article_id] = name
    return None


def check_picture(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, folders: Mapping[str, RunFolder]
) -> Iterator[str]:
    """Yield the violations of a file's contents; add the hash of its pixels to its folder."""
    if info.flag_bits & 1:
        yield "is encrypted"
        return
    if info.file_size > MAX_BYTES:
        yield f"has {info.file_size} bytes, must have at most {MAX_BYTES}"
        return
    try:
        content = archive.read(info)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        yield f"cannot be unpacked: {error}"
        return
    try:
        with PILImage.open(io.BytesIO(content)) as picture:
            yield from check_format(picture)
            picture.load()
            pixels = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
    except UnidentifiedImageError:
        yield "is not a picture"
        return
    except (OSError, SyntaxError, ValueError) as error:
        yield f"is a damaged picture: {error}"
        return
    folder = folders.get(str(PurePosixPath(info.filename).parent))
    if folder is not None:
        folder.pixels[info.filename] = pixels


def check_format(picture: PILImage.Image) -> Iterator[str]:
    """Yield the violations of a picture's format, size and mode."""
    if picture.format != "PNG":
        yield f"must be a PNG, is {picture.format}"
    if picture.size != PICTURE_SIZE:
        yield "must be {}x{}, is {}x{}".format(*PICTURE_SIZE, *picture.size)
    if picture.mode != "RGB" or picture.has_transparency_data:
        yield f"must be RGB without transparency, is {picture.mode}"
    if (n_frames := getattr(picture, "n_frames", 1)) > 1:
        yield f"must have one frame, has {n_frames}"
    if picture.getexif().get(ORIENTATION, 1) != 1:
        yield "must not have an EXIF orientation other than 1"


def check_folders(zip_name: str, folders: Mapping[str, RunFolder]) -> Iterator[Violation]:
    """Yield a violation for several groups, and for folders without a correctly named picture."""
    groups = sorted({folder.group for folder in folders.values()})
    if len(groups) > 1:
        yield Violation(zip_name, f"must contain one group, contains {', '.join(groups)}")
    for name, folder in folders.items():
        if not folder.pictures:
            yield Violation(name, "contains no correctly named picture")


def check_articles(
    folders: Mapping[str, RunFolder], subsets: Mapping[str, Iterable[str]]
) -> Iterator[Violation]:
    """Yield articles without a picture, and pictures of unknown articles."""
    for size in (*SIZES, ALL):
        own = [folder for folder in folders.values() if folder.size == size]
        listed = subsets.get(size)
        if listed is not None and not own:
            yield Violation(f"*_{size}" if size != ALL else "*", "there is no run")
        # Without a list, all runs must have the same articles.
        wanted = {a for folder in own for a in folder.pictures} if listed is None else set(listed)
        for folder in own:
            for article_id in sorted(wanted - set(folder.pictures)):
                yield Violation(folder.name, f"lacks a picture for article {article_id}")
            for article_id in sorted(set(folder.pictures) - wanted):
                yield Violation(folder.pictures[article_id], "is for an article not in the subset")


def check_distinct(folders: Mapping[str, RunFolder]) -> Iterator[Violation]:
    """Yield the pictures that an earlier run shows for the same article."""
    shown: dict[str, dict[str, str]] = defaultdict(dict)
    for folder in folders.values():
        for article_id, name in folder.pictures.items():
            if name in folder.pixels:
                first = shown[article_id].setdefault(folder.pixels[name], folder.name)
                if first != folder.name:
                    yield Violation(name, f"shows the same picture as run {first}")
