"""Loading of the benchmark's CSV in all editions, and errors for invalid files."""

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsimg.data.articles import choose_split, read_subsets
from newsimg.data.newsimages import NewsImagesDataset
from newsimg.data.queries import QueriesDataset
from newsimg.data.sample import SampleDataset
from newsimg.datatypes import Collection

ALL = ["article_id", "article_url", "article_title", "article_tags", "image_id", "image_url"]
TITLES = [
    'She said "no", twice',
    "Grüße aus Älvsund: 3,5 % mehr",
    "洪水で橋が閉鎖、住民が避難",
    "Наводнение в городе",
    "O'Brien; the | bar, and a\ttab",
    "NA",
    "null",
    "007",
    "  spaces around  ",
    "🚀 launch",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of ten pictures named by id; the loader only uses the names."""
    (tmp_path / "pictures").mkdir()
    for i in range(10):
        (tmp_path / "pictures" / f"{i + 1:03}.jpg").touch()
    return tmp_path


def rows_of(columns: list[str]) -> list[list[str]]:
    return [
        [
            {
                "article_id": f"a{i}",
                "article_url": f"https://news.example/?a={i}&b=1,2",
                "article_title": title,
                "article_tags": "Ada Berg; Ngô Bảo |Red Cross;UN" if i == 0 else "",
                "image_id": f"{i + 1:03}",
                "image_url": f"https://img.example/{i}",
            }[column]
            for column in columns
        ]
        for i, title in enumerate(TITLES)
    ]


def write(path: Path, columns: list[str] | None, rows: list[list[str]], **how: Any) -> Path:
    """Write a CSV, by default as UTF-8 without a BOM; no header row without `columns`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, **{k: v for k, v in how.items() if k != "encoding"})
    writer.writerows([columns, *rows] if columns else rows)
    path.write_bytes(text.getvalue().encode(how.get("encoding", "utf-8")))
    return path


def load(csv_path: Path, **changes: Any) -> Collection:
    arguments = {"split": "all", "subset": None, "seed": 28, "pool": "split"} | changes
    image_dir = arguments.pop("image_dir", csv_path.parent / "pictures")
    return NewsImagesDataset(
        name="test", csv_path=str(csv_path), image_dir=str(image_dir), **arguments
    ).load()


def titles(collection: Collection) -> dict[str, str]:
    return {query.query_id: query.title for query in collection.queries}


EXPECTED_TITLES = {f"a{i}": title.strip() for i, title in enumerate(TITLES)}
EDITIONS: dict[str, Callable[[Path], Path]] = {
    "six columns": lambda p: write(p, ALL, rows_of(ALL)),
    "without a header row": lambda p: write(p, None, rows_of(ALL)),
    "without tags and image url": lambda p: write(
        p, *(lambda c: (c, rows_of(c)))([*ALL[:3], "image_id"])
    ),
    "columns in another order": lambda p: write(p, ALL[::-1], rows_of(ALL[::-1])),
    "with an additional column": lambda p: write(
        p, [*ALL, "note"], [[*row, "x"] for row in rows_of(ALL)]
    ),
    "with a byte order mark": lambda p: write(p, ALL, rows_of(ALL), encoding="utf-8-sig"),
    "a mark and no header row": lambda p: write(p, None, rows_of(ALL), encoding="utf-8-sig"),
    "unix line ends": lambda p: write(p, ALL, rows_of(ALL), lineterminator="\n"),
    "everything in quotes": lambda p: write(p, ALL, rows_of(ALL), quoting=csv.QUOTE_ALL),
}


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_edition_of_the_csv_loads_to_the_same_articles(edition: str, folder: Path) -> None:
    collection = load(EDITIONS[edition](folder / "a.csv"))
    assert titles(collection) == EXPECTED_TITLES
    assert collection.qrels == {f"a{i}": {f"{i + 1:03}": 1} for i in range(10)}
    assert [image.image_id for image in collection.images] == [f"{i + 1:03}" for i in range(10)]
    assert collection.images[0].path == folder / "pictures" / "001.jpg"
    by_id = {query.query_id: query for query in collection.queries}
    tagged = "without tags" not in edition
    assert by_id["a0"].people == (("Ada Berg", "Ngô Bảo") if tagged else ())
    assert by_id["a0"].organisations == (("Red Cross", "UN") if tagged else ())
    assert by_id["a1"].people == by_id["a1"].organisations == ()


