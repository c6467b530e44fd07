"""Choice among several pictures: permutations, groups, averaging, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import draw_pictures

from newsimg.datatypes import Candidates, Image, Query
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.vlm.listwise_choice import ListwiseChoiceReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM

SETTINGS = {"question": "{title}\n{pictures}", "answer_prefix": "Number [", "window": 9}
SETTINGS |= {"n_permutations": 3, "seed": 5, "max_side": 64}
QUERIES = [Query(f"a{i}", f"Headline {i}") for i in range(6)]
IMAGES = tuple(Image(f"p{i}", Path(f"{i}.png")) for i in range(30))
QUALITY = np.random.default_rng(3).uniform(0.1, 1, (len(QUERIES), len(IMAGES)))


class Chooser(VisionLanguageModel):
    """Gives numbers the probabilities of a function of headline and pictures; notes the prompts."""

    fingerprint = '{"model": "chooser"}'

    def __init__(self, choose: Callable[[int, list[int]], Any], repeatable: bool = True) -> None:
        self.function = choose
        self.repeatable = repeatable
        self.asked: list[tuple[int, list[int]]] = []

    def ask(self, *arguments: Any) -> Any:
        raise NotImplementedError

    write = ask

    def choose(
        self,
        images: Any,
        questions: Any,
        answers: Any,
        max_side: int,
        answer_prefix: str,
        keep: Any = None,
    ) -> Any:
        assert (max_side, answer_prefix) == (64, "Number [")
        rows = np.zeros((len(questions), len(answers)), np.float32)
        for i, (own, question) in enumerate(zip(images, questions, strict=True)):
            title, *lines = question.split("\n")
            assert lines == [f"[{n + 1}] \ufffc" for n in range(len(own))]
            self.asked.append((int(title.split()[-1]), [int(one.image_id[1:]) for one in own]))
            shares = self.function(*self.asked[-1])
            rows[i, : len(shares)] = shares
            if keep:
                keep(i, rows[i])
        return rows


def by_quality(query: int, shown: list[int]) -> Any:
    """0.8 of the probability is that of the pictures, by quality and place."""
    shares = QUALITY[query, shown] * np.arange(len(shown), 0, -1)
    return 0.8 * shares / shares.sum()


def make(choose: Any = by_quality, **changes: Any) -> tuple[ListwiseChoiceReranker, Chooser]:
    vlm = Chooser(choose)
    return ListwiseChoiceReranker(vlm=vlm, **SETTINGS | changes), vlm


def make_candidates(rows: Any, images: Any = IMAGES) -> Candidates:
    scores = np.zeros(np.shape(rows), np.float32)
    return Candidates(images, np.array(rows), scores, {"retrieval": scores})


def draw_rows(top_k: int) -> np.ndarray:
    random = np.random.default_rng(top_k)
    return np.array([random.permutation(len(IMAGES))[:top_k] for _ in QUERIES])


def score_by_hand(query: int, rows: list[int], window: int, n_permutations: int) -> list[float]:
    """Return the scores of one query: permutations, groups and means written out once more."""
    total = dict.fromkeys(rows, 0.0)
    for number in range(n_permutations):
        keyed = {}
        for row in rows:
            text = json.dumps([5, f"a{query}", number, f"p{row}"])
            keyed[hashlib.sha256(text.encode()).hexdigest()] = row
        order = [keyed[key] for key in sorted(keyed)]
        n_groups = 1
        while n_groups * window < len(order):
            n_groups += 1
        base, n_longer = divmod(len(order), n_groups)
        for i in range(n_groups):
            size = base + (i < n_longer)
            group, order = order[:size], order[size:]
            weights = [QUALITY[query, row] * (size - place) for place, row in enumerate(group)]
            for row, weight in zip(group, weights, strict=True):
                total[row] += size * weight / sum(weights)
    return [total[row] / n_permutations for row in rows]


@pytest.mark.parametrize(("top_k", "window"), [(9, 9), (25, 9), (7, 3), (3, 2), (5, 8), (1, 4)])
@pytest.mark.parametrize("n_permutations", [1, 4])
def test_scores_are_the_mean_over_permutations_written_out_by_hand(
    top_k: int, window: int, n_permutations: int
) -> None:
    rows = draw_rows(top_k)
    reranker, vlm = make(window=window, n_permutations=n_permutations)
    scores = reranker.score(QUERIES, make_candidates(rows))
    expected = [
        score_by_hand(i, own, window, n_permutations) for i, own in enumerate(rows.tolist())
    ]
    np.testing.assert_allclose(scores.values, expected, rtol=1e-5)
    np.testing.assert_allclose(scores.values.mean(axis=1), 1, rtol=1e-5)
    assert all(1 < len(shown) <= window for _, shown in vlm.asked)
    expected_metrics = {"unread": 0.0} | ({"mass": pytest.approx(0.8)} if top_k > 1 else {})
    assert scores.metrics == expected_metrics


def test_a_permutation_depends_on_seed_article_and_number_alone() -> None:
    rows = draw_rows(8)
    reranker, vlm = make()
    values = reranker.score(QUERIES, make_candidates(rows)).values
    alone, other = make()
    backwards = alone.score(QUERIES[4:5], make_candidates(rows[4:5, ::-1])).values
    np.testing.assert_array_equal(backwards[0, ::-1], values[4])
    assert [shown for query, shown in vlm.asked if query == 4] == [
        shown for _, shown in other.asked
    ]
    orders = {tuple(shown) for query, shown in vlm.asked if query == 4}
    assert len(orders) == 3
    seeded, again = make(seed=6)
    seeded.score(QUERIES[4:5], make_candidates(rows[4:5]))
    assert not orders & {tuple(shown) for _, shown in again.asked}


def test_a_preference_for_the_first_place_averages_out() -> None:
    """The spread of scores falls with the root of the number of permutations."""

    def prefer_first(query: int, shown: list[int]) -> Any:
        return [0.92] + [0.08 / (len(shown) - 1)] * (len(shown) - 1)

    rows = draw_rows(9)
    spread = [
        make(prefer_first, n_permutations=n)[0].score(QUERIES, make_candidates(rows)).values.std()
        for n in (1, 400)
    ]
    assert spread[0] > 2.5
    assert spread[1] < spread[0] / 15  # 20 is expected

    def prefer_first_and_good(query: int, shown: list[int]) -> Any:
        shares = QUALITY[query, shown] * np.where(np.arange(len(shown)), 1, 5)
        return shares / shares.sum()

    reranker, _ = make(prefer_first_and_good, n_permutations=400)
    values = reranker.score(QUERIES, make_candidates(rows)).values
    for i, own in enumerate(rows):
        assert np.corrcoef(values[i], QUALITY[i, own])[0, 1] > 0.9


def test_the_same_picture_twice_is_shown_once_and_scored_alike() -> None:
    reranker, vlm = make(n_permutations=1)
    values = reranker.score(QUERIES[:1], make_candidates([[4, 7, 4, 9]])).values[0]
    assert sorted(vlm.asked[0][1]) == [4, 7, 9]
    expected = score_by_hand(0, [4, 7, 9], 9, 1)
    np.testing.assert_allclose(values, [*expected[:2], expected[0], expected[2]], rtol=1e-5)


def test_prompts_without_a_number_count_as_equal_and_are_counted(caplog: Any) -> None:
    reranker, _ = make(lambda query, shown: [0] * len(shown) if query == 2 else [0.5, 0.5])
    scores = reranker.score(QUERIES, make_candidates(draw_rows(2)))
    assert scores.metrics == {"unread": 3.0, "mass": pytest.approx(15 / 18)}
    np.testing.assert_allclose(scores.values, 1)
    assert "3 of 18 prompts are answered with no number" in caplog.text


@pytest.mark.parametrize(
    ("shares", "n_queries", "never"),
    [([0.0] * 6, 1, "1, 2, 3, 4, 5, 6"), ([0.2] * 5 + [0.0], 30, "6")],
)
def test_a_model_that_does_not_choose_among_all_numbers_is_refused(
    shares: list[float], n_queries: int, never: str
) -> None:
    reranker, vlm = make(lambda query, shown: shares)
    queries = [Query(str(i), f"Headline {i}") for i in range(n_queries)]
    with pytest.raises(ValueError, match=rf"no probability of {never} is above .* vlm=qwen3_vl_4b"):
        reranker.score(queries, make_candidates([list(range(6))] * n_queries))
    assert len(vlm.asked) == min(3 * n_queries, 64)


def test_probabilities_are_cached_by_question_pictures_in_order_and_settings(
    tmp_path: Path,
) -> None:
    paths = draw_pictures(tmp_path / "pictures", [(30 + i, 30) for i in range(4)])
    drawn = tuple(Image(f"p{i}", path) for i, path in enumerate(paths))
    cache = OutputCache(tmp_path / "cache")

    def count(rows: list[int], **changes: Any) -> int:
        vlm = Chooser(by_quality)
        reranker = ListwiseChoiceReranker(vlm=CachedVLM(vlm, cache), **SETTINGS | changes)
        candidates = make_candidates([rows], drawn)
        found = reranker.score(QUERIES[:1], candidates).values
        expected = make(**changes)[0].score(QUERIES[:1], candidates).values
        np.testing.assert_array_equal(found, expected)
        return len(vlm.asked)

    n_asked = count([0, 1, 2, 3], n_permutations=2)
    assert n_asked == 2
    assert count([3, 1, 2, 0], n_permutations=2) == 0  # another order of retrieval
    assert count([0, 1, 2, 3], n_permutations=3) == 1
    assert count([0, 1, 2, 3], n_permutations=2, window=8) == 2  # other answers are read
    assert count([0, 1, 2, 3], n_permutations=2, question="{title}\n{pictures}") == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 10}, r"reranker.window must be in \[2, 9\], as each number must be one token"),
        ({"window": 1}, r"reranker.window must be at least 2, got 1"),
        ({"n_permutations": 0}, r"reranker.n_permutations must be at least 1, got 0"),
        ({"question": "{title}"}, r"\{pictures\} once"),
        ({"max_side": 0}, r"reranker.max_side must be at least 1, got 0"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)
