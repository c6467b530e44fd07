"""Words of pictures in a saved index: kept, shown, filtered, and read from older folders."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from indexing import IndexMaker, draw, open_clip

from newsimg.data.collection import FolderDataset
from newsimg.datatypes import Collection, PictureFilter, Query
from newsimg.index.folder import SavedImages
from newsimg.index.saved import SavedIndexes
from newsimg.pipeline import retrieve_readable
from newsimg.reporting.results import gather, read_results, write_results
from newsimg.sample.words import add_words
from newsimg.storage.files import hash_file, read_checked_json, write_checked_json

N = 40


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of two licences, every fourth without words, one with a caption that is too long."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(N):
        (folder / f"{i:02}.jpg").write_bytes(draw(i))
        if i % 4:
            words = {"caption": [f"picture {i} of Älvsund"], "licence": [["CC0", "CC BY"][i % 2]]}
            if i == 1:
                words["caption"] = ["Älvsund " * 400]
            add_words(folder / f"{i:02}.jpg", words)
    return folder


@pytest.fixture
def make_index(tiny_clip: Path, tmp_path: Path) -> IndexMaker:
    return IndexMaker(open_clip(tiny_clip), tmp_path)


def expected_words(i: int) -> dict[str, str]:
    caption = f"picture {i} of Älvsund" if i != 1 else ("Älvsund " * 400)[:2000].strip()
    return {"caption": caption, "licence": ["CC0", "CC BY"][i % 2]} if i % 4 else {}


def test_an_index_keeps_the_words_of_its_pictures_and_counts_what_was_cut(
    make_index: IndexMaker, pictures: Path, tmp_path: Path
) -> None:
    metrics = make_index(pictures)
    assert metrics["metadata/n_with_words"] == 30
    assert metrics["metadata/n_cut"] == 1
    images = SavedImages(tmp_path / "index" / "images.parquet")
    assert [image.metadata for image in images] == [expected_words(i) for i in range(N)]
    assert "n_cut" not in images.table.column_names


def search(index: SavedIndexes, make_index: IndexMaker, wanted: PictureFilter | None, top_k: int):
    asked = Collection("q", (Query("a", "Älvsund"),), (), None, filter=wanted)
    return retrieve_readable(asked, make_index.backbone, index, top_k)


def test_a_filter_restricts_the_search_of_a_saved_index(
    make_index: IndexMaker, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make_index(pictures)
    folders = [str(tmp_path / "index")]
    index = SavedIndexes(folders=folders, backbone=make_index.backbone, mapped=False)
    _, everything = search(index, make_index, None, N)
    collection, found = search(index, make_index, PictureFilter(licence=("CC0",)), 50)
    matching = [
        row for row in everything.rows[0] if expected_words(int(row)).get("licence") == "CC0"
    ]
    assert found.rows[0].tolist() == matching
    assert collection.skipped == {"filtered": N - len(matching)}
    assert f"{len(matching)} of {N} pictures match data.filter" in caplog.text
    with pytest.raises(ValueError, match=f"0 of {N} pictures match data.filter"):
        search(index, make_index, PictureFilter(licence=("GPL",)), 5)


def test_a_filter_restricts_what_is_searched_and_indexed_of_a_folder(
    make_index: IndexMaker, pictures: Path, tmp_path: Path
) -> None:
    wanted = {"licence": ["CC-BY"], "words": ["älvsund"]}
    data = FolderDataset(name="c", folder=str(pictures), filter=wanted)
    chosen = [f"{i:02}.jpg" for i in range(N) if expected_words(i).get("licence") == "CC BY"]
    assert [image.image_id for image in data.load().images] == chosen
    assert make_index(data)["n_images"] == len(chosen)
    images = SavedImages(tmp_path / "index" / "images.parquet")
    assert [image.image_id for image in images] == chosen
    assert {(image.metadata or {})["licence"] for image in images} == {"CC BY"}


def test_a_folder_without_the_columns_is_searched_and_extended(
    make_index: IndexMaker, pictures: Path, tmp_path: Path
) -> None:
    make_index(pictures)
    folder = tmp_path / "index"
    path, manifest = folder / "images.parquet", read_checked_json(folder / "manifest.json")
    old = ("title", "author", "licence", "page_url")
    others = ("caption", "keywords", "date", "place", "credit", "source", "n_cut")
    table = pq.read_table(path).drop_columns(list(others))
    pq.write_table(table, path)
    facts = {"sha256": hash_file(path), "n_bytes": path.stat().st_size}
    manifest["files"]["images.parquet"] = facts
    write_checked_json(folder / "manifest.json", manifest)
    index = SavedIndexes(folders=[str(folder)], backbone=make_index.backbone, mapped=False)
    _, found = search(index, make_index, PictureFilter(licence=("CC0",)), 3)
    assert found.rows.shape == (1, 3)
    shutil.copy(pictures / "01.jpg", tmp_path / "more.jpg")
    more = tmp_path / "more"
    more.mkdir()
    (tmp_path / "more.jpg").rename(more / "z.jpg")
    make_index(more, action="append")
    images = SavedImages(path)
    assert [set(image.metadata or {}) for image in images][:-1] == [
        set(expected_words(i)) & set(old) for i in range(N)
    ]
    assert images[-1].metadata == expected_words(1)


def test_results_have_the_words_of_each_picture_and_return_them(
    make_index: IndexMaker, pictures: Path, tmp_path: Path
) -> None:
    add_words(pictures / "00.jpg", {"title": ["T"], "credit": ["C"]})
    make_index(pictures)
    folders = [str(tmp_path / "index")]
    index = SavedIndexes(folders=folders, backbone=make_index.backbone, mapped=False)
    collection, found = gather(*search(index, make_index, None, N))
    found.parts["rerank"] = found.parts["retrieval"]  # type: ignore[index]
    write_results(tmp_path, collection, found, [False])
    table = pq.read_table(tmp_path / "results.parquet")
    assert set(table["title"].to_pylist()) == {"Älvsund"}  # the headline
    row = next(row for row in table.to_pylist() if row["image_id"] == "00.jpg")
    assert (row["image_title"], row["credit"]) == ("T", "C")
    choice = next(one for one in read_results(tmp_path)["a"] if one.image.image_id == "00.jpg")
    assert choice.image.metadata is not None
    assert choice.image.metadata["title"] == "T"
    assert table.schema.field("caption").type == pa.string()
    assert np.isfinite(table["retrieval"].to_numpy()).all()
