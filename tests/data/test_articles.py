"""What is loaded with articles beside their values: places, counts, options, lists of headlines."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest

from newsimg.data.article_pictures import PictureFolder
from newsimg.data.articles import ArticleSource, load_articles, read_headlines, read_subsets
from newsimg.data.editions import map_columns
from newsimg.data.newsimages import NewsImagesDataset
from newsimg.datatypes import Collection, Query

HEADER = ["article_id", "article_title", "article_tags", "image_id", "section"]


def load(*arguments: Any) -> Collection:
    return load_articles(*arguments, provide=lambda image_ids: None)


def write_articles(folder: Path, n: int, **values: str) -> Path:
    """Write a CSV of articles a0, a1, ... with the pictures p0, p1, ... beside it."""
    path = folder / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        for i in range(n):
            row = {"article_id": f"a{i}", "article_title": f"Title {i}", "image_id": f"p{i}"}
            writer.writerow(row | {"article_tags": "Ada|UN", "section": f"s{i}"} | values)
    (folder / "pictures").mkdir()
    for i in range(n):
        (folder / "pictures" / f"p{i}.jpg").touch()
    return path


def source(**changes: Any) -> ArticleSource:
    arguments = {"split": "all", "subset": None, "seed": 28, "pool": "split", "separator": "comma"}
    arguments |= {"columns": {}, "on_missing": "raise", "on_damaged": "raise"}
    return ArticleSource(**arguments | changes)


@pytest.mark.parametrize("judged", [True, False])
def test_a_collection_has_its_name_filter_and_choice_for_damaged_pictures(
    judged: bool, tmp_path: Path
) -> None:
    path = write_articles(tmp_path, 2, **({} if judged else {"image_id": ""}))
    chosen = {"licence": "CC BY"}
    found = NewsImagesDataset(
        name="mine", csv_path=str(path), image_dir=str(tmp_path / "pictures"), split="all",
        subset=None, seed=28, pool="split", on_damaged="skip", filter=chosen,
    )  # fmt: skip
    collection = found.load()
    assert collection.name == "mine"
    assert collection.on_damaged == "skip"
    assert collection.filter == found.filter
    assert collection.filter is not None
    assert (collection.qrels is None) is not judged


def test_pictures_are_named_by_the_first_line_of_the_csv_that_has_them(tmp_path: Path) -> None:
    path = write_articles(tmp_path, 3)
    path.write_text(path.read_text() + "b,Title,,p1,\n")
    collection = load("x", path, tmp_path / "pictures", source())
    assert collection.named_in == {f"p{i}": f"a.csv, line {i + 2}" for i in range(3)}
    assert collection.skipped == {}


@pytest.mark.parametrize(
    ("choices", "counted"),
    [
        ({"on_missing": "skip"}, {"missing": 1}),
        ({"on_missing": "skip", "on_damaged": "skip"}, {"missing": 1, "damaged": 0}),
    ],
)
def test_skipped_pictures_are_counted_by_kind(
    choices: dict[str, str], counted: dict[str, int], tmp_path: Path
) -> None:
    path = write_articles(tmp_path, 3)
    (tmp_path / "pictures" / "p1.jpg").unlink()
    collection = load("x", path, tmp_path / "pictures", source(**choices))
    assert collection.skipped == counted


@pytest.mark.parametrize("n", [10, 11])
def test_ten_missing_pictures_are_named_in_the_order_of_the_csv(
    n: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_articles(tmp_path, 12)
    for i in range(12 - n, 12):
        (tmp_path / "pictures" / f"p{i}.jpg").unlink()
    named = ", ".join(f"'p{i}' (line {i + 2})" for i in range(12 - n, 22 - n))
    message = f"{tmp_path}/pictures lacks {n} of the 12 pictures that {path} names: {named}"
    message += ", ..." if n > 10 else ""
    with pytest.raises(FileNotFoundError) as raised:
        load("x", path, tmp_path / "pictures", source())
    assert str(raised.value).startswith(
        f"{message}. The file name of a picture must be its image_id, at any depth of the folder; "
    )
    with caplog.at_level(logging.WARNING):
        load("x", path, tmp_path / "pictures", source(on_missing="skip"))
    assert caplog.messages == [f"{message}; they are skipped"]


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("split", "dev", "train, val, test, all"),
        ("pool", "none", "split, all"),
        ("on_missing", "no", "raise, skip"),
        ("on_damaged", "no", "raise, skip"),
        ("separator", "pipe", "comma, semicolon, tab"),
    ],
)
def test_an_unknown_choice_is_refused_by_the_name_of_its_option(
    option: str, value: str, choices: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"^data\.{option} must be one of {choices}, got '{value}"
    ):
        source(**{option: value})


def test_a_split_takes_the_place_of_a_subset_in_a_copy(tmp_path: Path) -> None:
    path = write_articles(tmp_path, 10)
    (tmp_path / "ids.txt").write_text("a3\na1\n")
    dataset = NewsImagesDataset(
        name="x", csv_path=str(path), image_dir=str(tmp_path / "pictures"), split="val",
        subset=str(tmp_path / "ids.txt"), seed=28, pool="split",
    )  # fmt: skip
    other = dataset.with_split("test")
    assert [query.query_id for query in dataset.load().queries] == ["a3", "a1"]
    whole = load("x", path, tmp_path / "pictures", source(split="test"))
    assert other.load().queries == whole.queries
    assert len(whole.queries) == 1


def test_a_query_keeps_the_columns_that_are_not_the_benchmarks(tmp_path: Path) -> None:
    path = write_articles(tmp_path, 1)
    (query,) = load("x", path, tmp_path / "pictures", source()).queries
    assert query == Query("a0", "Title 0", ("Ada",), ("UN",), (("section", "s0"),))


def test_ids_of_pictures_are_matched_with_or_without_a_known_extension(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg.png", "v1.2.jpg", "v1.jpg", "my photo.jpg", "notes.txt"):
        (tmp_path / name).touch()
    folder = PictureFolder(tmp_path)
    assert folder.list_ids() == ["my%20photo", "one", "two.jpg", "v1", "v1.2"]
    asked = ["one", "one.JPG", "two.jpg", "two", "v1.2", "v1.3", "notes", "my%20photo", "one.txt"]
    assert folder.locate(asked) == {
        "one": "one", "one.JPG": "one", "two.jpg": "two.jpg", "v1.2": "v1.2",
        "my%20photo": "my%20photo",
    }  # fmt: skip
    assert folder.open(["v1", "one"]) == {"v1": tmp_path / "v1.jpg", "one": tmp_path / "one.jpg"}


def test_columns_with_the_benchmarks_names_are_not_mapped() -> None:
    assert map_columns("article_id", "headline", "article_tags", "picture") == {
        "article_title": "headline",
        "image_id": "picture",
    }


def test_headlines_are_lines_of_text_or_articles_of_a_csv(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("One\n\n  Two, three \n")
    assert read_headlines(lines) == [Query("0", "One"), Query("1", "Two, three")]
    table = write_articles(tmp_path, 1).rename(tmp_path / "b.CSV")
    (query,) = read_headlines(table)
    assert (query.query_id, query.title, query.people) == ("a0", "Title 0", ("Ada",))


def test_a_file_without_headlines_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file of headlines at .*none\.txt"):
        read_headlines(tmp_path / "none.txt")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "header.csv").write_text("article_id,article_title\n")
    for name in ("blank.txt", "header.csv"):
        with pytest.raises(ValueError, match=rf"{name} holds no headlines"):
            read_headlines(tmp_path / name)


def test_subsets_are_lists_of_ids_or_all_articles(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("a1\n7\n")
    assert read_subsets({"SMALL": ids, "LARGE": None}) == {"SMALL": ["a1", "7"], "LARGE": None}
    empty = tmp_path / "empty.csv"
    empty.write_text("article_id\n")
    with pytest.raises(ValueError, match=r"subset .*empty\.csv is empty"):
        read_subsets({"SMALL": ids, "EMPTY": empty})
