"""Tables of 80 columns in which nothing is broken."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from newsimg.reporting.console import console
from newsimg.reporting.sweeps.fitting import N_LETTERS, print_fitting

NUMBERS = ("0.4225", "0.375 0.470", "+0.0125", "0.17")
WORDS = st.text("abcdefgh_{}.=", min_size=1, max_size=N_LETTERS)
KEYS = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=4, max_size=4)


@given(st.lists(KEYS, min_size=1, max_size=5))
def test_every_word_and_every_interval_is_printed_whole_in_80_columns(
    rows: list[list[str]],
) -> None:
    heads = ["reranker", "query template", "normalization", "backbone"]
    table = pd.DataFrame(
        [["*", *row, *NUMBERS] for row in rows],
        columns=["", *heads, "Hits@1", "95 % interval", "gain", "p"],
    )
    with console.capture() as said:
        print_fitting(table, len(heads), "best weight")
    lines = said.get().splitlines()
    assert max(map(len, lines)) <= 80
    printed = said.get().replace(",", " ").split()
    for row in rows:
        for text in row:
            assert set(text.split()) <= set(printed)
    assert said.get().count("0.375 0.470") == len(rows)
    assert printed.count("+0.0125") == len(rows)


def test_a_table_that_has_room_keeps_its_columns() -> None:
    table = pd.DataFrame(
        [["", "nnn", "0.1", "0.4100"]], columns=["", "reranker", "weight", "Hits@1"]
    )
    with console.capture() as said:
        print_fitting(table, 1, "runs")
    lines = [line.split() for line in said.get().splitlines()]
    assert lines[1] == ["reranker", "weight", "Hits@1"]
    assert lines[3] == ["nnn", "0.1", "0.4100"]


def test_a_word_that_fills_the_line_is_cut_and_the_numbers_are_not() -> None:
    long = "/a/very/long/path/to/a/model/of/ones/own/that/fills/the/line"
    row = ["*", long, "zscore", *NUMBERS, *NUMBERS[:1]]
    heads = ["", "model", "normalization", "Hits@1", "95 % interval", "gain", "p", "best of curve"]
    with console.capture() as said:
        print_fitting(pd.DataFrame([row], columns=heads), 2, "runs")
    assert max(map(len, said.get().splitlines())) <= 80
    assert f"{long[: N_LETTERS - 1]}…" in said.get()
    assert "0.375 0.470" in said.get()
