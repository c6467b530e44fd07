"""Archives: the content equals what `tar` and `unzip` extract, or the archive is rejected."""

import io
import os
import subprocess
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from newsimg.data.collection_tar import TarDataset
from newsimg.data.collection_zip import ZipDataset
from newsimg.datatypes import Image, Rejected
from newsimg.storage.pictures.archives import list_members
from newsimg.storage.pictures.images import read_image


def draw(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_pairs(path: Path, numbers: range, seed: int = 0) -> Path:
    """Write a WebDataset shard with a picture and a text per number."""
    with tarfile.open(path, "w") as archive:
        for i in numbers:
            for name, content in ((f"{i}.jpg", draw(seed + i)), (f"{i}.txt", b"a caption")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def read_all(path: Path) -> dict[str, bytes]:
    """Return the pictures of an archive, keyed by member name."""
    dataset = (
        TarDataset(name="c", folder=str(path))
        if path.suffix == ".tar"
        else ZipDataset(name="c", folder=str(path), licences=None)
    )
    images = [found for found in dataset.stream_images() if isinstance(found, Image)]
    return {os.path.normpath(image.member or ""): read_image(image) for image in images}


def list_rejected(path: Path) -> dict[str, str]:
    dataset = TarDataset(name="c", folder=str(path))
    found = [one for one in dataset.stream_images() if isinstance(one, Rejected)]
    return {one.uri.partition("::")[2]: one.reason for one in found}


def unpack(path: Path, folder: Path) -> dict[str, bytes]:
    """Return the pictures that the system's tar extracts, keyed by path."""
    folder.mkdir()
    subprocess.run(["tar", "--ignore-zeros", "-xf", path], cwd=folder, check=True)
    return {str(place.relative_to(folder)): place.read_bytes() for place in folder.rglob("*.jpg")}


@pytest.mark.parametrize("member", range(1, 8))
def test_a_tar_truncated_at_a_member_boundary_is_rejected(member: int, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.tar", range(4))
    with tarfile.open(path) as archive:
        end = archive.getmembers()[member].offset
    os.truncate(path, end)
    with pytest.raises(ValueError, match=rf"damaged archive .*a\.tar: no end block at byte {end}"):
        read_all(path)


def test_a_truncated_tar_is_rejected_unless_complete(tmp_path: Path) -> None:
    whole = write_pairs(tmp_path / "whole.tar", range(3)).read_bytes()
    expected, cut = read_all(tmp_path / "whole.tar"), tmp_path / "cut.tar"
    with tarfile.open(tmp_path / "whole.tar") as archive:
        archive.getmembers()
        end = archive.offset
    for size in range(0, len(whole), 173):
        cut.write_bytes(whole[:size])
        if size >= end + tarfile.BLOCKSIZE:
            assert read_all(cut) == expected
        else:
            with pytest.raises(ValueError, match=r"damaged archive .*cut\.tar"):
                read_all(cut)


@pytest.mark.parametrize("padding", [0, 512, 5 << 20])
def test_concatenated_tars_are_read_as_one(padding: int, tmp_path: Path) -> None:
    parts = [write_pairs(tmp_path / f"{i}.tar", range(4 * i, 4 * i + 4)) for i in range(3)]
    together = tmp_path / "all.tar"
    together.write_bytes((b"\0" * padding).join(part.read_bytes() for part in parts))
    found = read_all(together)
    assert len(found) == 12
    assert found == unpack(together, tmp_path / "unpacked")


def test_a_tar_with_trailing_data_is_rejected(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.tar", range(2))
    for rest in (b"rest", b"x" * 600, write_pairs(tmp_path / "b.tar", range(9)).read_bytes()[512:]):
        path.write_bytes(write_pairs(tmp_path / "c.tar", range(2)).read_bytes() + rest)
        with pytest.raises(ValueError, match=r"damaged archive .*a\.tar"):
            read_all(path)


def test_an_empty_tar_is_accepted(tmp_path: Path) -> None:
    tarfile.open(tmp_path / "empty.tar", "w").close()
    write_pairs(tmp_path / "full.tar", range(2))
    found = TarDataset(name="c", folder=str(tmp_path)).load().images
    assert [image.member for image in found] == ["0.jpg", "1.jpg"]


def make_linked(folder: Path) -> Path:
    """Write two pictures, links of all kinds to them, and broken links."""
    (folder / "deep").mkdir(parents=True)
    for i in range(2):
        (folder / f"{i}.jpg").write_bytes(draw(i))
    os.link(folder / "0.jpg", folder / "hard.jpg")
    (folder / "soft.jpg").symlink_to("1.jpg")
    (folder / "deep" / "up.jpg").symlink_to("../soft.jpg")
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    (folder / "outside.jpg").symlink_to(folder.absolute() / "0.jpg")
    (folder / "round.jpg").symlink_to("about.jpg")
    (folder / "about.jpg").symlink_to("round.jpg")
    return folder


def zip_with_links(folder: Path, path: Path) -> None:
    """Write a zip like `zip --symlinks`."""
    with zipfile.ZipFile(path, "w") as archive:
        for place in sorted(folder.rglob("*.jpg")):
            info = zipfile.ZipInfo(str(place.relative_to(folder)))
            info.external_attr = place.lstat().st_mode << 16
            archive.writestr(info, os.readlink(place) if place.is_symlink() else place.read_bytes())


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_links_in_an_archive_are_resolved(kind: str, tmp_path: Path) -> None:
    folder, path = make_linked(tmp_path / "pictures"), tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_with_links(folder, path)
    else:
        subprocess.run(["tar", "-cf", path, "-C", folder, "."], check=True)
    found = read_all(path)
    assert set(found) == {"0.jpg", "1.jpg", "hard.jpg", "soft.jpg", "deep/up.jpg"}
    assert found == {name: (folder / name).read_bytes() for name in found}


def test_broken_links_are_rejected(tmp_path: Path) -> None:
    folder, path = make_linked(tmp_path / "pictures"), tmp_path / "a.tar"
    subprocess.run(["tar", "-cf", path, "-C", folder, "."], check=True)
    rejected = list_rejected(path)
    assert set(rejected) == {f"./{name}.jpg" for name in ("broken", "outside", "round", "about")}
    assert rejected["./broken.jpg"] == "a link to nowhere.jpg, which is not a file in the archive"


def test_sparse_files_and_pipes_are_rejected(tmp_path: Path) -> None:
    folder, path = tmp_path / "pictures", tmp_path / "a.tar"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(draw(0))
    with (folder / "holes.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(draw(1))
    os.mkfifo(folder / "pipe.jpg")
    subprocess.run(["tar", "--sparse", "-cf", path, "-C", folder, "."], check=True)
    assert set(list_rejected(path)) == {"./holes.jpg", "./pipe.jpg"}
    assert set(read_all(path)) == {"0.jpg"}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_duplicate_member_name_is_reported_if_the_bytes_differ(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    contents = [("0.jpg", draw(0)), ("1.jpg", draw(1)), ("1.jpg", draw(2)), ("0.jpg", draw(0))]
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name, content in contents:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        dataset: TarDataset | ZipDataset = TarDataset(name="c", folder=str(path))
    else:
        with zipfile.ZipFile(path, "w") as zipped, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns about duplicate names
            for name, content in contents:
                zipped.writestr(name, content)
        dataset = ZipDataset(name="c", folder=str(path), licences=None)
    assert read_all(path) == {"0.jpg": draw(0), "1.jpg": draw(2)}
    rejected = [one for one in dataset.stream_images() if isinstance(one, Rejected)]
    assert [one.uri for one in rejected] == [f"{path}::1.jpg"]
    assert "two members have this name" in rejected[0].reason


@pytest.mark.parametrize("comment", [b"", b"of the archive", b"x" * 0xFFFF])
def test_concatenated_zips_are_rejected_and_a_prefixed_zip_is_read(
    comment: bytes, tmp_path: Path
) -> None:
    for i in range(2):
        with zipfile.ZipFile(tmp_path / f"{i}.zip", "w") as archive:
            archive.writestr(f"{i}.jpg", draw(i))
            archive.comment = comment
    both = tmp_path / "both.zip"
    both.write_bytes((tmp_path / "0.zip").read_bytes() + (tmp_path / "1.zip").read_bytes())
    with pytest.raises(ValueError, match=r"damaged archive .*both\.zip: two zip files are"):
        read_all(both)
    both.write_bytes(b"#!/bin/sh\n" * 50 + (tmp_path / "1.zip").read_bytes())
    assert read_all(both) == {"1.jpg": draw(1)}


def test_a_zip_of_an_unknown_version_is_named_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", draw(0))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + 6] = 84  # the version that is needed to extract
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"damaged archive {path}: zip file version 8.4"):
        list_members(path)
