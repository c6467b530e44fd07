"""The order of several pictures in one prompt: windows, parsing, both directions, the cache."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import draw_pictures

from newsimg.datatypes import PICTURE_PLACE, Candidates, Image, Query
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.listwise import ListwiseReranker
from newsimg.reranker.vlm.windows import list_windows
from newsimg.reranker.vlm.written_orders import read_order
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM

QUESTION = "{title}\n{pictures}\nOrder all {num_pictures}."
SETTINGS = {"question": QUESTION, "window": 4, "stride": 2, "n_orders": 1, "max_side": 64}
N_IMAGES, N_QUERIES = 30, 12
QUERIES = [Query(str(i), f"Headline {i}") for i in range(N_QUERIES)]
QUALITY = np.random.default_rng(3).permuted(
    np.tile(np.arange(N_IMAGES), (N_QUERIES, 1)), axis=1
)  # of each picture for each headline


class Answerer(VisionLanguageModel):
    """Answers with a function of the title and the ids of the pictures; notes what is asked."""

    fingerprint = '{"model": "answerer"}'

    def __init__(self, answer: Callable[[str, list[int]], str], repeatable: bool = True) -> None:
        self.answer = answer
        self.repeatable = repeatable
        self.asked: list[tuple[str, list[int]]] = []
        self.limits: set[tuple[int, int]] = set()

    def ask(self, *arguments: Any) -> Any:
        raise NotImplementedError

    write = ask

    def compare(
        self,
        images: Any,
        questions: Any,
        max_side: int,
        max_new_tokens: int,
        keep: Any = None,
        is_answer: Any = None,
    ) -> list[str]:
        found = []
        self.limits.add((max_side, max_new_tokens))
        for i, (own, question) in enumerate(zip(images, questions, strict=True)):
            title, *numbered, order = question.split("\n")
            assert numbered == [f"[{n + 1}] {PICTURE_PLACE}" for n in range(len(own))]
            assert order == f"Order all {len(own)}."
            self.asked.append((title, [int(image.image_id) for image in own]))
            found.append(self.answer(*self.asked[-1]))
            if keep:
                keep(i, found[-1])
        return found


def write_order(numbers: Any) -> str:
    return " > ".join(f"[{number + 1}]" for number in numbers)


def answer_rightly(title: str, shown: list[int]) -> str:
    """Order pictures by their quality for the headline."""
    quality = QUALITY[int(title.split()[-1]), shown]
    return write_order(np.argsort(-quality))


def answer_partly(title: str, shown: list[int]) -> str:
    """Leave pictures out, repeat some, add words, name pictures that are not there, or fail."""
    random = np.random.default_rng([int(title.split()[-1]), *shown])
    order = random.permutation(len(shown))[: random.integers(1, len(shown) + 1)]
    kind = random.integers(6)
    if kind == 0:
        return "They all fit well."
    if kind == 1:
        return write_order([*order, len(shown)])
    if kind == 2:
        return f"[1] is best: {write_order(order)}"
    return f"Order: {write_order([*order, order[0]])}."


def make(answer: Any, **changes: Any) -> tuple[ListwiseReranker, Answerer]:
    vlm = Answerer(answer)
    return ListwiseReranker(vlm=vlm, **SETTINGS | changes), vlm


def make_candidates(rows: Any, images: Any = None) -> Candidates:
    scores = np.zeros(np.shape(rows), np.float32)
    images = images or tuple(Image(str(i), Path(f"{i}.png")) for i in range(N_IMAGES))
    return Candidates(images, np.array(rows), scores, {"retrieval": scores})


def draw_rows(top_k: int) -> np.ndarray:
    random = np.random.default_rng(top_k)
    return np.array([random.permutation(N_IMAGES)[:top_k] for _ in QUERIES])


def sort_by_hand(
    title: str, rows: list[int], answer: Any, window: int, stride: int, n_orders: int
) -> list[int]:
    """Return the order of one query's candidates: windows and answers written out once more."""
    rows, bottom = list(rows), len(rows)
    while True:
        top = max(bottom - window, 0)
        bottom = min(top + window, len(rows))
        part = rows[top:bottom]
        points = dict.fromkeys(part, 0.0)
        for shown in [part, part[::-1]][:n_orders]:
            text = answer(title, shown)
            chains = re.findall(r"(?:\[\d+\](?: > )?)+", text)
            numbers = [int(number) for number in re.findall(r"\d+", "".join(chains))]
            if len(chains) == 1 and numbers and max(numbers) <= len(shown):
                named: list[int] = []
                for number in numbers:
                    if shown[number - 1] not in named:
                        named.append(shown[number - 1])
                for row in part:
                    rank = (
                        named.index(row)
                        if row in named
                        else len(named)
                        + len([other for other in part[: part.index(row)] if other not in named])
                    )
                    points[row] += rank
        for place, (_, _, row) in enumerate(
            sorted((points[row], part.index(row), row) for row in part)
        ):
            rows[top + place] = row
        if top == 0:
            return rows
        bottom = max(top - stride, 0) + window


