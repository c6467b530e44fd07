"""Listing finds pictures of all formats and counts the other files."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage

from newsimg.data.collection import FolderDataset
from newsimg.data.collection_tar import TarDataset
from newsimg.data.collection_zip import ZipDataset
from newsimg.datatypes import Image, Rejected, SkippedFile
from newsimg.engine.listing import Listing, write_listing
from newsimg.interfaces import Dataset
from newsimg.storage.pictures.formats import EXTENSIONS
from newsimg.storage.pictures.images import open_image
from newsimg.storage.pictures.skipped import Tally

# Extension -> Pillow's name of the format, for formats that Pillow writes.
WRITTEN = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".img": "JPEG",
    ".j2k": "JPEG2000",
    ".jfif": "JPEG",
    ".jp2": "JPEG2000",
    ".jpe": "JPEG",
    ".JPEG": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tga": "TGA",
    ".tif": "TIFF",
    ".webp": "WEBP",
    "": "PNG",
}
# 64x48: (200, 100, 50) on the left, (60, 120, 180) on the right, written by pillow-heif.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAHwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHdodmNDAQQIAAAAAAAAAAAAHvAA/P/4"
    "+AAADwNgAAEAF0ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAAHpAEECCy3VyU1zcB"
    "DQYEAAADAGQAAAMABCBiAAEACEQBwXMYMAiQAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABA"
    "AAAAKGNsYXAAAABAAAAAAQAAADAAAAABAAAAAAAAAAL////wAAAAAgAAAA5waXhpAAAAAAEIAAAAGGlwbWEAAAAA"
    "AAAAAQABBYECAwWEAAAAhG1kYXQAAAB4KAGvBjiJLnwvgi///7HV/ZfwEkqaZfo0TyP8mhj//0L/Jv/ATtQrXk0v"
    "jdzt9m+XixYYtD3eE//A2MvyoG3FvR/+9cYKgqR2ybU3awf/dNYRIWGADTf3+zO6aqwwlnWgZN0nF08W0QkZF0Wx"
    "K+G/okwxXt7/GVwT"
)
OTHERS = {"notes.txt": b"no", "more.TXT": b"no", "README": b"hello", "a.json": b"{}"}


def draw(kind: str = "JPEG", seed: int = 0) -> bytes:
    patches = np.random.default_rng(seed).integers(60, 200, (3, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(patches).resize((40, 30), PILImage.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def fill(folder: Path) -> dict[str, bytes]:
    """Write a picture in each format and some other files; return the pictures."""
    folder.mkdir(parents=True)
    pictures = {f"p{i:02}{suffix}": draw(kind) for i, (suffix, kind) in enumerate(WRITTEN.items())}
    for name, content in (pictures | OTHERS | {".hidden": b"no"}).items():
        (folder / name).write_bytes(content)
    return pictures


def open_source(kind: str, folder: Path) -> Dataset:
    if kind == "folder":
        return FolderDataset(name="c", folder=str(folder))
    path = folder.with_suffix(f".{kind}")
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(folder, ".")
        return TarDataset(name="c", folder=str(path))
    with zipfile.ZipFile(path, "w") as zipped:
        for place in sorted(folder.iterdir()):
            zipped.write(place, place.name)
    return ZipDataset(name="c", folder=str(path), licences=None)


def count(dataset: Dataset) -> Tally:
    tally = Tally()
    for found in dataset.stream_images():
        if isinstance(found, SkippedFile):
            tally.add(found)
    return tally


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_all_formats_of_pillow_are_found_and_other_files_are_counted(
    kind: str, tmp_path: Path
) -> None:
    pictures = fill(tmp_path / "all")
    dataset = open_source(kind, tmp_path / "all")
    images = [found for found in dataset.stream_images() if isinstance(found, Image)]
    assert {Path(image.member or image.path).name for image in images} == set(pictures)
    for image in images:  # equal to the drawing, up to lossy compression
        difference = np.asarray(open_image(image), np.int16) - np.asarray(
            PILImage.open(io.BytesIO(draw("PNG"))).convert("RGB"), np.int16
        )
        assert np.abs(difference).mean() < 12
    summary = count(dataset).describe()
    assert summary == "4 files skipped: .txt 2, without extension 1, .json 1"


def test_the_error_of_a_folder_without_pictures_lists_its_files_and_the_known_extensions(
    tmp_path: Path,
) -> None:
    for name, content in OTHERS.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"no pictures in .*: 4 files skipped: \.txt 2") as one:
        list(FolderDataset(name="c", folder=str(tmp_path)).stream_images())
    assert {".avif", ".jpg", ".webp"} <= set(str(one.value).partition("looked for ")[2].split())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures in .*empty: there are no files"):
        FolderDataset(name="c", folder=str(tmp_path / "empty")).load()
    with pytest.raises(FileNotFoundError, match=r"no \.tar file below .*; 4 files skipped"):
        TarDataset(name="c", folder=str(tmp_path)).load()


def test_other_and_compressed_archives_are_counted(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.jpg", draw())
    for name in ("b.tar", "c.tar.gz", "a.parquet", "d.parquet"):
        (tmp_path / name).write_bytes(b"")
    dataset = ZipDataset(name="c", folder=str(tmp_path), licences=None)
    (tmp_path / "a.parquet").unlink()
    summary = count(dataset).describe()
    assert summary == "3 files skipped: .tar 1, .gz 1, .parquet 1"


def test_the_summary_of_many_extensions_is_short() -> None:
    tally = Tally()
    for number in range(30):
        for _ in range(number + 1):
            tally.add(SkippedFile(f"/x/a.{number}", f".{number}"))
    summary = tally.describe()
    assert summary.startswith("465 files skipped: .29 30, .28 29, ")
    assert summary.endswith(", 22 more extensions")


def test_no_external_program_decodes_a_picture(tmp_path: Path) -> None:
    """Pillow would run Ghostscript for an EPS file."""
    assert not {".eps", ".ps", ".wmf", ".h5", ".mpg", ".pdf"} & set(EXTENSIONS)
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture"):
        open_image(Image("a", tmp_path / "a.jpg"))


def test_unreadable_entries_are_rejected_and_others_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(draw())
    (folder / "z.jpg").write_bytes(draw())
    (folder / "loop").symlink_to("loop")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    # A path above the system's length limit cannot be listed, not even by root.
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=handle)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    found = list(FolderDataset(name="c", folder=str(folder)).stream_images())
    assert [one.image_id for one in found if isinstance(one, Image)] == ["a.jpg", "z.jpg"]
    rejected = {one.uri: one.reason for one in found if isinstance(one, Rejected)}
    assert rejected.pop(f"{folder}/loop") == "cannot be read: Too many levels of symbolic links"
    assert rejected.pop(f"{folder}/loop.jpg") == "cannot be read: Too many levels of symbolic links"
    ((place, reason),) = rejected.items()
    assert "/ddd" in place
    assert reason == "cannot be read: File name too long"


def test_reading_a_pipe_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(draw())
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "b.jpg")
    with pytest.raises(ValueError, match=r"cannot read the picture .*b\.jpg: not a regular file"):
        open_image(Image("b", tmp_path / "b.jpg"))
    assert count(FolderDataset(name="c", folder=str(tmp_path))).describe() == (
        "1 file skipped: without extension 1"
    )


def test_a_listing_keeps_the_order_and_counts_skipped_files(
    tmp_path: Path,
) -> None:
    odd = b"/x/caf\xe9.jpg".decode(errors="surrogateescape")  # not UTF-8
    found = [
        Rejected(odd, "cannot be read: File name too long"),
        Image("a", tmp_path / "a.jpg"),
        SkippedFile(odd, ".heic"),
        Rejected("/x/loop", "cannot be read"),
        Rejected("/x/loop", "cannot be read"),
        SkippedFile("/x/b", ""),
        Image("b", tmp_path / "b.jpg"),
    ]
    written = write_listing(found, tmp_path / "listing.arrow", 2)
    assert written.skipped.counts == {".heic": 1, "": 1}
    again = Listing(tmp_path / "listing.arrow")  # as a worker opens it
    rows = [row for number in range(again.n_chunks) for row in again.read_chunk(number)]
    assert [row.image_id if isinstance(row, Image) else row.uri for row in rows] == [
        r"/x/caf\udce9.jpg",
        "a",
        "/x/loop",
        "/x/loop",
        "b",
    ]


@pytest.fixture
def index_folder(
    newsimg_here: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> Callable[..., Any]:
    def run(folder: Path, *more: str) -> Any:
        others = [one for one in tiny_options if not one.startswith(("data", "task"))]
        options = ["data=collection", f"data.folder={folder}", "task=index", "tracking=none"]
        return newsimg_here(*others, *options, f"task.index_dir={tmp_path / 'index'}", *more)

    return run


def test_skipped_files_of_an_index_are_reported(
    index_folder: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.jpg").write_bytes(draw(seed=i))
    for name in ("x.heif2", "y.heif2", "notes.txt"):
        (folder / name).write_bytes(b"no")
    (folder / "loop").symlink_to("loop")
    made = index_folder(folder, "task.max_rejected=0.1")
    assert made.code == 0, made.output
    assert "3 files skipped: .heif2 2, .txt 1" in made.output
    rejected = tmp_path / "index" / "rejected.parquet"
    expected = {
        f"{folder}/loop": "cannot be read: Too many levels of symbolic links",
        f"{folder}/x.heif2": "skipped: one of 2 files .heif2",
        f"{folder}/notes.txt": "skipped: .txt",
    }
    table = pd.read_parquet(rejected)
    assert dict(zip(table["uri"], table["reason"], strict=True)) == expected
    (folder / "z.heif2").write_bytes(b"no")
    (folder / "new.jpg").write_bytes(draw(seed=99))
    added = index_folder(folder, "task.max_rejected=1", "task.action=append")
    assert added.code == 0, added.output
    assert "4 files skipped: .heif2 3, .txt 1" in added.output
    table = pd.read_parquet(rejected)
    expected[f"{folder}/x.heif2"] = "skipped: one of 3 files .heif2"
    assert dict(zip(table["uri"], table["reason"], strict=True)) == expected
    assert len(table) == 3
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["skipped"] == {".heif2": 3, ".txt": 1}
    assert (manifest["n_images"], manifest["n_rejected"]) == (11, 1)


def test_formats_of_installed_plugins_are_read(tmp_path: Path) -> None:
    assert {".heic", ".heif", ".jxl"} <= set(EXTENSIONS)
    for name, content in {"a.jxl": draw("JXL"), "b.heic": HEIC, "c": HEIC, "d.jpg": HEIC}.items():
        (tmp_path / name).write_bytes(content)
    images = FolderDataset(name="c", folder=str(tmp_path)).load().images
    assert [image.image_id for image in images] == ["a.jxl", "b.heic", "c", "d.jpg"]
    drawn = PILImage.open(io.BytesIO(draw("PNG")))
    difference = np.asarray(open_image(images[0]), np.int16) - np.asarray(drawn, np.int16)
    assert np.abs(difference).mean() < 12
    for image in images[1:]:
        pixels = np.asarray(open_image(image), np.int16)
        assert pixels.shape == (48, 64, 3)
        assert np.abs(pixels[:, :28] - (200, 100, 50)).max() < 6
        assert np.abs(pixels[:, 36:] - (60, 120, 180)).max() < 6


def test_the_summary_names_the_extra_that_reads_skipped_files(tmp_path: Path) -> None:
    pictures = {"a.heic": HEIC, "b": HEIC, "c.jxl": draw("JXL"), "d.jpg": HEIC, "e.png": draw()}
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    script = """
import sys
sys.modules["pi_heif"] = sys.modules["pillow_jxl"] = None  # as if they were not installed
from newsimg.data.collection import FolderDataset
from newsimg.storage.pictures.images import open_image
collection = FolderDataset(name="c", folder=sys.argv[1]).load()
for image in collection.images:
    try:
        print(image.image_id, open_image(image).size)
    except ValueError as error:
        print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr.strip() == (
        "c: 3 files skipped: .heic 1 (needs pip install 'newsimg[formats]'), "
        "without extension 1, .jxl 1 (needs pip install 'newsimg[jxl]')"
    )
    assert done.stdout.splitlines() == [
        f"cannot read the picture {tmp_path}/d.jpg: its format needs "
        "pip install 'newsimg[formats]'",
        "e.png (40, 30)",
    ]
