"""Changes to an index: changed pictures, removal by id or path, other backbones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from indexing import IndexMaker, draw, fill, open_clip

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.collection_list import ListDataset
from newsimg.data.collection_zip import ZipDataset
from newsimg.data.newsimages import NewsImagesDataset
from newsimg.index.folder import open_saved_index
from newsimg.index.saved import SavedIndexes
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.files import hash_file


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> TransformersBackbone:
    return open_clip(tiny_clip)


@pytest.fixture
def make(clip: TransformersBackbone, tmp_path: Path) -> IndexMaker:
    return IndexMaker(clip, tmp_path)


def read_digests(index: Path) -> dict[str, str]:
    table = pd.read_parquet(index / "images.parquet")
    return dict(zip(table["image_id"], table["digest"], strict=True))


def hash_folder(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}


@pytest.fixture
def cameras(make: IndexMaker, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same file names, the first indexed; 00000.jpg is equal in both."""
    first, second = fill(tmp_path / "cam23", 12), fill(tmp_path / "cam24", 3, start=50)
    for i in range(3):
        (second / f"{50 + i:05}.jpg").rename(second / f"{i:05}.jpg")
    shutil.copy(first / "00000.jpg", second / "00000.jpg")
    make(first)
    return first, second


def test_other_pictures_with_known_ids_are_an_error_that_names_the_options(
    cameras: tuple[Path, Path], make: IndexMaker, tmp_path: Path
) -> None:
    first, second = cameras
    before = {path.name: hash_file(path) for path in (tmp_path / "index").iterdir() if path.suffix}
    with pytest.raises(ValueError, match="2 pictures have an id of") as error:
        make(second, action="append")
    message = str(error.value)
    here, there = f"{first}/00001.jpg in the index", f"{second}/00001.jpg in the collection"
    assert f"00001.jpg: {here}, {there}" in message
    for option in ("data.id_prefix=NAME/", "task.on_changed=replace", "task.on_changed=skip"):
        assert option in message
    assert before.items() <= hash_folder_of(tmp_path / "index").items()


def hash_folder_of(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in folder.iterdir() if path.is_file()}


def test_a_prefix_keeps_both_pictures(
    cameras: tuple[Path, Path], make: IndexMaker, tmp_path: Path
) -> None:
    first, second = cameras
    metrics = make(second, action="append", id_prefix="cam24/")
    assert (metrics["n_added"], metrics["n_changed"]) == (3, 0)
    expected = hash_folder(first) | {f"cam24/{k}": v for k, v in hash_folder(second).items()}
    assert read_digests(tmp_path / "index") == expected


def test_an_append_that_is_repeated_adds_nothing_and_leaves_the_same_bytes(
    make: IndexMaker, tmp_path: Path
) -> None:
    make(fill(tmp_path / "cam23", 5))
    more = fill(tmp_path / "cam24", 3, start=50)
    (more / "broken.jpg").write_bytes(b"no picture")
    make(more, action="append", max_rejected=0.3)
    before = hash_folder_of(tmp_path / "index")
    # One of four pictures is rejected, as before, although the others are not embedded again.
    metrics = make(more, action="append", max_rejected=0.3)
    assert metrics["n_added"] == 0
    after = hash_folder_of(tmp_path / "index")
    for name in ("vectors.faiss", "images.parquet", "rejected.parquet"):
        assert after[name] == before[name]


def test_on_changed_skip_keeps_and_replace_replaces_changed_pictures(
    cameras: tuple[Path, Path], make: IndexMaker, clip: TransformersBackbone, tmp_path: Path
) -> None:
    first, second = cameras
    (second / "new.jpg").write_bytes(draw(99))
    metrics = make(second, action="append", on_changed="skip")
    assert (metrics["n_added"], metrics["n_changed"], metrics["n_replaced"]) == (1, 2, 0)
    expected = hash_folder(first) | {"new.jpg": hash_file(second / "new.jpg")}
    assert read_digests(tmp_path / "index") == expected
    metrics = make(second, action="append", on_changed="replace")
    assert (metrics["n_added"], metrics["n_changed"], metrics["n_replaced"]) == (0, 2, 2)
    assert (metrics["n_listed"], metrics["n_images"]) == (13, 13)
    assert read_digests(tmp_path / "index") == hash_folder(first) | hash_folder(second)
    saved = open_saved_index(tmp_path / "index", clip.fingerprint)
    queries = clip.embed_images([saved.images[row] for row in range(len(saved.images))])
    scores, rows = saved.search(queries, 1)
    assert list(rows[:, 0]) == list(range(13))
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    assert metrics["recall_at_10"] == 1