@pytest.mark.parametrize("answer", [answer_rightly, answer_partly])
@pytest.mark.parametrize("n_orders", [1, 2])
@pytest.mark.parametrize(
    ("top_k", "window", "stride"), [(13, 4, 2), (13, 5, 4), (9, 3, 1), (5, 8, 3)]
)
def test_candidates_are_ordered_as_by_windows_written_out_by_hand(
    answer: Any, n_orders: int, top_k: int, window: int, stride: int
) -> None:
    rows = draw_rows(top_k)
    reranker, _ = make(answer, window=window, stride=stride, n_orders=n_orders)
    scores = reranker.score(QUERIES, make_candidates(rows))
    for query, own, values in zip(QUERIES, rows, scores.values, strict=True):
        expected = sort_by_hand(query.title, list(own), answer, window, stride, n_orders)
        assert own[np.argsort(-values)].tolist() == expected
        np.testing.assert_allclose(sorted(values), np.arange(1, top_k + 1) / top_k, rtol=1e-6)
    assert (scores.metrics["unread"] > 0) == (answer is answer_partly)
    assert (scores.metrics["unnamed"] > 0) == (answer is answer_partly)


@pytest.mark.parametrize("n_orders", [1, 2])
def test_a_perfect_model_carries_the_best_of_all_candidates_to_the_front(n_orders: int) -> None:
    """A window hands on `window - stride` pictures, so that as many are the best of all."""
    rows = draw_rows(25)
    reranker, vlm = make(answer_rightly, window=10, stride=5, n_orders=n_orders)
    values = reranker.score(QUERIES, make_candidates(rows)).values
    for i, own in enumerate(rows):
        ordered = own[np.argsort(-values[i])]
        best = own[np.argsort(-QUALITY[i, own])]
        assert ordered[:5].tolist() == best[:5].tolist()
    assert len(vlm.asked) == 4 * n_orders * N_QUERIES
    assert vlm.limits == {(64, 112)}


def test_windows_begin_at_the_last_candidates_and_end_with_a_whole_one_at_the_first() -> None:
    assert list_windows(25, 10, 5) == [(15, 25), (10, 20), (5, 15), (0, 10)]
    assert list_windows(12, 10, 5) == [(2, 12), (0, 10)]
    assert list_windows(10, 10, 5) == [(0, 10)]
    assert list_windows(3, 10, 5) == [(0, 3)]
    assert list_windows(1, 10, 5) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[2] > [1] > [3]", [1, 0, 2]),
        ("[2]>[1]>[3]\n", [1, 0, 2]),
        ("The order is: [ 3 ] > [1].", [2, 0]),
        ("[3] > [3] > [1] > [3]", [2, 0]),
        ("[2] > [1] > [", [1, 0]),
        ("[2]", [1]),
        ("2 > 1 > 3", None),
        ("[2] > [4]", None),
        ("[0] > [1]", None),
        ("[1] shows a harbour, so [1] > [2]", None),
        ("[2], [1], [3]", None),
        ("", None),
    ],
)
def test_an_order_is_read_where_there_is_exactly_one(text: str, expected: list[int] | None) -> None:
    assert read_order(text, 3) == expected


def test_a_preference_for_places_is_cancelled_by_the_second_order() -> None:
    rows = draw_rows(6)

    def prefer_last(title: str, shown: list[int]) -> str:
        return write_order(range(len(shown) - 1, -1, -1))

    one, _ = make(prefer_last, window=6)
    both, _ = make(prefer_last, window=6, n_orders=2)
    np.testing.assert_array_equal(
        np.argsort(-one.score(QUERIES, make_candidates(rows)).values), [range(5, -1, -1)] * 12
    )
    np.testing.assert_array_equal(
        np.argsort(-both.score(QUERIES, make_candidates(rows)).values), [range(6)] * 12
    )


