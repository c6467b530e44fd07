"""What the jobs of a sweep share: a step is done again for other arguments only."""

import numpy as np
import pytest

from newsimg.datatypes import Query, SharedResults


def test_a_step_is_done_once_for_the_same_arguments_and_again_for_others() -> None:
    shared, done = SharedResults(), []

    def name(query: Query, suffix: str) -> str:
        done.append(suffix)
        return query.title + suffix

    query = Query("a", "Storm")
    first = shared.get("name", name, query, "!")
    assert shared.get("name", name, Query("a", "Storm"), "!") is first == "Storm!"
    assert shared.get("other name", name, query, "!") == "Storm!"
    assert shared.get("name", name, query, "?") == "Storm?"
    assert shared.get("name", name, query, "!") == "Storm!"  # the latest alone is kept
    assert done == ["!", "!", "?", "!"]


def test_arrays_are_the_same_where_their_values_are() -> None:
    shared, scores = SharedResults(), np.arange(6.0).reshape(2, 3)
    kept = shared.get("sorted", np.sort, scores)
    assert shared.get("sorted", np.sort, scores.copy()) is kept
    assert shared.get("sorted", np.sort, scores + 1) is not kept


def test_what_failed_is_tried_again() -> None:
    shared = SharedResults()
    with pytest.raises(ZeroDivisionError):
        shared.get("share", lambda n: 1 / n, 0)
    assert shared.get("share", lambda n: 2, 0) == 2