@pytest.mark.parametrize("header", [True, False])
def test_four_columns_are_queries_without_judgements(header: bool, folder: Path) -> None:
    rows = rows_of(ALL[:4])
    collection = load(write(folder / "a.csv", ALL[:4] if header else None, rows))
    assert titles(collection) == EXPECTED_TITLES
    assert collection.qrels is None
    assert [image.image_id for image in collection.images] == [f"{i + 1:03}" for i in range(10)]
    assert {query.query_id: query for query in collection.queries}["a0"].people[0] == "Ada Berg"


def test_a_headline_may_have_two_lines(folder: Path) -> None:
    rows = rows_of(ALL)
    rows[0][2] = "First line\nsecond line"
    assert titles(load(write(folder / "a.csv", ALL, rows)))["a0"] == "First line\nsecond line"


@pytest.mark.parametrize(
    ("tags", "people", "organisations"),
    [
        ("", (), ()),
        ("|", (), ()),
        ("Ada", ("Ada",), ()),
        ("|UN", (), ("UN",)),
        ("Ada;Bo|UN;WHO", ("Ada", "Bo"), ("UN", "WHO")),
        (" Ada ; ;Bo| UN ;", ("Ada", "Bo"), ("UN",)),
    ],
)
def test_tags_are_people_then_organisations(
    tags: str, people: tuple[str, ...], organisations: tuple[str, ...], folder: Path
) -> None:
    rows = rows_of(ALL)[:1]
    rows[0][3] = tags
    (query,) = load(write(folder / "a.csv", ALL, rows)).queries
    assert (query.people, query.organisations) == (people, organisations)


@pytest.mark.parametrize("name", ["001.JPG", "001.jpeg", "001.JPEG", "001.png", "001.WebP"])
def test_pictures_are_found_with_any_extension_and_case(name: str, folder: Path) -> None:
    (folder / "pictures" / "001.jpg").rename(folder / "pictures" / name)
    (folder / "pictures" / "readme.txt").touch()
    assert load(write(folder / "a.csv", ALL, rows_of(ALL))).images[0].path.name == name


def test_ids_keep_leading_zeros(folder: Path) -> None:
    rows = rows_of(ALL)[:2]
    for row, name in zip(rows, ("007", "1e3"), strict=True):
        row[0] = row[4] = name
        (folder / "pictures" / f"{name}.jpg").touch()
    collection = load(write(folder / "a.csv", ALL, rows))
    assert collection.qrels == {"007": {"007": 1}, "1e3": {"1e3": 1}}


def test_two_articles_may_share_a_picture(folder: Path) -> None:
    rows = rows_of(ALL)[:3]
    rows[1][4] = rows[0][4]
    collection = load(write(folder / "a.csv", ALL, rows))
    assert [image.image_id for image in collection.images] == ["001", "003"]
    assert collection.qrels == {"a0": {"001": 1}, "a1": {"001": 1}, "a2": {"003": 1}}


@given(n=st.integers(1, 400), seed=st.integers(0, 2**32 - 1))
def test_the_split_is_a_permutation_by_pandas_with_train_and_val_rounded_down(
    n: int, seed: int
) -> None:
    articles = pd.DataFrame({"article_id": [f"a{i}" for i in range(n)]})
    shuffled = list(articles.sample(frac=1, random_state=seed)["article_id"])
    train, val, test = (
        list(choose_split(articles, split, seed)["article_id"])
        for split in ("train", "val", "test")
    )
    assert train + val + test == shuffled
    assert len(train) == n * 8 // 10
    assert len(val) == n // 10
    assert list(choose_split(articles, "all", seed)["article_id"]) == shuffled


@pytest.mark.parametrize(
    ("n", "sizes"), [(16, (12, 1, 3)), (8499, (6799, 849, 851)), (8500, (6800, 850, 850))]
)
def test_a_split_is_as_large_as_in_the_original_system(n: int, sizes: tuple[int, int, int]) -> None:
    articles = pd.DataFrame({"article_id": [str(i) for i in range(n)]})
    splits = ("train", "val", "test")
    assert tuple(len(choose_split(articles, split, 28)) for split in splits) == sizes


def test_the_benchmarks_8500_articles_give_850_for_validation_by_the_known_permutation() -> None:
    articles = pd.DataFrame({"article_id": [str(i) for i in range(8500)]})
    val = choose_split(articles, "val", 28)
    assert len(val) == 850
    shuffled = pd.DataFrame(articles).sample(frac=1, random_state=28)
    assert list(val["article_id"]) == list(shuffled["article_id"][6800:7650])


