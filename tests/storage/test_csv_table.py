"""Strict reading of CSV files: valid files round-trip, files with stray quotes are rejected."""

import csv
import io
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsimg.storage.csv_table import MAX_FIELD, SEPARATORS, find_separator, read_rows, read_table

SIX = "".join(f"a{i},,Storm {i},,{i},\n" for i in range(1, 7))


def read(text: str | bytes, path: Path, separator: str = "comma") -> list[tuple[int, list[str]]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path, separator))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "t.csv"


# Without lone carriage returns, which CSV allows only in quotes, and without text like a row.
TEXTS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)


@given(
    rows=st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=5),
    separator=st.sampled_from(list(SEPARATORS)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_values_written_by_the_csv_module_round_trip(
    rows: list[list[str]], separator: str, quoting: int, line_end: str, scratch: Path
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=SEPARATORS[separator], quoting=quoting, lineterminator=line_end
    )
    header = ["id", "headline", "picture"]
    writer.writerows([header, *rows])
    found = [values for _, values in read(text.getvalue(), scratch, separator)]
    assert found == [header, *(row for row in rows if any(value.strip() for value in row))]


def test_rows_have_their_first_line_number_and_empty_rows_are_skipped(tmp_path: Path) -> None:
    text = 'id,title\n\n1,"two\nlines"\n,\n2,one\n,,,,,\n\n'
    assert read(text, tmp_path / "t.csv") == [
        (1, ["id", "title"]),
        (3, ["1", "two\nlines"]),
        (6, ["2", "one"]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Two titles begin with a quote: three rows would be merged.
        (
            SIX.replace("Storm 2", '"Storm 2').replace("Storm 4", '"Storm 4'),
            r"line 2: a quote opens here and text follows a closing quote in line 4",
        ),
        # The second quote is at the end of a title: two rows would be merged.
        (
            SIX.replace("Storm 2", '"Storm 2').replace("Storm 4", 'Storm 4"'),
            r"line 2: a quoted value spans several rows, up to line 4",
        ),
        (SIX.replace("Storm 5", '"Storm 5'), r"line 5: unclosed quote"),
        (SIX.replace("Storm 3", '"Storm" 3'), r"line 3: text follows a closing quote"),
        (SIX.replace("Storm 3", "Storm, 3"), r"line 3: 7 values separated by comma, but 6 in"),
        (SIX.replace("Storm 3,", "Storm\n3,"), r"line 3: 3 values separated by comma, but 6 in"),
        ("id,title\n1,Z\xfcrich\n".encode("latin-1"), r"line 2, byte 4, is 0xfc; save it as UTF-8"),
        ("id,title\n1,Zürich\n".encode("utf-16"), r"is in UTF-16, expected UTF-8"),
        ("id,title\n1,a\0b\n", r"NUL in line 2"),
    ],
)
def test_ambiguous_rows_are_rejected_with_their_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        read(text, tmp_path / "t.csv")


@pytest.mark.parametrize(
    "title",
    [
        "Rain, wind,\nsnow, hail, and more",
        "One,two\nthree,four,five,six\nseven",
        "a1,b,c\nd",
        'He said "no",\nshe said ""yes""'.replace('"', '""'),
    ],
)
def test_a_quoted_title_may_have_several_lines_and_commas(title: str, tmp_path: Path) -> None:
    text = f'id,url,title,tags,image,src\n1,,"{title}",,7,\n2,,Calm,,8,\n'
    oracle = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [values for _, values in read(text, tmp_path / "t.csv")] == oracle
    assert oracle[1][4] == "7"


def test_stray_quotes_do_not_change_other_rows(scratch: Path) -> None:
    """Every accepted row equals the original one, except for its quotes."""
    text = "1,,S,,1,\n2,,T,,2,\n3,,U,,3,\n"
    sound = [values for _, values in read(text, scratch)]
    n_refused = 0
    for n in (1, 2):
        for places in itertools.combinations(range(len(text) + 1), n):
            parts = [text[a:b] for a, b in itertools.pairwise((0, *places, len(text)))]
            try:
                rows = [values for _, values in read('"'.join(parts), scratch)]
            except ValueError:
                n_refused += 1
                continue
            assert [[v.replace('"', "").strip() for v in row] for row in rows] == sound
    assert n_refused > 100


def test_long_values_are_read_and_oversized_ones_are_rejected(tmp_path: Path) -> None:
    long = "x" * 200_000  # the csv module's default limit is 131,072
    assert read(f"id,title\n1,{long}\n", tmp_path / "t.csv")[1] == (2, ["1", long])
    with pytest.raises(ValueError, match=r"line 2: a value is longer than 16,777,216 characters"):
        read(f'id,title\n1,"{"x" * (MAX_FIELD + 1)}\n', tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("row", "separator"),
    [
        ("id,title", "comma"),
        ("id;title;image", "semicolon"),
        ("id\ttitle, and more\timage", "tab"),
        ('"a;b;c",d', "comma"),
        ("id", "comma"),
        ("", "comma"),
    ],
)
def test_the_separator_is_the_most_frequent_one_in_the_first_row(
    row: str, separator: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(f"\n{row}\n1;2;3;4;5\n")
    if row:
        assert find_separator(tmp_path / "t.csv") == separator


def test_rows_of_a_table_are_keyed_by_the_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,n\n007,1e3\n")
    assert list(read_table(tmp_path / "t.csv")) == [{"id": "007", "n": "1e3"}]
    (tmp_path / "t.csv").write_text("")
    assert list(read_table(tmp_path / "t.csv")) == []
