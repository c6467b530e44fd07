"""Weights are printed with the digits that reproduce what is said of them."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsimg.interfaces import RunInfo
from newsimg.reporting.console import console, print_evaluation, show_weight, show_weights
from newsimg.reporting.sweep import find_best_plateau
from newsimg.tracking.params import write_number

NARROW = (0.024916, 0.024921)  # both are 0.0249 in four digits, which lies below them


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((0.2, 0.5), ("0.2000", "0.5000")),
        ((0.20001, 0.49999), ("0.2001", "0.4999")),
        (NARROW, ("0.02492", "0.02492")),
        ((0.25, 0.25), ("0.2500", "0.2500")),
        ((0.0, 1e-9), ("0.0000", "0.0000")),
        ((1 / 3, 1 / 3), ("0.3333333333333333", "0.3333333333333333")),
    ],
)
def test_the_ends_of_an_interval_are_shown_in_few_digits_that_lie_within_it(ends, shown):
    assert show_weights(*ends) == shown


@given(st.floats(0, 1), st.one_of(st.just(0.0), st.floats(1e-17, 1.0)))
def test_what_is_shown_of_an_interval_lies_within_it_when_it_is_typed(low, width):
    high = min(low + width, 1.0)
    first, last = show_weights(low, high)
    assert low <= float(first) <= float(last) <= high
    assert low <= float(show_weight((low + high) / 2, low, high)) <= high


@given(st.floats(0, 1))
def test_a_number_is_written_so_that_it_is_read_back_as_itself(value):
    assert float(write_number(value)) == value
    assert write_number(0.15) == "0.15"
    assert write_number(1) == "1"


def test_a_run_and_a_sweep_print_ends_of_the_plateau_that_lie_on_it():
    metrics = {
        "n_queries": 400,
        "n_images": 400,
        "top_k": 25,
        "ceiling": 0.8,
        **dict.fromkeys(("n_changed", "n_helped", "n_hurt"), 3),
        "effective_weight": 0.1,
        "curve/best_hits_at_1": 0.4225,
        "curve/best_weight": np.mean(NARROW),
        "curve/plateau_low": NARROW[0],
        "curve/plateau_high": NARROW[1],
    }
    with console.capture() as said:
        print_evaluation(metrics, 0.0249175, RunInfo("sample val", "nnn", "none"))
    title = "sample val: reranker nnn, normalisation none, weight 0.0249175"
    assert said.get().splitlines()[0] == title
    check(said.get())
    pandas = pytest.importorskip("pandas")
    named = {"params.reranker": "aesthetics", "params.normalization": "l1"}
    with console.capture() as said:
        find_best_plateau(pandas.DataFrame([metrics | named]))
    check(said.get())


def check(text):
    ends = re.search(r"0\.4225, from (\S+) to (\S+)", text)
    assert NARROW[0] <= float(ends[1]) <= float(ends[2]) <= NARROW[1]
    assert math.isclose(float(ends[1]), NARROW[0], rel_tol=1e-3)
