"""The parts of the pages: one file from templates and modules, and headlines as JSON."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from report_pages import rank_stages

from newsimg.datatypes import Collection, Image
from newsimg.reporting.pages.assemble import PAGES, join_modules, to_json
from newsimg.reporting.pages.cards import (
    Stages,
    describe_picture,
    list_refs,
    locate_picture,
)
from newsimg.reporting.thumbnails import SCALES, draw_thumbnail
from newsimg.weight.minmax import MinMaxWeight
from newsimg.weight.zscore import ZScoreWeight

TEMPLATES = sorted(path.name for path in PAGES.glob("*.html"))
MODULES = sorted(path.name for path in PAGES.glob("*.js"))


@pytest.fixture(scope="session")
def tiny(newsroom: Any) -> Collection:
    return newsroom.load()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_stands_after_what_it_imports_and_without_import_or_export(name: str) -> None:
    text = join_modules([name])
    own = (PAGES / name).read_text()
    for imported in re.findall(r'from "\./([\w-]+\.js)"', own):
        (first,) = re.findall(r"\A/\*.*?\*/", (PAGES / imported).read_text(), re.DOTALL)
        assert 0 <= text.index(first) < text.index(own.split("\n", 1)[0])
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_top_level_names_of_joined_modules_are_unique(name: str) -> None:
    text = join_modules([name])
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", text, re.MULTILINE)
    assert len(names) > 3
    assert sorted(names) == sorted(set(names))


def test_data_cannot_end_its_element_and_is_read_back_as_it_was() -> None:
    data = {"title": "</script><!-- & \u2028 \U0001f600 'quoted' /*STYLE*/"}
    text = to_json(data)
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == data


@pytest.mark.parametrize("name", MODULES + sorted(path.name for path in PAGES.glob("*.css")))
def test_parts_name_no_address_to_load_from(name: str) -> None:
    text = (PAGES / name).read_text()
    assert not re.findall(r"url\(|@import|fetch\(\"http|src=\"http", text)


def test_a_headline_is_described_with_ranks_scores_shares_and_components(tiny: Collection) -> None:
    retrieved, reranked, scores = rank_stages(tiny, MinMaxWeight(value=0.3))
    fit = np.random.default_rng(4).random(retrieved.rows.shape).astype(np.float32)
    scores = replace(
        scores,
        components={"fit": fit},
        members={"judge": (0.25, fit.astype(np.float64))},
        captions=[["one", "two"]] * 60,
        best_captions=np.ones(retrieved.rows.shape, np.int64),
        explanations={
            "fit": np.array([[f"{row} fits" for row in rows] for rows in retrieved.rows], object),
            "clickbait": np.full(retrieved.rows.shape, "", object),
        },
    )
    stages = Stages(tiny, retrieved, reranked, scores, MinMaxWeight(value=0.3), n_shown=5)
    for position in (0, 7, 59):
        headline = stages.describe(position)
        assert headline["before"] == [str(row) for row in retrieved.rows[position, :5]]
        assert headline["after"] == [str(row) for row in reranked.rows[position, :5]]
        assert set(headline["candidates"]) == {*headline["before"], *headline["after"]}
        fused = reranked.scores[position]
        assert headline["gap"] == pytest.approx(fused[0] - fused[1], rel=1e-4)
        for row, candidate in headline["candidates"].items():
            old = retrieved.rows[position].tolist().index(int(row))
            new = reranked.rows[position].tolist().index(int(row))
            raw = retrieved.scores[position], scores.values[position]
            shares = [
                share * (values[old] - values.min()) / (values.max() - values.min())
                for share, values in zip((0.7, 0.3), raw, strict=True)
            ]
            assert (candidate["before"], candidate["after"]) == (old + 1, new + 1)
            assert candidate["retrieval"] == pytest.approx(raw[0][old], rel=1e-4)
            assert candidate["rerank"] == pytest.approx(raw[1][old], rel=1e-4)
            assert candidate["shares"] == pytest.approx(shares, rel=1e-4, abs=1e-7)
            assert candidate["fused"] == pytest.approx(sum(shares), rel=1e-4, abs=1e-7)
            assert candidate["components"] == [pytest.approx(fit[position, old], rel=1e-4)]
            assert candidate["members"]["judge"] == pytest.approx([0.25, fit[position, old]], 1e-4)
            assert candidate["caption"] == 1
            assert candidate["explanations"] == {"fit": f"{row} fits"}


def test_the_shares_of_any_linear_weight_sum_to_the_fused_score(tiny: Collection) -> None:
    weight = ZScoreWeight(value=0.4)
    retrieved, reranked, scores = rank_stages(tiny, weight)
    candidates = [
        candidate
        for position in range(60)
        for candidate in Stages(tiny, retrieved, reranked, scores, weight)
        .describe(position)["candidates"]
        .values()
    ]
    assert any(min(candidate["shares"]) < 0 for candidate in candidates)
    for candidate in candidates:
        assert sum(candidate["shares"]) == pytest.approx(candidate["fused"], abs=2e-4)


def test_the_editors_picture_has_its_rank_before_and_after(tiny: Collection) -> None:
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(tiny, weight)
    stages = Stages(tiny, retrieved, reranked, scores, weight)
    n_found = 0
    for position, query in enumerate(tiny.queries):
        ((ref, image_id, before, after),) = stages.describe(position)["relevant"]
        assert {image_id: 1} == tiny.qrels[query.query_id]
        assert tiny.images[int(ref)].image_id == image_id
        for stage, expected in ((retrieved, before), (reranked, after)):
            ids = [tiny.images[row].image_id for row in stage.rows[position]]
            assert expected == (ids.index(image_id) + 1 if image_id in ids else None)
        assert ref in list(list_refs(stages.describe(position)))
        n_found += before is not None
    assert 0 < n_found < 60
    lacking = replace(tiny, qrels={tiny.queries[0].query_id: {"elsewhere": 1}})
    stages = Stages(lacking, retrieved, reranked, scores, weight)
    assert stages.describe(0)["relevant"] == [[None, "elsewhere", None, None]]
    assert "relevant" not in stages.describe(1)


def test_a_truncated_headline_names_the_tokens_that_were_read(tiny: Collection) -> None:
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(tiny, weight)
    cut = replace(retrieved, truncated=[True] + [False] * 59)
    stages = Stages(tiny, cut, reranked, scores, weight, text_length=77)
    assert stages.describe(0)["truncated"] == 77
    assert "truncated" not in stages.describe(1)


def test_a_picture_is_described_with_its_size_and_known_metadata(tiny: Collection) -> None:
    metadata = {"licence": "CC BY 4.0", "author": "", "title": "<b>"}
    image = replace(tiny.images[0], metadata=metadata)
    described = describe_picture(image, draw_thumbnail(image, SCALES[0]), "a.jpg")
    assert described["id"] == image.image_id
    assert described["bytes"] == image.path.stat().st_size
    assert described["metadata"] == {"licence": "CC BY 4.0", "title": "<b>"}
    assert described["thumb"].startswith("data:image/webp;base64,")
    gone = Image("gone", Path("gone.jpg"))
    assert describe_picture(gone, draw_thumbnail(gone, SCALES[0]), None) == {"id": "gone"}


def test_a_picture_is_located_relative_to_the_page(tmp_path: Path) -> None:
    path = tmp_path / "my pictures" / "50%:é#?.jpg"
    url = locate_picture(Image("a", path), tmp_path / "runs" / "1")
    assert (tmp_path / "runs" / "1" / unquote(url)).resolve() == path
    assert not set(" #?:é") & set(url)
    assert locate_picture(Image("a", tmp_path / "a.zip", "a.jpg"), tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": {"fit": np.zeros((60, 3), np.float32)}}, r"of fit must be \(60, 8\)"),
        ({"values": np.zeros((60, 3), np.float32)}, r"of the reranker must be \(60, 8\)"),
        ({"captions": [[]]}, r"captions must be of 60 queries, got 1"),
    ],
)
def test_scores_of_other_candidates_are_refused(
    changes: dict[str, Any], message: str, tiny: Collection
) -> None:
    weight = MinMaxWeight(value=0.5)
    retrieved, reranked, scores = rank_stages(tiny, weight)
    with pytest.raises(ValueError, match=message):
        Stages(tiny, retrieved, reranked, replace(scores, **changes), weight)