def test_a_changed_picture_that_is_rejected_does_not_replace_the_indexed_one(
    cameras: tuple[Path, Path], make: IndexMaker, tmp_path: Path
) -> None:
    first, _ = cameras
    before = hash_folder(first)
    (first / "00005.jpg").write_bytes(b"")
    (first / "00006.jpg").write_bytes(draw(77))
    metrics = make(first, action="append", on_changed="replace", max_rejected=0.5)
    assert (metrics["n_changed"], metrics["n_replaced"], metrics["n_rejected"]) == (2, 1, 1)
    expected = before | {"00006.jpg": hash_file(first / "00006.jpg")}
    assert read_digests(tmp_path / "index") == expected


def test_only_files_with_another_size_or_modification_time_are_read_again(
    cameras: tuple[Path, Path], make: IndexMaker, clip: TransformersBackbone, tmp_path: Path
) -> None:
    first, _ = cameras
    read: list[str] = []

    class Counting(OutputCache):
        def hash_images(self, images: Any) -> list[str]:
            pictures = [image for image in images if image.path.parent == first]
            read.extend(image.image_id for image in pictures if image.digest is None)
            return super().hash_images(images)

    make.backbone = CachedBackbone(clip, Counting(tmp_path / "cache"))
    (first / "00003.jpg").touch()
    assert make(first, action="append")["n_added"] == 0
    assert read == ["00003.jpg"]


def test_members_of_a_changed_archive_are_compared_by_their_bytes(
    make: IndexMaker, tmp_path: Path
) -> None:
    import zipfile

    def write(changed: int) -> ZipDataset:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for i in range(6):
                archive.writestr(f"{i}.jpg", draw(40 if i == changed else i))
        return ZipDataset(name="z", folder=str(tmp_path / "a.zip"), licences=None)

    make(write(-1))
    with pytest.raises(ValueError, match=r"1 pictures have .* a\.zip/4\.jpg: .*a\.zip::4\.jpg has"):
        make(write(4), action="append")


def test_pictures_are_removed_by_id_or_path(
    make: IndexMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "pictures" / "deep", 8).parent
    (folder / "a b.jpg").write_bytes(draw(50))
    (folder / "c%20d.jpg").write_bytes(draw(51))
    (folder / "é.jpg").write_bytes(draw(52))
    make(folder)
    monkeypatch.chdir(folder / "deep")
    names = [
        "deep/00000.jpg",  # an id
        "00001.jpg",  # a path from here
        "../deep/../deep/00002.jpg",
        str(folder / "deep" / "00003.jpg"),
        "a b.jpg",  # an id is written a%20b.jpg
        "../c%20d.jpg",
        "../é.jpg",
        "./00001.jpg",  # again
    ]
    assert make(folder, action="remove", image_ids=names)["n_removed"] == 7
    left = [f"deep/{i:05}.jpg" for i in range(4, 8)]
    assert sorted(read_digests(tmp_path / "index")) == left


def test_an_archive_member_is_removed_by_its_path(make: IndexMaker, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(4):
            archive.writestr(f"x/{i}.jpg", draw(i))
    data = ZipDataset(name="z", folder="a.zip", licences=None)
    make(data)
    assert make(data, action="remove", image_ids=["./a.zip::x/2.jpg"])["n_removed"] == 1
    assert sorted(read_digests(tmp_path / "index")) == [f"a.zip/x/{i}.jpg" for i in (0, 1, 3)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["00003.jpgg"], r"no picture '00003\.jpgg' \(did you mean '00003\.jpg'.*\)"),
        (["elsewhere/00003.jpg"], r"'elsewhere/00003\.jpg' \(did you mean '00003\.jpg'\?\)"),
        (["%%"], r"index has no picture '%%'$"),
        (["00001.jpg", *"vwxyz"], r"no picture \(5 names, first:\) 'v'; 'w'; 'x'$"),
    ],
)
def test_an_unknown_id_is_refused_with_similar_ids_and_nothing_is_removed(
    names: list[str], message: str, make: IndexMaker, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "pictures", 12)
    make(folder)
    with pytest.raises(ValueError, match=message):
        make(folder, action="remove", image_ids=names)
    assert len(read_digests(tmp_path / "index")) == 12


