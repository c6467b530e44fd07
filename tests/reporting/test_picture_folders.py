"""Folders of the retrieved pictures of each headline."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from newsimg.datatypes import Candidates, Collection, Image, Query
from newsimg.reporting.picture_folders import check_folder, save_pictures


@pytest.fixture
def candidates(tmp_path: Path) -> Candidates:
    (tmp_path / "pictures").mkdir()
    images = []
    for i in range(3):
        path = tmp_path / "pictures" / f"{i}.jpg"
        path.write_bytes(b"picture %d" % i)
        images.append(Image(f"a/{i}.jpg", path))
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as file:
        file.writestr("deep/3.png", b"picture 3")
    images.append(Image("pictures.zip/deep/3.png", tmp_path / "pictures.zip", "deep/3.png"))
    rows = np.array([[2, 3], [0, 1]])
    scores = np.ones(rows.shape, np.float32)
    return Candidates(tuple(images), rows, scores, {"retrieval": scores})


@pytest.mark.parametrize("copy", [False, True])
def test_pictures_of_a_headline_are_in_its_folder_by_rank(
    copy: bool, candidates: Candidates, tmp_path: Path
) -> None:
    queries = (Query("../x", "Storm: \u201cwe waited\u201d"), Query("7", "Cow"))
    collection = Collection("c", queries, candidates.images, None)
    assert save_pictures(tmp_path / "out", collection, candidates, copy) == 4
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.suffix in (".jpg", ".png")
    }
    assert found == {
        "%2E.%2Fx/1_a%2F2.jpg": b"picture 2",
        "%2E.%2Fx/2_pictures.zip%2Fdeep%2F3.png": b"picture 3",
        "7/1_a%2F0.jpg": b"picture 0",
        "7/2_a%2F1.jpg": b"picture 1",
    }
    assert (tmp_path / "out" / "7" / "1_a%2F0.jpg").is_symlink() is not copy
    assert (tmp_path / "out" / "7" / "headline.txt").read_text() == "Cow\n"


def test_a_folder_with_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    assert check_folder(str(tmp_path / "new")) == tmp_path / "new"
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"task.save_pictures must be a new or empty folder, got"):
        check_folder(str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"
