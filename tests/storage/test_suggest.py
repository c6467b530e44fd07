"""What a misspelt name may have meant."""

import pytest

from newsimg.storage.text.suggest import check_choice, check_choices, find_close, suggest

XYZ = ("x", "y", "z")
SPLITS = ("train", "val", "test", "all")


@pytest.mark.parametrize(
    ("value", "close"),
    [("vall", "val"), ("TEST", "test"), ("trian", "train"), ("dev", None), (3, None), ("", None)],
)
def test_the_closest_known_name_is_found_whatever_its_case(value: object, close: str) -> None:
    assert find_close(value, SPLITS) == close


def test_of_names_that_are_equally_close_the_first_is_found() -> None:
    assert find_close("hits", ["hits_at_1", "hits_at_5", "mrr_at_1"]) == "hits_at_1"
    assert find_close("hits", ["hits_at_5", "hits_at_1", "mrr_at_1"]) == "hits_at_5"


def test_a_suggestion_ends_a_message_and_is_nothing_where_no_name_is_close() -> None:
    assert suggest("vall", SPLITS) == "; did you mean 'val'?"
    assert suggest("dev", SPLITS) == ""


def test_a_choice_is_refused_with_what_there_is_and_what_is_close() -> None:
    check_choice("data.split", "val", SPLITS)
    expected = "data.split must be one of train, val, test, all, got 'vall'; did you mean 'val'?"
    with pytest.raises(ValueError, match=r"data\.split") as refused:
        check_choice("data.split", "vall", SPLITS)
    assert str(refused.value) == expected


def test_of_many_choices_the_close_one_alone_is_told() -> None:
    many = [f"option_{letter}" for letter in "abcdefghijklmnop"]
    with pytest.raises(ValueError, match=r"^task cannot be 'option_aa'; did you mean 'option_a'"):
        check_choice("task", "option_aa", many)
    with pytest.raises(ValueError, match=r"^task must be one of option_a, .*, got 'xyz'$"):
        check_choice("task", "xyz", many)


def test_several_wrong_choices_are_a_line_each() -> None:
    choices = {"a": ("x", XYZ), "b": ("p", XYZ), "c": (None, XYZ)}
    with pytest.raises(ValueError, match="b must") as refused:
        check_choices(choices)
    lines = ["b must be one of x, y, z, got 'p'", "c must be one of x, y, z, got None"]
    assert str(refused.value).splitlines() == lines
