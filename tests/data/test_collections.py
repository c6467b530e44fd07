"""Collections of pictures: every source lists each picture once, in a fixed order."""

import csv
import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from newsimg.data.collection import FolderDataset
from newsimg.data.collection_list import ListDataset
from newsimg.data.collection_table import TableDataset
from newsimg.data.collection_tar import TarDataset
from newsimg.data.collection_zip import ZipDataset
from newsimg.datatypes import Image, SkippedFile
from newsimg.interfaces import Dataset
from newsimg.storage.cache import OutputCache
from newsimg.storage.pictures.archives import MAX_OPEN, read_member
from newsimg.storage.pictures.images import open_image, read_image

# Names in the expected order of their ids; folders sort like paths.
NAMES = ["a b.jpg", "a%.jpg", "a-b/1.JPG", "a/1.png", "a/z/2.jpg", "a.jpg", "ä/3.jpg"]
NAMES.sort(key=lambda name: name.replace("%", "%25").replace(" ", "%20"))


def draw(shade: int, extension: str = "jpg") -> bytes:
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "png": "PNG"}[extension.lower()]
    PILImage.new("RGB", (12, 8), (shade, shade, shade)).save(buffer, kind)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    return {name: draw(30 * i, name[-3:]) for i, name in enumerate(NAMES)}


def spread(folder: Path) -> Path:
    for name, content in [*contents().items(), ("notes.txt", b"no"), (".hidden.jpg", b"no")]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "._dir").mkdir()
    (folder / "._dir" / "x.jpg").write_bytes(b"no")
    return folder


def list_images(dataset: Dataset) -> list[Image]:
    """Return only the pictures of a data set's listing."""
    return [found for found in dataset.stream_images() if isinstance(found, Image)]


def make_source(kind: str, folder: Path) -> Dataset:
    """Return a data set of the same seven pictures from one of the five sources."""
    if kind == "folder":
        return FolderDataset(name="c", folder=str(spread(folder)))
    shuffled = list(contents().items())[::-1]
    if kind in ("list", "table.csv", "table.parquet"):
        spread(folder / "pictures")
        places = [f"pictures/{name}" for name, _ in shuffled]
        places[0] = (folder / places[0]).as_uri() if "table" in kind else str(folder / places[0])
        if kind == "list":
            (folder / "list.txt").write_text("\n".join(places) + "\n\n", encoding="utf-8")
            return ListDataset(name="c", path=str(folder / "list.txt"))
        rows = {"id": [f"00{i}" for i in range(7)], "path": places, "licence": ["CC BY", *[""] * 6]}
        path = folder / kind
        if path.suffix == ".parquet":
            pq.write_table(pa.table(rows | {"other": list(range(7))}), path)
        else:
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([list(rows), *zip(*rows.values(), strict=True)])
        return TableDataset(name="c", path=str(path), path_column="path", id_column="id")
    extras = [("notes.json", b"{}"), ("__MACOSX/._a.jpg", b"no")]
    for shard in (0, 1):
        path = folder / "deep" / f"{shard:03}.{kind}"
        path.parent.mkdir(exist_ok=True)
        members = [*shuffled[shard::2], *extras]
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.mkdir("folder.jpg")
                for name, content in members:
                    archive.writestr(name, content)
        else:
            with tarfile.open(path, "w") as archive:
                for name, content in members:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    if kind == "tar":
        return TarDataset(name="c", folder=str(folder))
    return ZipDataset(name="c", folder=str(folder), licences=None)


