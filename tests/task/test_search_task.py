"""task=search without a browser: what is remembered, what the command says, what is refused."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from letter_models import CountingReranker, LetterBackbone, LetterDataset
from PIL import Image as PILImage

from newsimg.app.command import Typed
from newsimg.app.session import Asked, HeadlineSearch
from newsimg.datatypes import Candidates, Collection, PictureFilter, Query
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Components
from newsimg.pipeline import rerank, retrieve
from newsimg.reporting.quoting import quote_headline
from newsimg.storage.metadata.filters import make_filter
from newsimg.storage.text.templates import warn_empty
from newsimg.task.search import SearchTask
from newsimg.weight.l1 import L1Weight
from newsimg.weight.rrf import RRFWeight

TOP_K = 7
HEADLINES = [
    "Ferry service resumes after storm",
    'Storm, "worst in years", stops ferries: what now? [live] {a: b}',
    "It's over; $(reboot) `ls` ${oc.env:HOME} 100 % & more",
    "null",
    '"Quoted from end to end"',
    "'It is'",
    "=",
    "ends in a backslash \\",
    "<script>alert(1)</script>",
    "洪水で橋が閉鎖",
]


@pytest.fixture
def reranker() -> CountingReranker:
    return CountingReranker()


@pytest.fixture
def components(reranker: CountingReranker) -> Components:
    index = FaissIndex(factory="Flat")
    return Components(
        LetterDataset(), LetterBackbone(), index, reranker, L1Weight(value=0.3), TOP_K
    )


def test_a_weight_sorts_as_a_run_with_it_does_and_asks_no_model_again(
    components: Components, reranker: CountingReranker
) -> None:
    weights = {"l1": L1Weight(value=0.9), "rrf": RRFWeight(value=0.9, k=10)}
    search = HeadlineSearch(components, {"counting": reranker}, weights)
    collection = Collection(
        "x", (Query("q", "abba feed hag"),), components.dataset.load().images, None
    )
    retrieved = retrieve(collection, components.backbone, components.index, TOP_K)
    seen = set()
    for value in (0.0, 0.25, 0.5, 1.0):
        for name, own in (("l1", L1Weight(value=value)), ("rrf", RRFWeight(value=value, k=10))):
            scored = search.score(Asked(" abba feed hag "), "counting", TOP_K)
            found = search.fuse(scored, name, value)
            expected = rerank(collection, retrieved, CountingReranker(), own)
            assert list_ids(found) == list_ids(expected)
            np.testing.assert_allclose(found.scores, expected.scores)
            seen.add(tuple(list_ids(found)))
    assert len(seen) > 2  # the weight does matter here
    assert reranker.n_asked == search.n_scored == 1
    assert weights["l1"].value == 0.9
    search.score(Asked("another one"), "counting", TOP_K)
    search.score(Asked("abba feed hag"), "counting", TOP_K - 1)
    assert reranker.n_asked == search.n_scored == 3


def test_a_typed_headline_is_searched_for_where_the_template_has_a_column(
    components: Components,
    reranker: CountingReranker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_empty.cache_clear()
    weights = {"l1": L1Weight(value=0.3)}
    plain = HeadlineSearch(components, {"counting": reranker}, weights)
    expected = plain.score(Asked("abba feed hag"), "counting", TOP_K).retrieved
    monkeypatch.setattr(LetterBackbone, "query_template", "{title}. {lead}")
    search = HeadlineSearch(components, {"counting": reranker}, weights)
    for headline in ("another one", "abba feed hag"):
        found = search.score(Asked(headline), "counting", TOP_K).retrieved
    assert list_ids(found) == list_ids(expected)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert caplog.text.count("query_template uses {lead}, which is empty for a headline") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Asked(" "), "counting", TOP_K), "no headline"),
        ((Asked("a"), "other", TOP_K), "reranker must be one of counting, got 'other'"),
        ((Asked("a"), "counting", 0), r"top_k must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    arguments: tuple[Any, ...],
    message: str,
    components: Components,
    reranker: CountingReranker,
) -> None:
    search = HeadlineSearch(components, {"counting": reranker}, {"l1": L1Weight(value=0.3)})
    with pytest.raises(ValueError, match=message):
        search.score(*arguments)
    scored = search.score(Asked("a"), "counting", TOP_K)
    with pytest.raises(ValueError, match=r"weight.value must be in \[0, 1\], got 1.5"):
        search.fuse(scored, "l1", 1.5)
    with pytest.raises(ValueError, match="weight must be one of l1, got 'raw'"):
        search.fuse(scored, "raw", 0.5)


@pytest.mark.parametrize("headline", HEADLINES)
def test_a_headline_comes_through_shell_and_hydra_as_it_was_typed(headline: str) -> None:
    typed = Typed([], [], "aesthetics", "l1")
    command = typed.write_command(headline, "aesthetics", "l1", "0.15", 10)
    arguments = [quote_headline(argument) for argument in shlex.split(command)[1:]]
    (query,) = [text for text in arguments if text.startswith("query=")]
    (override,) = OverridesParser.create().parse_overrides([query])
    assert str(override.value()).replace("\\${", "${") == headline  # which OmegaConf takes away
    assert override.get_value_element_as_str().startswith('"')  # a text, even if it says null


TYPED = Typed(
    ["--config-dir", "my conf"],
    [
        "data.split=test",
        "reranker=vlm_judge",
        "backbone@reranker.other=sample",
        "reranker.reading=generate",
        "+reranker@task.rerankers.near=nnn",
        "task.rerankers.near.k=3",
        "weight=rrf",
        "weight.k=30",
        "weight.value=0.9",
        "task.weights.rank.value=0.1",
        "top_k=5",
        "query=old",
        "task.port=1234",
    ],
    "vlm_judge",
    "rrf",
)


def test_the_command_keeps_what_was_typed_for_the_runs_own_components() -> None:
    assert shlex.split(TYPED.write_command("new", "vlm_judge", "rrf", "0.25", 8)) == [
        *("newsimg", "--config-dir", "my conf", "task=infer", "data.split=test"),
        *("reranker=vlm_judge", "backbone@reranker.other=sample", "reranker.reading=generate"),
        *("weight=rrf", "weight.k=30", "weight.value=0.25", "top_k=8", "query=new"),
    ]


def test_the_command_takes_over_what_was_typed_for_another_reranker() -> None:
    assert shlex.split(TYPED.write_command("new", "near", "rank", "0.5", 8)) == [
        *("newsimg", "--config-dir", "my conf", "task=infer", "data.split=test"),
        *("reranker=nnn", "reranker.k=3", "weight=rank", "weight.value=0.5", "top_k=8"),
        "query=new",
    ]


def test_the_command_has_the_conditions_of_the_page_and_of_the_command_line() -> None:
    own = PictureFilter(licence=("CC0",), words=("storm",))
    typed = Typed([], ["data.filter={licence:[CC0],words:[storm]}", "seed=3"], "a", "l1", own)
    wanted = PictureFilter(author=('Ada "B", {x}',), name=("50",), words=("ferry",))
    command = shlex.split(typed.write_command("new", "a", "l1", "0.5", 8, wanted))
    assert [text for text in command if text.startswith("data.filter.")] == []
    (override,) = [text for text in command if text.startswith("data.filter=")]
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert make_filter(parsed.value()) == PictureFilter(
        licence=("CC0",), author=('Ada "B", {x}',), name=("50",), words=("storm", "ferry")
    )
    assert "seed=3" in command
    with pytest.raises(ValueError, match=r"the command line has its own data\.filter\.licence"):
        typed.write_command("new", "a", "l1", "0.5", 8, PictureFilter(licence=("CC BY",)))


def make_task(**changes: Any) -> SearchTask:
    arguments = {
        "query": None,
        "n_examples": 0,
        "port": None,
        "open": False,
        "rerankers": {},
        "weights": {},
        "own_weights": {},
        "reranker": "counting",
        "weight": "l1",
        "flags": [],
        "overrides": [],
    }
    return SearchTask(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": " "}, "query must be a headline, got ' '"),
        ({"n_examples": -1}, "task.n_examples must be at least 0, got -1"),
        ({"port": 0}, r"task.port must be in \[1, 65535\], got 0"),
    ],
)
def test_a_page_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(**changes)


def test_each_reranker_has_the_normalisation_and_the_weight_that_it_brings_along(
    components: Components, reranker: CountingReranker
) -> None:
    own = {"near": RRFWeight(value=1, k=60), "other": RRFWeight(value=0.5, k=10)}
    task = make_task(
        rerankers=dict.fromkeys(own, reranker),
        weights={"l1": L1Weight(value=0.9), "rrf": RRFWeight(value=0.3, k=60)},
        own_weights=own | {"counting": RRFWeight(value=0.9, k=60)},
    )
    rerankers, weights, suited = task.choose(components)
    assert list(rerankers) == ["counting", "near", "other"]
    assert list(weights) == ["l1", "rrf", "other's own"]  # no other has its k
    assert suited == {
        "counting": ("l1", 0.3),  # the run's own
        "near": ("rrf", 1.0),
        "other": ("other's own", 0.5),
    }


def test_one_name_for_two_components_is_refused(components: Components, tmp_path: Path) -> None:
    task = make_task(rerankers={"counting": CountingReranker()})
    with pytest.raises(ValueError, match=r"task.rerankers.counting must have another name"):
        task.run(components, tmp_path)
    task = make_task(weights={"l1": RRFWeight(value=0.5, k=60)})
    with pytest.raises(ValueError, match=r"task.weights.l1 must be as the run's own"):
        task.run(components, tmp_path)


def test_an_index_that_is_not_there_or_of_another_model_ends_the_command(
    newsimg_here: Callable[..., Any], tiny_clip: Path, tmp_path: Path
) -> None:
    quick = ["tracking=none", f"backbone.model={tiny_clip}", "task.n_examples=0"]
    quick += ["reranker=identity"]
    saved = ["task=search", "index=saved", "index.folders=[index]"]
    result = newsimg_here(*saved, *quick)
    assert result.code == 2
    assert "no complete index in index" in result.output

    (tmp_path / "pictures").mkdir()
    for i in range(3):
        PILImage.new("RGB", (40, 30), (80 * i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    source = ["task=index", "task.index_dir=index", "data=collection", "data.folder=pictures"]
    made = newsimg_here(*source, *quick[:2])
    assert made.code == 0, made.output
    result = newsimg_here(*saved, *quick, "backbone.text_length=12")
    assert result.code == 2
    assert "was built with the backbone" in result.output
    assert "Traceback" not in result.output


def list_ids(candidates: Candidates) -> list[str]:
    return [candidates.images[row].image_id for row in candidates.rows[0]]
