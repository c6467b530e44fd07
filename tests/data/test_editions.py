"""CSVs of articles with other column names or separators, without header or ground truth."""

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image as PILImage

from newsimg.data.editions import read_listed_ids
from newsimg.data.newsimages import NewsImagesDataset
from newsimg.data.queries import QueriesDataset
from newsimg.datatypes import Collection

N = 6
SIX = ["article_id", "article_url", "article_title", "article_tags", "image_id", "image_url"]
QRELS = {f"a{i}": {f"{i}": 1} for i in range(N)}
TITLES = {f"a{i}": f"Storm, {i}" for i in range(N)}


def article(i: int) -> dict[str, str]:
    return {
        "article_id": f"a{i}",
        "article_url": f"https://news.example/{i}",
        "article_title": f"Storm, {i}",
        "article_tags": "Ada Berg|UN" if i == 0 else "",
        "image_id": f"{i}",
        "image_url": f"https://img.example/{i}.jpg",
    }


def write(
    path: Path,
    columns: list[str],
    header: list[str] | None = None,
    separator: str = ",",
    **changes: Callable[[int], str],
) -> Path:
    """Write the `columns` of all articles below `header`; `changes` override values."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    rows = [article(i) | {name: change(i) for name, change in changes.items()} for i in range(N)]
    writer.writerows(([header] if header else []) + [[row[c] for c in columns] for row in rows])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(N):
        pixels = np.full((8, 8, 3), i, np.uint8)
        PILImage.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def load(csv_path: Path, **changes: Any) -> Collection:
    arguments = {"split": "all", "subset": None, "seed": 28, "pool": "split"} | changes
    image_dir = str(arguments.pop("image_dir", csv_path.parent / "pictures"))
    return NewsImagesDataset(
        name="test", csv_path=str(csv_path), image_dir=image_dir, **arguments
    ).load()


def titles(collection: Collection) -> Mapping[str, str]:
    return {query.query_id: query.title for query in collection.queries}


OWN = ["id", "headline", "picture"]
NAMED = {"id_column": "id", "title_column": "headline", "image_column": "picture"}
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, str]]] = {
    "2026: four columns, no header": (lambda p: write(p, [*SIX[:3], "image_id"]), {}),
    "five columns, no header": (lambda p: write(p, SIX[:5]), {}),
    "five with a picture's URL, no header": (lambda p: write(p, [*SIX[:3], *SIX[4:]]), {}),
    "upper case": (lambda p: write(p, SIX, [name.upper() for name in SIX]), {}),
    "spaces in the header": (lambda p: write(p, SIX, [f" {name} " for name in SIX]), {}),
    "ids with an extension": (lambda p: write(p, SIX, SIX, image_id=lambda i: f"{i}.jpg"), {}),
    "semicolons": (lambda p: write(p, SIX, SIX, ";"), {"separator": "semicolon"}),
    "tabs": (lambda p: write(p, SIX, SIX, "\t"), {"separator": "tab"}),
    "tabs, no header": (lambda p: write(p, SIX, None, "\t"), {"separator": "tab"}),
    "other column names": (
        lambda p: write(p, ["article_id", "article_title", "image_id"], OWN),
        NAMED,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_edition_loads_to_the_same_articles_and_ground_truth(
    case: str, pictures: Path, tmp_path: Path
) -> None:
    make, options = CASES[case]
    path = make(tmp_path / "a.csv")
    collection = load(path, **options)
    assert titles(collection) == TITLES
    assert collection.qrels == QRELS
    named = {"id_column": "article_id", "title_column": "article_title"} | options
    alone = QueriesDataset(name="q", csv_path=str(path), **named).load()
    assert titles(alone) == TITLES
    if case != "ids with an extension":  # QueriesDataset has no pictures to match
        assert alone.qrels == QRELS


def test_empty_rows_at_the_end_are_skipped(pictures: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX)
    path.write_text(path.read_text() + ",,,,,\n\n,,,,,\n")
    assert titles(load(path)) == TITLES


@pytest.mark.parametrize("unknown", ["", "N/A", "n/a", "NaN", "NA"])
def test_a_file_without_ground_truth_is_a_test_set(
    unknown: str, pictures: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX, image_id=lambda i: unknown)
    collection = load(path, split="test")
    assert len(collection.queries) == 2  # 80 % and 10 % of six, rounded down, are four and none
    assert collection.qrels is None
    assert [image.image_id for image in collection.images] == [f"{i}" for i in range(N)]
    assert (
        QueriesDataset(
            name="q", csv_path=str(path), id_column="article_id", title_column="article_title"
        )
        .load()
        .qrels
        is None
    )


def test_articles_without_ground_truth_are_unjudged_queries(pictures: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX, image_id=lambda i: "N/A" if i % 2 else f"{i}")
    collection = load(path)
    assert titles(collection) == TITLES
    assert collection.qrels == {f"a{i}": {f"{i}": 1} for i in (0, 2, 4)}
    assert [image.image_id for image in collection.images] == ["0", "2", "4"]


ERRORS: dict[str, tuple[Callable[[Path], Path], dict[str, str], str]] = {
    "semicolons": (
        lambda p: write(p, SIX, SIX, ";"),
        {},
        r"first row is separated by semicolon, not by comma: set data\.separator=semicolon",
    ),
    "tabs, but commas in a title of the first row": (
        lambda p: write(p, SIX, None, "\t"),
        {},
        r"Or the first row is separated by tab, not by comma: set data\.separator=tab",
    ),
    "a header of unknown names": (
        lambda p: write(p, ["article_id", "article_title", "image_id"], OWN),
        {},
        r"\['id', 'headline', 'picture'\].*data\.id_column=NAME data\.title_column=NAME data\.im",
    ),
    "a header of six unknown names": (
        lambda p: write(p, SIX, ["id", "link", "headline", "tags", "picture", "source"]),
        {},
        r"first row has none of the column names .*not an article.*'link'.*data\.id_column=NAME",
    ),
    "half of the names": (
        lambda p: write(p, SIX[:3], ["article_id", "url", "headline"]),
        {},
        r"lacks the column article_title; it has .*'headline'.*data\.title_column=NAME",
    ),
    "a name that is not there": (
        lambda p: write(p, SIX, SIX),
        {"image_column": "photo"},
        r"a\.csv must have the column photo once, it has",
    ),
    "a column in two cases": (
        lambda p: write(p, [*SIX, "image_id"], [*SIX, "Image_ID"]),
        {},
        r"a\.csv has the column image_id twice",
    ),
    "one column for two": (
        lambda p: write(p, SIX, SIX),
        {"id_column": "x", "image_column": "x"},
        r"data\.id_column and data\.image_column must differ, got 'x'",
    ),
    "an unknown separator": (
        lambda p: write(p, SIX, SIX),
        {"separator": "pipe"},
        r"data\.separator must be one of comma, semicolon, tab, got 'pipe'",
    ),
    "a fourth column that may be either": (
        lambda p: write(p, SIX[:4], article_tags=lambda i: "Ada" if i else "UN2"),
        {},
        r"its fourth column may be article_tags or image_id: .*add a header row",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_unclear_file_is_rejected_with_the_option_to_set(
    case: str, pictures: Path, tmp_path: Path
) -> None:
    make, options, message = ERRORS[case]
    path = make(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=message):
        load(path, **options)


def test_a_subset_may_have_any_separator_and_the_column_names_of_the_data(
    pictures: Path, tmp_path: Path
) -> None:
    write(tmp_path / "a.csv", ["article_id", "article_title", "image_id"], OWN)
    lists = {
        "own.csv": write(tmp_path / "own.csv", ["article_id", "article_title"], OWN[:2], ";"),
        "six.csv": write(tmp_path / "six.csv", SIX, SIX, "\t"),
    }
    for path in lists.values():
        found = load(tmp_path / "a.csv", subset=str(path), **NAMED)
        assert [query.query_id for query in found.queries] == list(TITLES)
    assert list(read_listed_ids(lists["six.csv"])) == list(TITLES)


def test_pictures_are_found_at_any_depth_and_hidden_files_are_ignored(
    pictures: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX)
    (pictures / "deep" / "down").mkdir(parents=True)
    (pictures / "0.png").rename(pictures / "deep" / "0.png")
    (pictures / "1.png").rename(pictures / "deep" / "down" / "1.png")
    (pictures / "._0.png").write_bytes(b"macOS metadata")
    collection = load(path)
    assert collection.qrels == QRELS
    assert [image.path.parent.name for image in collection.images[:3]] == [
        "deep",
        "down",
        "pictures",
    ]
    (pictures / "deep" / "2.jpg").touch()
    with pytest.raises(ValueError, match=r"one image id: .*/2\.(png|jpg) and .*/2\.(png|jpg)"):
        load(path)
    # A duplicate id that is not used is no error.
    others = write(tmp_path / "b.csv", SIX, SIX, image_id=lambda i: "0")
    assert [image.image_id for image in load(others).images] == ["0"]


@pytest.mark.parametrize(("in_csv", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_ids_match_across_unicode_normalisation_forms(
    in_csv: Any, on_disk: Any, pictures: Path, tmp_path: Path
) -> None:
    name = "Älvsund-é0"
    (pictures / "0.png").rename(pictures / f"{unicodedata.normalize(on_disk, name)}.png")
    own = unicodedata.normalize(in_csv, name)
    path = write(tmp_path / "a.csv", SIX, SIX, image_id=lambda i: own if i == 0 else f"{i}")
    qrels = load(path).qrels
    assert qrels is not None
    assert qrels["a0"] == {unicodedata.normalize("NFC", name): 1}
    subset = write(
        tmp_path / "b.csv", SIX, SIX, article_id=lambda i: unicodedata.normalize(in_csv, f"é{i}")
    )
    articles = write(
        tmp_path / "c.csv", SIX, SIX, article_id=lambda i: unicodedata.normalize(on_disk, f"é{i}")
    )
    (pictures / f"{unicodedata.normalize(on_disk, name)}.png").rename(pictures / "0.png")
    assert len(load(articles, subset=str(subset)).queries) == N


def test_all_missing_pictures_are_reported_at_once(pictures: Path, tmp_path: Path) -> None:
    def lose(i: int) -> str:
        return f"{i}" if i < 2 else f"lost{i}"

    path = write(tmp_path / "a.csv", SIX, SIX, image_id=lose)
    with pytest.raises(FileNotFoundError) as raised:
        load(path)
    message = str(raised.value)
    assert "pictures lacks 4 of the 6 pictures that" in message
    places = [message.index(f"'lost{i}' (line {i + 2})") for i in range(2, 6)]
    assert places == sorted(places)  # in the order of the file, not of the split
    assert "data.on_missing=skip" in message


def test_missing_pictures_are_skipped_and_counted(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX)
    (pictures / "3.png").unlink()
    collection = load(path, on_missing="skip")
    assert titles(collection) == TITLES  # the headline remains a query
    assert collection.qrels == {k: v for k, v in QRELS.items() if k != "a3"}
    assert [image.image_id for image in collection.images] == ["0", "1", "2", "4", "5"]
    assert collection.skipped == {"missing": 1}
    assert "lacks 1 of the 6 pictures" in caplog.text
    with pytest.raises(ValueError, match=r"data.on_missing must be one of raise, skip, got 'no'"):
        load(path, on_missing="no")


@pytest.fixture
def damaged(pictures: Path, tmp_path: Path, tiny_clip: Path) -> list[str]:
    """Options for six articles; one picture is not an image and one is truncated."""
    write(tmp_path / "a.csv", SIX, SIX)
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:50])
    return [
        "data=newsimages",
        f"data.csv_path={tmp_path / 'a.csv'}",
        f"data.image_dir={pictures}",
        "data.split=all",
        f"backbone.model={tiny_clip}",
        "reranker=identity",
        "top_k=3",
        "tracking=none",
    ]


def test_all_damaged_pictures_are_reported_at_once(
    damaged: list[str], newsimg_here: Callable[..., Outcome]
) -> None:
    result = newsimg_here(*damaged)
    assert result.code == 2
    told = result.stderr[result.stderr.index("2 of the 6 pictures of newsimages") :]
    assert "a.csv, line 3: cannot read the picture" in told
    assert "pictures/1.png" in told
    assert "a.csv, line 6: cannot read the picture" in told
    assert "pictures/4.png" in told
    assert "data.on_damaged=skip" in told


def test_damaged_pictures_are_skipped_and_counted_in_metrics_and_tags(
    damaged: list[str], newsimg_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    (tmp_path / "pictures" / "5.png").unlink()
    skip = ["data.on_damaged=skip", "data.on_missing=skip", "task.n_sheet_queries=1"]
    result = newsimg_here(*damaged[:-1], *skip, f"folder={tmp_path / 'runs'}")
    assert result.code == 0, result.stderr
    assert "2 of the 5 pictures of newsimages cannot be used" in result.stderr
    assert "3 queries, 3 images" in result.stdout
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    expected = {"data/n_missing": 1, "data/n_damaged": 2, "data/n_unjudged": 3}
    assert {name: run.data.metrics[name] for name in expected} == expected
    assert {name: run.data.tags[name] for name in expected} == {
        name: str(n) for name, n in expected.items()
    }


def test_a_test_set_is_searched_and_partial_ground_truth_is_evaluated(
    pictures: Path, tmp_path: Path, tiny_clip: Path, newsimg_here: Callable[..., Outcome]
) -> None:
    path = write(tmp_path / "a.csv", SIX, SIX, image_id=lambda i: "N/A" if i else "0")
    options = [
        "data=newsimages",
        f"data.csv_path={path}",
        f"data.image_dir={pictures}",
        "data.split=all",
        f"backbone.model={tiny_clip}",
        "reranker=identity",
        "top_k=3",
        "tracking=none",
    ]
    found = newsimg_here(*options, "task=infer")
    assert found.code == 0, found.stderr
    assert "after reranking; 1 of 6 headlines name a picture" in found.stdout
    assert "count 0" not in found.stdout
    measured = newsimg_here(*options, "task.n_sheet_queries=0")
    assert measured.code == 0, measured.stderr
    assert "5 of 6 headlines are not known" in measured.stderr
    assert "1 queries, 1 images" in measured.stdout
