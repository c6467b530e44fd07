"""Ratings in tables: read with pseudonyms, rejected with row and column."""

from pathlib import Path

import pandas as pd
import pytest

from newsimg.data.ratings.table import check_ratings_path, read_ratings, write_ratings
from newsimg.datatypes import Rating


def write(text: str, name: str = "ratings.csv") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def test_ratings_are_read_with_pseudonyms_by_order_and_nothing_else_of_a_person() -> None:
    path = write(
        "email,rater,article_id,image_id,rating,run\n"
        "zoe@x.org,Zoë,a1,i1,4,baseline\nada@x.org,Ada,a1,i2,2.5,ours\nzoe@x.org,Zoë,a2,i3,1,\n"
    )
    assert read_ratings(path) == (
        Rating("a1", "i1", 4.0, "r1", "baseline"),
        Rating("a1", "i2", 2.5, "r2", "ours"),
        Rating("a2", "i3", 1.0, "r1", ""),
    )


def test_ratings_without_raters_and_runs_are_read_with_any_separator() -> None:
    assert read_ratings(write("image_id;rating;article_id\ni1;3;a1\n")) == (
        Rating("a1", "i1", 3.0),
    )


def test_a_parquet_file_with_numbers_is_read_as_the_same_table_in_csv_is() -> None:
    frame = pd.DataFrame(
        {"article_id": [7, 8], "image_id": ["x", "y"], "rating": [1.0, 4.5], "rater": ["b", "a"]}
    )
    frame.to_parquet("r.parquet")
    frame.to_csv("r.csv", index=False)
    expected = (Rating("7", "x", 1.0, "r1"), Rating("8", "y", 4.5, "r2"))
    assert read_ratings(Path("r.parquet")) == read_ratings(Path("r.csv")) == expected


def test_written_ratings_are_read_back_unchanged() -> None:
    ratings = (Rating("a", "i,1", 1 / 3, "r1", 'say "x"'), Rating("b", "j", 5.0, "r2"))
    write_ratings(ratings, Path("out.csv"))
    again = read_ratings(Path("out.csv"))
    assert [round(r.value, 9) for r in again] == [0.333333333, 5.0]
    assert [(r.article_id, r.image_id, r.rater, r.run) for r in again] == [
        (r.article_id, r.image_id, r.rater, r.run) for r in ratings
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("article_id,image_id,rating\na,i,good\n", "line 2, column rating: a rating must be a num"),
        ("article_id,image_id,rating\na,i,3\na,i,nan\n", "line 3, column rating"),
        ("article_id,image_id,rating\na,,3\n", "line 2, column image_id: must not be empty"),
        ("article_id,image_id,rate\na,i,3\n", "must have the column rating once.*mean 'rate'"),
        ("article_id,image_id,rating\n", "holds no ratings"),
    ],
)
def test_an_invalid_table_is_rejected_with_row_and_column(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(write(text))


def test_a_missing_file_says_which_columns_it_needs_and_a_wrong_kind_is_rejected() -> None:
    with pytest.raises(FileNotFoundError, match="article_id, image_id, rating"):
        read_ratings(Path("none.csv"))
    with pytest.raises(ValueError, match=r"data.ratings must be a .csv or .parquet file"):
        check_ratings_path("ratings.xlsx")
