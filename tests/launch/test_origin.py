"""Whose fault an error is, and that this survives the way from another process."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from newsimg.launch.compose import compose_config
from newsimg.launch.errors.origin import find_package, format_trace, is_mistake, mark_origin
from newsimg.storage.csv_table import find_separator
from newsimg.storage.files import read_lines
from newsimg.storage.text.suggest import check_choice


def catch(call: Callable[[], object]) -> Exception:
    """Return what a call raises, with its traceback."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def fail_in_numpy() -> None:
    np.ones((2, 3)) @ np.ones((2, 3))


def raise_own_error() -> None:
    raise ValueError("of somebody else's package")


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_choice("data.split", "vall", ["val"]),
        lambda: compose_config(["weight.vlue=1"]),
        lambda: Path("nowhere").read_text(),
        lambda: list(read_lines(Path("nowhere"))),
    ],
    ids=["a value", "a key", "a file", "a file that newsimg opens"],
)
def test_what_a_value_a_name_or_a_file_causes_is_a_mistake(call: Callable[[], object]) -> None:
    assert is_mistake(catch(call))


@pytest.mark.parametrize(
    "call",
    [
        fail_in_numpy,
        raise_own_error,
        lambda: check_choice("data.split", "vall", None),
        lambda: find_separator(None),
        lambda: {}["key"],
        lambda: int("x"),
    ],
    ids=["NumPy", "not newsimg's", "TypeError", "AttributeError", "KeyError", "a built-in"],
)
def test_what_a_line_of_code_causes_is_a_defect(call: Callable[[], object]) -> None:
    assert not is_mistake(catch(call))


def test_a_trusted_packages_own_errors_are_meant_for_users() -> None:
    package = __name__.partition(".")[0]
    error = catch(raise_own_error)
    assert is_mistake(error, [package])
    assert not is_mistake(catch(fail_in_numpy), [package])


def test_a_marked_error_tells_in_another_process_what_it_told_in_its_own() -> None:
    package = __name__.partition(".")[0]
    mistake, defect = catch(raise_own_error), catch(fail_in_numpy)
    for error in (mistake, defect):
        mark_origin(error, [package])
    arrived = [pickle.loads(pickle.dumps(error)) for error in (mistake, defect)]
    assert [error.__traceback__ for error in arrived] == [None, None]
    assert [is_mistake(error) for error in arrived] == [True, False]
    assert [find_package(error) for error in arrived] == [package, package]
    assert "np.ones((2, 3)) @ np.ones((2, 3))" in format_trace(arrived[1])
