"""Damaged tar and zip files, listed and read as collections are."""

import io
import random
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutations import mutate
from PIL import Image as PILImage
from result import Result

from newsimg.data.folder_listing import stream_archives
from newsimg.datatypes import Image
from newsimg.storage.pictures.images import decode_picture, open_image

MAX_SECONDS = 5  # of processor time
N_PICTURES = 5


def make_members(rng: random.Random) -> dict[str, bytes]:
    """Return small pictures, text files and a picture in a folder, by name."""
    members = {}
    for i in range(N_PICTURES):
        buffer = io.BytesIO()
        colour = tuple(rng.randrange(256) for _ in range(3))
        PILImage.new("RGB", (24, 16), colour).save(buffer, "PNG")
        members[f"{'deep/' * (i % 2)}{i:03d}.png"] = buffer.getvalue()
        members[f"{i:03d}.txt"] = f"caption {i}".encode()
    return members


def write_tar(members: Mapping[str, bytes], rng: random.Random) -> bytes:
    """Return a tar file of the members."""
    buffer = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_zip(members: Mapping[str, bytes], rng: random.Random) -> bytes:
    """Return a zip file of the members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((0, 8, 12, 14))) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def check(path: Path, known: Sequence[Mapping[str, bytes]]) -> tuple[str, str]:
    """List and read an archive; return the outcome, and the fault if there is one.

    A picture that can be decoded must have the pixels that were written under its name. `known` are
    the members of both archives that a spliced one is made of.
    """
    start = time.process_time()
    try:
        images = [one for one in stream_archives(path, path.suffix) if isinstance(one, Image)]
    except ValueError as error:
        return ("refused", "") if str(path) in str(error) else ("NO NAME", f"{path}: {error}")
    n_read = 0
    for image in images:
        try:
            pixels = open_image(image).tobytes()
        except (ValueError, FileNotFoundError):
            continue
        n_read += 1
        written = [members[image.member] for members in known if image.member in members]
        if written and pixels not in [decode_picture(content).tobytes() for content in written]:
            return "OTHER PIXELS", image.uri
    if time.process_time() - start > MAX_SECONDS:
        return "SLOW", str(path)
    return ("all members read" if n_read == N_PICTURES else "members rejected"), ""


def run(n: int, seed: int, folder: Path) -> Result:
    """Damage `n` archives, half of them tar and half zip files."""
    result = Result("damaged tar and zip files")
    rng = random.Random(seed)
    for i in range(n):
        members, others = make_members(rng), make_members(rng)
        suffix, write = ((".tar", write_tar), (".zip", write_zip))[i % 2]
        content = write(members, rng)
        path = folder / f"{i:05d}{suffix}"
        path.write_bytes(mutate(content, rng, [write(others, rng)]))
        outcome, fault = check(path, (members, others))
        result.add(outcome, fault)
        if not fault:
            path.unlink()
    return result