def test_the_pool_has_the_pictures_of_the_split_or_all(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    own, everything = (load(path, split="test", pool=pool) for pool in ("split", "all"))
    assert len(own.queries) == len(everything.queries) == 1
    (query_id,) = (query.query_id for query in own.queries)
    assert own.qrels == everything.qrels
    assert [{image.image_id: 1} for image in own.images] == [own.qrels[query_id]]
    assert len(everything.images) == 10


def test_a_missing_picture_outside_the_pool_is_no_error(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    val = load(path, split="val")
    for image in load(path, split="train").images:
        image.path.unlink()
    assert load(path, split="val").images == val.images
    with pytest.raises(FileNotFoundError):
        load(path, split="val", pool="all")


def test_a_subset_has_the_listed_articles_in_order_and_their_pictures(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    chosen = [rows_of(ALL)[i] for i in (7, 2, 4)]
    subset = write(folder / "subset.csv", None, chosen)
    collection = load(path, subset=str(subset), split="val")
    assert [query.query_id for query in collection.queries] == ["a7", "a2", "a4"]
    assert [image.image_id for image in collection.images] == ["003", "005", "008"]
    assert len(load(path, subset=str(subset), pool="all").images) == 10


def test_a_subset_with_an_unknown_article_is_rejected(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL)[:5])
    subset = write(folder / "subset.csv", ALL, rows_of(ALL)[3:])
    with pytest.raises(ValueError, match=r"subset\.csv.*5 articles.*'a5'"):
        load(path, subset=str(subset))


@pytest.mark.parametrize(
    "text",
    [
        "a7\na2\n\na5\n",
        "a7\r\na2\r\na5",
        "\ufeffARTICLE_ID\n a7 \na2\na5\n",
        "article_id,note\na7,x\na2,\na5,y\n",
        "size;article_id\n1;a7\n1;a2\n2;a5\n",
        '"a7"\n"a2"\n"a5"\n',
    ],
)
def test_a_subset_may_be_a_list_of_ids_alone(folder: Path, text: str) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    subset = folder / "ids.txt"
    subset.write_bytes(text.encode())
    assert [query.query_id for query in load(path, subset=str(subset)).queries] == [
        "a7", "a2", "a5",
    ]  # fmt: skip
    alone = QueriesDataset(
        name="q", csv_path=str(path), id_column="article_id", title_column="article_title",
        subset=str(subset),
    ).load()  # fmt: skip
    assert [query.query_id for query in alone.queries] == ["a7", "a2", "a5"]
    assert alone.qrels is not None
    assert set(alone.qrels) == {"a7", "a2", "a5"}
    assert read_subsets({"ALL": subset}) == {"ALL": ["a7", "a2", "a5"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a2\na7\na2\n", r"duplicate article_id 'a2' \(line 3\)"),
        ("a2\na 7\n", r"article_id must not contain white space.*'a 7' \(line 2\)"),
        ("id\na2\n", r"lists 1 articles that are not in the data, the first is 'id' \(line 1\)"),
        ("article_id,x\na2,1\n,2\n", r"empty article_id \(line 3\)"),
        ("\n\n", r"is empty"),
        ("id,title\na2,b\n", r"the first row has none of the column names"),
    ],
)
def test_a_list_of_ids_that_is_no_such_list_is_rejected(folder: Path, text: str, said: str) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    subset = folder / "ids.txt"
    subset.write_text(text)
    with pytest.raises(ValueError, match=said):
        load(path, subset=str(subset))


def test_an_empty_subset_is_rejected_with_its_file_name(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    subset = write(folder / "subset.csv", ALL, [])
    with pytest.raises(ValueError, match=r"subset\.csv"):
        load(path, subset=str(subset))


def broken(change: Callable[[list[list[str]]], None], columns: list[str] | None = ALL) -> Any:
    """Return a writer of the six-column edition with changed rows."""

    def write_broken(path: Path) -> Path:
        rows = rows_of(ALL)
        change(rows)
        return write(path, columns, rows)

    return write_broken


def put(row: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    return lambda rows: rows[row].__setitem__(column, value)


ERRORS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a missing id column": (
        lambda p: write(p, ALL[1:], rows_of(ALL[1:])),
        r"a\.csv lacks the column article_id.*article_url",
    ),
    "a missing title column": (
        lambda p: write(p, [*ALL[:2], *ALL[3:]], rows_of([*ALL[:2], *ALL[3:]])),
        r"a\.csv lacks the column article_title",
    ),
    "a duplicate id": (broken(put(4, 0, "a1")), r"a\.csv: duplicate article_id 'a1'.*line 6"),
    "a duplicate id, no header": (
        broken(put(4, 0, "a1"), None),
        r"a\.csv: duplicate article_id 'a1'.*line 5",
    ),
    "an empty title": (broken(put(3, 2, "")), r"a\.csv: empty article_title.*'a3', line 5"),
    "a blank title": (broken(put(3, 2, " \t")), r"empty article_title.*'a3', line 5"),
    "an empty id": (broken(put(2, 0, "")), r"a\.csv: empty article_id.*line 4"),
    "a missing picture": (
        broken(put(5, 4, "999")),
        r"pictures lacks 1 of the 10 pictures that .*a\.csv names: '999' \(line 7\)",
    ),
    "an id of two words": (broken(put(2, 0, "a 2")), r"a\.csv: article_id must.*'a 2' \(line 4\)"),
    "an image id of two words": (
        broken(put(2, 4, "00 3")),
        r"a\.csv: image_id must.*'00 3' \(line 4\)",
    ),
    "a column twice": (
        lambda p: write(p, [*ALL, "article_title"], [[*row, "x"] for row in rows_of(ALL)]),
        r"a\.csv.*article_title.*twice",
    ),
    "a row that is too long": (
        broken(lambda rows: rows[3].append("x")),
        r"a\.csv, line 5: 7 values separated by comma, but 6 in line 1",
    ),
    "a row that is too short": (
        broken(lambda rows: rows[3].pop()),
        r"a\.csv, line 5: 5 values separated by comma, but 6 in line 1",
    ),
    "nothing": (lambda p: write(p, None, []), r"a\.csv is empty"),
    "no article": (lambda p: write(p, ALL, []), r"split 'all' of .*a\.csv is empty.*0 rows"),
    "another encoding": (
        lambda p: write(p, ALL, [rows_of(ALL)[1]], encoding="latin-1"),
        r"a\.csv is not a CSV in UTF-8: line 2, byte 41, is 0xfc",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_file_the_row_and_the_value(case: str, folder: Path) -> None:
    make, message = ERRORS[case]
    path = make(folder / "a.csv")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(path)


def test_line_numbers_are_those_of_the_file_also_in_a_split(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    (wanted,) = load(path, split="test").images
    wanted.path.unlink()
    line = 2 + int(wanted.image_id) - 1
    with pytest.raises(FileNotFoundError, match=rf"'{wanted.image_id}' \(line {line}\)"):
        load(path, split="test")


def test_the_error_of_an_empty_split_names_it_and_the_number_of_rows(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL)[:1])
    assert len(load(path, split="test").queries) == 1
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=rf"split '{split}' of .*a\.csv is empty.*1 row"):
            load(path, split=split)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("split", "dev", r"data.split must be one of train, val, test, all, got 'dev'"),
        ("pool", "none", r"data.pool must be one of split, all, got 'none'"),
    ],
)
def test_an_invalid_option_is_rejected_with_the_choices(
    argument: str, value: str, message: str, folder: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        load(folder / "a.csv", **{argument: value})


def test_missing_files_and_folders_are_named_in_the_error(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    with pytest.raises(FileNotFoundError, match=r"no CSV of articles at .*b\.csv"):
        load(folder / "b.csv")
    with pytest.raises(FileNotFoundError, match=r"no list of articles at .*subset\.csv"):
        load(path, subset=str(folder / "subset.csv"))
    with pytest.raises(FileNotFoundError, match=r"no folder of pictures at .*nowhere"):
        load(path, image_dir=folder / "nowhere")


def test_two_pictures_with_one_id_are_rejected_with_both_names(folder: Path) -> None:
    path = write(folder / "a.csv", ALL, rows_of(ALL))
    shutil.copy(folder / "pictures" / "001.jpg", folder / "pictures" / "001.PNG")
    with pytest.raises(ValueError, match=r"001\.PNG.*001\.jpg|001\.jpg.*001\.PNG"):
        load(path)


def test_the_sample_newsroom_is_read_as_any_data_in_the_benchmarks_layout(
    sample_cache: Path, sample_newsroom: Path
) -> None:
    arguments: dict[str, Any] = {"name": "sample", "subset": None, "seed": 28, "pool": "split"}
    sample = SampleDataset(split="val", **arguments).with_split("test")
    assert isinstance(sample, NewsImagesDataset)
    assert sample.is_sample
    found, expected = (
        dataset.load()
        for dataset in (
            sample,
            NewsImagesDataset(
                csv_path=str(sample_newsroom / "newsarticles.csv"),
                image_dir=str(sample_newsroom / "newsimages"),
                split="test",
                **arguments,
            ),
        )
    )
    assert len(found.queries) == 400
    assert (found.queries, found.images, found.qrels) == (
        expected.queries,
        expected.images,
        expected.qrels,
    )