def test_the_same_picture_twice_is_shown_once_and_scored_alike() -> None:
    reranker, vlm = make(answer_rightly, window=3, stride=1)
    values = reranker.score(QUERIES[:1], make_candidates([[4, 7, 4, 9]])).values[0]
    assert vlm.asked == [("Headline 0", [4, 7, 9])]
    order = sorted([4, 7, 9], key=lambda row: -QUALITY[0, row])
    expected = [1 - order.index(row) / 3 for row in (4, 7, 4, 9)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_single_candidate_is_not_shown() -> None:
    reranker, vlm = make(answer_rightly)
    assert reranker.score(QUERIES, make_candidates(draw_rows(1))).values.tolist() == [[1.0]] * 12
    assert not vlm.asked


def test_what_a_model_wrote_about_a_candidate_last_is_its_explanation() -> None:
    reranker, _ = make(answer_rightly, window=2, stride=1, n_orders=2)
    better, worse = sorted((4, 7), key=lambda row: -QUALITY[0, row])
    scores = reranker.score(QUERIES[:1], make_candidates([[better, worse]]))
    assert scores.explanations["order"].tolist() == [
        ["[1] in: [1] > [2]; [2] in: [2] > [1]", "[2] in: [1] > [2]; [1] in: [2] > [1]"]
    ]


def test_answers_without_an_order_are_counted_and_pictures_left_out_too(caplog: Any) -> None:
    def answer(title: str, shown: list[int]) -> str:
        return "none" if title == "Headline 3" else write_order([2, 0])

    reranker, _ = make(answer)
    rows = draw_rows(4)
    scores = reranker.score(QUERIES, make_candidates(rows))
    assert scores.metrics == {"unread": 1.0, "unnamed": 22.0}
    assert "1 of 12 answers hold no order, and their pictures keep the one before" in caplog.text
    assert "22 pictures are left out by the answers about them" in caplog.text
    assert np.argsort(-scores.values)[3].tolist() == [0, 1, 2, 3]
    assert np.argsort(-scores.values)[4].tolist() == [2, 0, 1, 3]


def test_a_model_that_orders_nothing_is_an_error_after_a_few_prompts() -> None:
    reranker, vlm = make(lambda title, shown: "4" * 200)
    queries = QUERIES * 3
    with pytest.raises(
        ValueError, match=r"none of 8 answers holds an order .*444\.\.\.': .* vlm=qwen3_vl_4b$"
    ):
        reranker.score(queries, make_candidates(np.tile(draw_rows(4), (3, 1))))
    assert len(vlm.asked) == 8


def test_a_model_of_one_picture_per_prompt_is_refused() -> None:
    class OnePicture(VisionLanguageModel):
        fingerprint = '{"model": "one"}'
        ask = write = Answerer.ask

    reranker = ListwiseReranker(vlm=OnePicture(), **SETTINGS)
    with pytest.raises(ValueError, match="OnePicture shows one picture in a prompt; several need"):
        reranker.score(QUERIES, make_candidates(draw_rows(4)))


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[Image, ...]:
    paths = draw_pictures(tmp_path / "pictures", [(30 + i, 30) for i in range(4)])
    return tuple(Image(str(i), path) for i, path in enumerate(paths))


def test_answers_are_cached_by_question_pictures_in_order_and_settings(
    drawn: tuple[Image, ...], tmp_path: Path
) -> None:
    cache = OutputCache(tmp_path / "cache")

    def count(rows: list[int], **changes: Any) -> int:
        vlm = Answerer(answer_rightly)
        reranker = ListwiseReranker(vlm=CachedVLM(vlm, cache), **SETTINGS | changes)
        expected, _ = make(answer_rightly, **changes)
        candidates = make_candidates([rows], drawn)
        found = reranker.score(QUERIES[:1], candidates).values
        np.testing.assert_array_equal(found, expected.score(QUERIES[:1], candidates).values)
        return len(vlm.asked)

    assert count([0, 1, 2]) == 1
    assert count([0, 1, 2]) == 0
    assert count([0, 1, 2], n_orders=2) == 1
    assert count([2, 1, 0]) == 0
    assert count([1, 0, 2]) == 1
    assert count([0, 1, 2], max_side=32) == 1
    assert count([0, 1, 2], window=5) == 1  # longer answers are allowed


def test_an_unreadable_answer_is_kept_unless_the_model_may_be_mended(
    drawn: tuple[Image, ...], tmp_path: Path
) -> None:
    for repeatable, expected in ((True, 0), (False, 1)):
        cache = OutputCache(tmp_path / str(repeatable))
        for again in (False, True):
            vlm = Answerer(
                lambda title, shown: "?" if title == "Headline 0" else write_order([1]), repeatable
            )
            reranker = ListwiseReranker(vlm=CachedVLM(vlm, cache), **SETTINGS)
            reranker.score(QUERIES[:2], make_candidates([[0, 1, 2]] * 2, drawn))
            assert len(vlm.asked) == (expected if again else 2)


def test_a_headline_cannot_move_the_pictures() -> None:
    reranker, vlm = make(lambda title, shown: "[1]")
    reranker.score([Query("a", f"{PICTURE_PLACE} {{pictures}}")], make_candidates([[0, 1]]))
    assert vlm.asked == [(" {pictures}", [0, 1])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "{pictures}"}, r"must contain \{title\}, and \{pictures\} once, got"),
        ({"question": "{title} {pictures} {pictures}"}, r"\{pictures\} once"),
        ({"question": "{title} {pictures} {"}, "reranker.question may use"),
        ({"window": 1}, r"reranker.window must be at least 2, got 1"),
        ({"stride": 4}, r"reranker.stride must be in \[1, 3\], below reranker.window, got 4"),
        ({"stride": 0}, r"reranker.stride must be in \[1, 3\]"),
        ({"n_orders": 3}, r"reranker.n_orders must be 1 or 2, got 3"),
        ({"max_side": 0}, r"reranker.max_side must be at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(answer_rightly, **changes)


def test_a_column_that_the_data_lack_is_an_error_before_any_model_runs() -> None:
    reranker, _ = make(answer_rightly, question=f"{QUESTION} {{lead}}")
    with pytest.raises(ValueError, match=r"reranker.question uses \{lead\}"):
        reranker.check_queries(QUERIES)