KINDS = ["folder", "list", "table.csv", "table.parquet", "tar", "zip"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_yields_each_picture_once_with_its_bytes(kind: str, tmp_path: Path) -> None:
    dataset = make_source(kind, tmp_path)
    images = list_images(dataset)
    assert sorted(map(read_image, images)) == sorted(contents().values())
    assert [image.uri for image in list_images(dataset)] == [image.uri for image in images]
    assert len({image.image_id for image in images}) == 7
    for image in images:  # the content is that of the file or member in the URI
        place = image.member or str(image.path)
        (name,) = [name for name in NAMES if place == name or place.endswith("/" + name)]
        assert read_image(image) == contents()[name]
        assert not any(character.isspace() for character in image.image_id)


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_has_no_queries_and_is_sorted_by_id(kind: str, tmp_path: Path) -> None:
    collection = make_source(kind, tmp_path).load()
    assert (collection.queries, collection.qrels) == ((), None)
    ids = [image.image_id for image in collection.images]
    assert ids == sorted(ids)
    assert len(ids) == 7


def test_a_folder_is_listed_in_the_order_of_its_relative_paths(
    tmp_path: Path,
) -> None:
    ids = [image.image_id for image in list_images(make_source("folder", tmp_path))]
    assert ids == sorted(name.replace("%", "%25").replace(" ", "%20") for name in NAMES)


def test_ids_in_archives_contain_the_archive_path(tmp_path: Path) -> None:
    images = list_images(make_source("zip", tmp_path))
    ids = [image.image_id for image in images]
    assert ids == sorted(ids)
    assert ids[0].startswith("deep/000.zip/")
    assert images[0].uri == f"{tmp_path}/deep/000.zip::{images[0].member}"


def test_members_with_names_outside_of_the_archive_are_pictures_and_files_there_are_not_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.jpg").write_bytes(draw(9))
    names = ("../up.jpg", "/root.jpg", "./here.jpg", "a\\..\\back.jpg", "../.hidden.jpg")
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        for shade, name in enumerate(names):
            archive.writestr(name, draw(shade))
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../secret.jpg")
    dataset = ZipDataset(name="c", folder=str(tmp_path / "in"), licences=None)
    found = {image.member: read_image(image) for image in list_images(dataset)}
    assert found == {name: draw(shade) for shade, name in enumerate(names[:4])}


def test_links_to_folders_are_followed_except_in_cycles(tmp_path: Path) -> None:
    spread(tmp_path / "pictures")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.jpg").write_bytes(draw(1))
    (tmp_path / "pictures" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures" / "a" / "up").symlink_to(tmp_path / "pictures")
    images = list_images(FolderDataset(name="c", folder=str(tmp_path / "pictures")))
    assert [i.image_id for i in images if "linked" in i.image_id] == ["linked/x.jpg"]
    assert len(images) == 8


def test_ids_and_metadata_of_a_table_are_unchanged(tmp_path: Path) -> None:
    for kind in ("table.csv", "table.parquet"):
        (tmp_path / kind[6:]).mkdir()
        images = list(make_source(kind, tmp_path / kind[6:]).stream_images())
        assert [image.image_id for image in images] == [f"00{i}" for i in range(7)]
        assert images[0].metadata == {"licence": "CC BY"}
        assert images[1].metadata == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file\na.jpg\n", "must have the column path once"),
        ("path\na.jpg\n\n", None),
        ("path,b\na.jpg,1\n,2\n", r"empty path \(row 2\)"),
        ("path\nhttps://x.example/a.jpg\n", r"is not on disk.*\(row 1\)"),
        (
            "path,b\na.jpg,1\nb.jpg\n",
            r"t\.csv, line 3: 1 values separated by comma, but 2 in line 1",
        ),
        ("path;b\na.jpg;1\n", r"t\.csv must be separated by commas, got semicolon"),
        ('path,b\n"a.jpg,1\nb.jpg",2\n', r"t\.csv, line 2: a quoted value spans several rows"),
    ],
)
def test_an_invalid_table_is_rejected_with_the_row(
    rows: str, message: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(rows)
    dataset = TableDataset(
        name="c", path=str(tmp_path / "t.csv"), path_column="path", id_column=None
    )
    if message is None:
        assert len(list(dataset.stream_images())) == 1
        return
    with pytest.raises(ValueError, match=message):
        list(dataset.stream_images())


def test_a_duplicate_id_is_an_error_that_names_both_pictures(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,id\na.jpg,1\nb.jpg,1\n")
    dataset = TableDataset(
        name="c", path=str(tmp_path / "t.csv"), path_column="path", id_column="id"
    )
    with pytest.raises(ValueError, match=r"two pictures for one image id 1: .*a\.jpg, .*b\.jpg"):
        dataset.load()


@pytest.mark.parametrize("kind", ["folder", "list", "table.csv", "tar", "zip"])
def test_a_missing_source_is_named_in_the_error(kind: str, tmp_path: Path) -> None:
    place = str(tmp_path / "nowhere.csv")
    dataset: Dataset = {
        "folder": lambda: FolderDataset(name="c", folder=place),
        "list": lambda: ListDataset(name="c", path=place),
        "table.csv": lambda: TableDataset(name="c", path=place, path_column="p", id_column=None),
        "tar": lambda: TarDataset(name="c", folder=place),
        "zip": lambda: ZipDataset(name="c", folder=place, licences=None),
    }[kind]()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(dataset.stream_images())


def test_a_collection_has_no_splits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no articles and no split 'test'"):
        FolderDataset(name="c", folder=str(tmp_path)).with_split("test")


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "header"])
def test_a_damaged_archive_is_named_and_never_partially_listed(
    kind: str, damage: str, tmp_path: Path
) -> None:
    dataset = make_source(kind, tmp_path)
    path = tmp_path / "deep" / f"001.{kind}"
    content = bytearray(path.read_bytes())
    if damage == "header":  # of the second member, or of the table of contents
        start = content.find(b"ustar", 600) - 100 if kind == "tar" else content.find(b"PK\1\2")
        content[start : start + 8] = b"\xff" * 8
    changed = {"cut": content[: len(content) // 3], "empty": b"", "text": b"not found"}
    path.write_bytes(changed.get(damage, bytes(content)))
    with pytest.raises(ValueError, match=rf"damaged archive .*001\.{kind}: .*; fetch it again"):
        list(dataset.stream_images())


def test_a_damaged_member_is_named_and_others_are_read(tmp_path: Path) -> None:
    images = list_images(make_source("zip", tmp_path))
    path, member = images[0].path, images[0].member
    assert member is not None
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        at = info.header_offset + 30 + len(info.orig_filename.encode()) + 100
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read the picture .*{member}.*damaged.*CRC"):
        open_image(images[0])
    assert read_image(images[1]) == contents()[images[1].member or ""]


def test_archives_are_read_by_many_threads(tmp_path: Path) -> None:
    expected = {}
    for shard in range(2 * MAX_OPEN):
        for kind in ("zip", "tar"):
            path = tmp_path / f"{shard}.{kind}"
            members = {f"{i}.jpg": np.random.default_rng([shard, i]).bytes(900) for i in range(20)}
            if kind == "zip":
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, content in members.items():
                        archive.writestr(name, content)
            else:
                with tarfile.open(path, "w") as archive:
                    for name, content in members.items():
                        info = tarfile.TarInfo(name)
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
            expected |= {(path, name): content for name, content in members.items()}
    asked = list(expected) * 3
    np.random.default_rng(0).shuffle(asked)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda key: read_member(*key), asked))
    assert read == [expected[key] for key in asked]


