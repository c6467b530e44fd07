"""The page of a run: what is in its data, how large it is, and what it refuses."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from report_pages import PLAIN, rank, read_data

from newsimg.datatypes import Collection, Image, Query
from newsimg.reporting.page import TEMPLATE, write_report
from newsimg.reporting.thumbnails import SCALES


@pytest.fixture(scope="session")
def tiny(newsroom: Any) -> Collection:
    return newsroom.load()


def test_a_query_has_its_first_candidates_with_both_ranks_and_all_scores(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    fit = np.random.default_rng(4).random(retrieved.rows.shape).astype(np.float32)
    details = replace(PLAIN, parts={"fit": fit}, captions=[[f"caption {i}"] for i in range(60)])
    write_report(Path("r.html"), tiny, retrieved, reranked, details)
    data = read_data(Path("r.html"))
    assert data["parts"] == ["fit"]
    for position, query in enumerate(data["queries"]):
        assert query["id"] == tiny.queries[position].query_id
        assert query["before"] == retrieved.rows[position, :5].tolist()
        assert query["after"] == reranked.rows[position, :5].tolist()
        assert query["captions"] == [f"caption {position}"]
        fused = reranked.scores[position]
        assert query["gap"] == pytest.approx(fused[0] - fused[1], rel=1e-4)
        for row, candidate in query["candidates"].items():
            old = retrieved.rows[position].tolist().index(int(row))
            new = reranked.rows[position].tolist().index(int(row))
            assert candidate[:3] == [tiny.images[int(row)].image_id, old + 1, new + 1]
            scores = [retrieved.scores[position, old], reranked.parts["rerank"][position, new]]
            scores += [fused[new], fit[position, old]]
            assert candidate[3:] == pytest.approx(scores, rel=1e-4)


def test_the_editors_picture_has_its_rank_before_and_after(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    write_report(Path("r.html"), tiny, retrieved, reranked, PLAIN)
    found = 0
    for position, query in enumerate(read_data(Path("r.html"))["queries"]):
        ((row, image_id, before, after),) = query["editors"]
        assert {image_id: 1} == tiny.qrels[query["id"]]
        assert tiny.images[row].image_id == image_id
        for stage, expected in ((retrieved, before), (reranked, after)):
            ids = [tiny.images[i].image_id for i in stage.rows[position]]
            assert expected == (ids.index(image_id) + 1 if image_id in ids else None)
        firsts = (before == 1, after == 1)
        outcome = {(False, True): "helped", (True, False): "hurt"}.get(firsts, "unchanged")
        assert query["outcome"] == outcome
        found += before is not None
    assert 0 < found < 60


def test_without_editors_a_query_is_changed_if_its_first_picture_is(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    write_report(Path("r.html"), replace(tiny, qrels=None), retrieved, reranked, PLAIN)
    data = read_data(Path("r.html"))
    assert not data["judged"]
    expected = retrieved.rows[:, 0] != reranked.rows[:, 0]
    assert [query["outcome"] == "changed" for query in data["queries"]] == expected.tolist()
    assert {query["outcome"] for query in data["queries"]} == {"changed", "unchanged"}


def test_thumbnails_are_those_of_the_pictures(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    write_report(Path("r.html"), tiny, retrieved, reranked, PLAIN)
    thumbs = read_data(Path("r.html"))["thumbs"]
    for row in list(thumbs)[:8]:
        shown = PILImage.open(io.BytesIO(base64.b64decode(thumbs[row])))
        assert shown.size == SCALES[0][:2]
        with PILImage.open(tiny.images[int(row)].path) as picture:
            plain = np.asarray(picture.convert("RGB").resize(shown.size), np.float64)
        assert np.abs(np.asarray(shown.convert("RGB"), np.float64) - plain).mean() < 12


@pytest.mark.parametrize("max_bytes", [150_000, 100_000])
def test_a_page_keeps_to_its_size_and_says_what_it_leaves_out(
    max_bytes: int, tiny: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    retrieved, reranked = rank(tiny)
    write_report(Path("r.html"), tiny, retrieved, reranked, PLAIN, max_bytes=max_bytes)
    data = read_data(Path("r.html"))
    assert Path("r.html").stat().st_size <= max_bytes
    assert data["n_queries"] == 60
    if len(data["queries"]) < 60:
        assert f"r.html shows {len(data['queries'])} of 60 queries" in caplog.text
    assert len(data["queries"]) > 5
    wanted = {row for query in data["queries"] for row in query["candidates"]}
    wanted |= {str(editor[0]) for query in data["queries"] for editor in query["editors"]}
    assert set(data["thumbs"]) == wanted


def test_a_page_too_small_for_all_shows_helped_and_hurt_first(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    write_report(Path("all.html"), tiny, retrieved, reranked, PLAIN)
    write_report(Path("some.html"), tiny, retrieved, reranked, PLAIN, max_bytes=90_000)
    kept = [query["id"] for query in read_data(Path("some.html"))["queries"]]
    everything = read_data(Path("all.html"))["queries"]
    assert kept == [query["id"] for query in everything if query["id"] in kept]  # in order
    assert {q["id"] for q in everything if q["outcome"] != "unchanged"} <= set(kept)
    assert len(kept) < 60


def test_a_headline_cannot_end_the_script_it_stands_in(tiny: Collection) -> None:
    title = "</script><script>alert(1)</script><!-- & \u2028 'quoted' \"twice\""
    queries = (Query(tiny.queries[0].query_id, title), *tiny.queries[1:])
    retrieved, reranked = rank(tiny)
    write_report(Path("r.html"), replace(tiny, queries=queries), retrieved, reranked, PLAIN)
    text = Path("r.html").read_text()
    assert text.count("</script>") == TEMPLATE.read_text().count("</script>")
    assert "alert(1)" in text
    assert read_data(Path("r.html"))["queries"][0]["title"] == title


def test_pictures_that_cannot_be_read_are_counted_and_have_no_thumbnail(
    tiny: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = (Image("gone", tmp_path / "gone.jpg"), *tiny.images[1:])
    retrieved, reranked = rank(replace(tiny, images=images, qrels=None))
    collection = replace(tiny, images=images, qrels=None)
    write_report(Path("r.html"), collection, retrieved, reranked, PLAIN)
    thumbs = read_data(Path("r.html"))["thumbs"]
    assert [row for row, thumb in thumbs.items() if thumb is None] == ["0"]
    assert "1 pictures cannot be shown" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": {"fit": np.zeros((60, 3), np.float32)}}, r"scores of fit must be \(60, 8\)"),
        ({"captions": [[]]}, r"captions must be of 60 queries, got 1"),
    ],
)
def test_details_of_other_candidates_are_refused(
    changes: dict[str, Any], message: str, tiny: Collection
) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(Path("r.html"), tiny, *rank(tiny), replace(PLAIN, **changes))


def test_one_candidate_per_query_is_enough(tiny: Collection) -> None:
    write_report(Path("r.html"), tiny, *rank(tiny, top_k=1), PLAIN)
    assert {query["gap"] for query in read_data(Path("r.html"))["queries"]} == {0.0}


def test_the_template_names_no_address_to_load_from() -> None:
    text = TEMPLATE.read_text()
    assert not re.findall(r"https?://|url\(|@import|<link|src=\"(?!data:)", text)


def test_a_single_run_writes_a_page_and_the_jobs_of_a_sweep_only_if_asked_to(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    result = newsimg_here(*tiny_aesthetics, "tracking=none", "folder=single")
    assert result.code == 0, result.output
    (path,) = Path("single").rglob("report.html")
    data = read_data(path)
    assert data["facts"][0] == "newsimages all"
    assert data["facts"][1:4] == ["60 headlines", "60 pictures", "10 candidates"]
    assert set(data["measures"]) == {"Hits@1", "Hits@10", "MRR@10"}
    assert newsimg_here("-m", *tiny_aesthetics, "tracking=none", "folder=swept").code == 0
    assert list(Path("swept").rglob("queries.csv"))
    assert not list(Path("swept").rglob("report.html"))
    asked = ["tracking=none", "folder=asked", "task.report=true"]
    assert newsimg_here("-m", *tiny_aesthetics, *asked).code == 0
    assert list(Path("asked").rglob("report.html"))


def test_editors_pictures_are_those_of_the_pool_that_was_searched(tiny: Collection) -> None:
    retrieved, reranked = rank(tiny)
    articles_only = replace(tiny, images=())  # as when a saved index brings the pictures
    write_report(Path("r.html"), articles_only, retrieved, reranked, PLAIN)
    queries = read_data(Path("r.html"))["queries"]
    assert len(queries) == len(tiny.queries)
    for query in queries:
        for row, image_id, *_ in query["editors"]:
            assert tiny.images[row].image_id == image_id
        assert [image_id for _, image_id, *_ in query["editors"]] == list(tiny.qrels[query["id"]])