def test_a_job_that_fails_lists_the_rejected_pictures_with_reasons(
    make: IndexMaker, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.jpg").write_bytes(b"no picture" * i)
    listed = tmp_path / "run" / "rejected.parquet"
    expected = {str(folder / f"{i}.jpg"): "not a picture" if i else "zero bytes" for i in range(5)}
    for max_rejected, text in ((1, "c: none of 5 pictures can be used"), (0.5, "5 of 5 pictures")):
        for _ in range(2):  # the second time resumed from the checkpoint
            with pytest.raises(ValueError, match=text) as error:
                make(folder, max_rejected=max_rejected)
            assert f"{folder}/0.jpg: zero bytes" in str(error.value)
            assert f"{folder}/2.jpg: not a picture" in str(error.value)
            assert f"all rejected files with reasons: {listed}" in str(error.value)
            table = pd.read_parquet(listed)
            assert dict(zip(table["uri"], table["reason"], strict=True)) == expected
            listed.unlink()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg\nb.jpg\n".encode("utf-16"), r"list\.txt is in UTF-16; iconv -f UTF-16 .*list_utf8"),
        ("a.jpg\nb.jpg\n".encode("utf-16-le"), r"list\.txt, line 1 has a NUL .* iconv -f UTF-16LE"),
        ("a.jpg\nfähre.jpg\n".encode("latin-1"), r"line 2 is not UTF-8: .*iconv -f ISO-8859-1"),
        (b"a.jpg\nb.jpg\nc\0.jpg\n", r"list\.txt, line 3 has a NUL character: b'c.x00.jpg"),
    ],
)
def test_a_list_in_another_encoding_is_refused_with_the_line_and_the_command_to_convert_it(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(ListDataset(name="l", path=str(tmp_path / "list.txt")).stream_images())


def test_a_list_may_have_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\r\n\r\nä.jpg".encode())
    images = list(ListDataset(name="l", path="list.txt").stream_images())
    assert [image.image_id for image in images] == ["a.jpg", "ä.jpg"]


def test_an_index_of_other_backbone_settings_is_refused_with_the_overrides_to_type(
    make: IndexMaker, tiny_clip: Path, tmp_path: Path
) -> None:
    make(fill(tmp_path / "pictures", 3))
    other = open_clip(tiny_clip, dtype="bfloat16", decoding="reduced", text_length=20)
    cache = OutputCache(tmp_path / "cache")
    search = SavedIndexes(
        folders=[str(tmp_path / "index")], backbone=CachedBackbone(other, cache), mapped=False
    )
    with pytest.raises(ValueError, match="was built with the backbone") as error:
        len(search.images)
    message = str(error.value)
    assert f"{tiny_clip} (dtype float32, text_length 48, decoding exact" in message
    assert "dtype bfloat16, text_length 20, decoding reduced" in message
    assert message.endswith(
        "add backbone.dtype=float32 backbone.text_length=48 backbone.decoding=exact"
    )
    assert "files:" not in message


def test_an_index_of_another_model_is_refused_with_both_and_the_overrides_to_type(
    make: IndexMaker, tiny_clip: Path, tmp_path: Path
) -> None:
    typed = ["backbone=tiny", "backbone.query_template=a {title}"]
    make(fill(tmp_path / "pictures", 3), backbone_overrides=typed)
    copy = shutil.copytree(tiny_clip, tmp_path / "my model")
    moved = IndexMaker(open_clip(copy), tmp_path)
    assert moved(tmp_path / "pictures", action="append")["n_images"] == 3  # it has the same files
    make(tmp_path / "pictures", index_dir="other", backbone_overrides=typed)
    (copy / "notes.txt").write_text("another model")
    with pytest.raises(ValueError, match="was built with the backbone") as error:
        IndexMaker(open_clip(copy), tmp_path)(
            tmp_path / "pictures", index_dir="other", action="append"
        )
    message = str(error.value)
    assert f"{tiny_clip} (dtype float32, decoding exact), this run uses {copy} (dtype" in message
    assert message.endswith("add backbone=tiny 'backbone.query_template=a {title}'")


def test_an_index_of_a_model_whose_files_have_changed_is_refused(
    make: IndexMaker, tiny_clip: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_clip, tmp_path / "model")
    IndexMaker(open_clip(copy), tmp_path)(fill(tmp_path / "pictures", 3))
    (copy / "notes.txt").write_text("trained further")
    with pytest.raises(ValueError, match=r"the model's files have changed since.*backbone\.model="):
        IndexMaker(open_clip(copy), tmp_path)(tmp_path / "pictures", action="append")


def measure_by_hand(index: Path, clip: TransformersBackbone, titles: list[str]) -> float:
    """Return the share of the exact ten nearest pictures that the index finds."""
    saved = open_saved_index(index, clip.fingerprint)
    pictures = clip.embed_images([saved.images[row] for row in range(len(saved.images))])
    texts = clip.embed_texts(titles)
    _, rows = saved.search(texts, 10)
    cosines = texts @ pictures.T
    worst = -np.sort(-cosines, axis=1)[:, 9:10]
    return float((np.take_along_axis(cosines, rows, axis=1) >= worst - 1e-6).mean())


def read_measured(index: Path) -> tuple[dict[str, Any], float]:
    manifest = json.loads((index / "manifest.json").read_text())
    return manifest["measured_with"], manifest["recall"]["10"]


def test_recall_is_measured_with_the_headlines_of_the_data(
    make: IndexMaker, clip: TransformersBackbone, newsroom: Any, tmp_path: Path, capsys: Any
) -> None:
    data = NewsImagesDataset(
        name="tiny",
        csv_path=str(newsroom.csv_path),
        image_dir=str(newsroom.image_dir),
        split="all",
        subset=None,
        seed=28,
        pool="split",
    )
    metrics = make(data, factory="IVF{nlist},Flat", n_queries=60)
    titles = [query.title for query in data.load().queries]
    expected = measure_by_hand(tmp_path / "index", clip, titles)
    assert metrics["recall_at_10"] == pytest.approx(expected)
    assert 0.1 < expected < 1
    measured, recall = read_measured(tmp_path / "index")
    assert (measured["kind"], measured["queries"]) == ("headlines", "headlines of tiny")
    assert (measured["n_queries"], recall) == (60, metrics["recall_at_10"])
    output = capsys.readouterr().out
    assert "60 headlines of tiny" in output
    assert "task.queries" not in output
    make(data, index_dir="few", n_queries=7)
    assert read_measured(tmp_path / "few")[0]["n_queries"] == 7


@pytest.mark.parametrize("name", ["queries.txt", "queries.csv"])
def test_recall_is_measured_with_the_headlines_of_a_file(
    name: str, make: IndexMaker, clip: TransformersBackbone, tmp_path: Path, capsys: Any
) -> None:
    titles = [f"Ferry {i} runs aground, all are safe" for i in range(30)]
    lines = "\n\n".join(titles) + "\n"
    if name.endswith(".csv"):
        rows = [f'{i},"{title}"' for i, title in enumerate(titles)]
        lines = "\n".join(["article_id,article_title", *rows]) + "\n"
    (tmp_path / name).write_text(lines)
    folder = fill(tmp_path / "pictures", 80)
    make(folder, factory="IVF{nlist},Flat")
    by_pictures = read_measured(tmp_path / "index")
    assert by_pictures[0]["kind"] == "pictures"
    output = capsys.readouterr().out
    assert "50 pictures of the index" in output
    assert "task.queries=FILE" in output
    fill(folder, 2, start=80)
    make(folder, action="append", factory="IVF{nlist},Flat", queries=str(tmp_path / name))
    measured, recall = read_measured(tmp_path / "index")
    assert (measured["kind"], measured["n_queries"]) == ("headlines", 30)
    assert measured["queries"] == f"headlines of {tmp_path / name}"
    assert recall == pytest.approx(measure_by_hand(tmp_path / "index", clip, titles))


def test_a_missing_or_empty_file_of_headlines_is_named(make: IndexMaker, tmp_path: Path) -> None:
    folder = fill(tmp_path / "pictures", 3)
    with pytest.raises(FileNotFoundError, match=r"no file of headlines .*nowhere\.txt"):
        make(folder, queries=str(tmp_path / "nowhere.txt"))
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match=r"empty\.txt holds no headlines"):
        make(folder, queries=str(tmp_path / "empty.txt"))