def test_a_missing_member_is_named_in_the_error(tmp_path: Path) -> None:
    make_source("tar", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"000\.tar has no member x\.jpg"):
        read_image(Image("x", tmp_path / "deep" / "000.tar", "x.jpg"))


def test_members_are_hashed_by_their_bytes(tmp_path: Path) -> None:
    for kind in ("zip", "folder"):
        (tmp_path / kind).mkdir()
    zipped = make_source("zip", tmp_path / "zip").load().images
    loose = make_source("folder", tmp_path / "folder").load().images
    cache = OutputCache(tmp_path / "cache")
    assert sorted(cache.hash_images(zipped)) == sorted(cache.hash_images(loose))
    assert len(set(cache.hash_images(zipped))) == 7


def make_described_zips(folder: Path) -> Path:
    """Write two zips of three pictures; only the first has a table, without its last picture."""
    for shard in ("000", "001"):
        with zipfile.ZipFile(folder / f"{shard}.zip", "w") as archive:
            for shade in range(3):
                archive.writestr(f"{shade}.jpg", draw(shade))
    known = {"member": ["1.jpg", "0.jpg"], "licence": ["CC BY", "CC0"], "author": ["Zoë", None]}
    pq.write_table(pa.table(known | {"tags": ["a", "b"]}), folder / "000.parquet")
    return folder


def test_a_table_beside_a_zip_provides_metadata(tmp_path: Path) -> None:
    folder = make_described_zips(tmp_path)
    images = list(ZipDataset(name="c", folder=str(folder), licences=None).stream_images())
    assert [image.metadata for image in images] == [
        {"licence": "CC0", "keywords": "b"},
        {"licence": "CC BY", "author": "Zoë", "keywords": "a"},
        *[None] * 4,
    ]


def test_text_and_json_files_beside_a_picture_of_a_tar_are_its_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = {
        "a/0.jpg": draw(0), "a/0.txt": "Fähre\n".encode(), "a/1.jpg": draw(1),
        "a/0.json": b'{"caption": "other", "title": "T", "tags": ["x", "y"], "date": "20200102"}',
        "a/1.json": b"{broken", "a/2.jpg": draw(2), "a/2.json": b"[1]", "b/0.txt": b"no picture",
    }  # fmt: skip
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    listed = list(TarDataset(name="c", folder=str(tmp_path)).stream_images())
    found = {one.member: one.metadata for one in listed if isinstance(one, Image)}
    words = {"title": "T", "caption": "Fähre", "keywords": "x, y", "date": "2020-01-02"}
    assert found == {"a/0.jpg": words, "a/1.jpg": {}, "a/2.jpg": {}}
    assert [one.uri for one in listed if isinstance(one, SkippedFile)] == [
        f"{tmp_path}/s.tar::b/0.txt"
    ]
    assert "1.json is not used" in caplog.text
    assert "2.json is not used: no JSON object" in caplog.text


def test_only_pictures_of_the_given_licences_are_included(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shard = make_described_zips(tmp_path) / "000.zip"
    chosen = ZipDataset(name="c", folder=str(shard), licences=["CC BY", "CC BY-SA"])
    assert [image.member for image in chosen.stream_images()] == ["1.jpg"]
    assert "2 of 3 pictures are excluded, CC0: 1, unknown: 1" in caplog.text
    others = ZipDataset(name="c", folder=str(shard), licences=["CC BY-SA"])
    with pytest.raises(ValueError, match=r"no picture has .*data.licences: 3 of 3 .*CC BY: 1"):
        list(others.stream_images())


def test_licences_require_a_table(tmp_path: Path) -> None:
    folder = make_described_zips(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"001\.parquet"):
        list(ZipDataset(name="c", folder=str(folder), licences=["CC BY"]).stream_images())
    for wrong in ("CC BY", [], [1]):
        with pytest.raises(ValueError, match=r"data.licences must be a list of names or null"):
            ZipDataset(name="c", folder=str(folder), licences=wrong)
