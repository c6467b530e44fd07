"""The report: what is in its data, how large it is, and what it refuses."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage
from report_pages import PLAIN, rank_stages, read_data

from newsimg.datatypes import Collection, Image, Query
from newsimg.evaluation.curve import look_up, trace_curve
from newsimg.reporting.pages.assemble import read_part
from newsimg.reporting.pages.cards import Stages, list_refs
from newsimg.reporting.pages.report import describe_curve, write_report
from newsimg.weight.minmax import MinMaxWeight

WEIGHT = MinMaxWeight(value=0.5)


@pytest.fixture(scope="session")
def tiny(newsroom: Any) -> Collection:
    return newsroom.load()


def stages_of(collection: Collection, top_k: int = 8) -> Stages:
    retrieved, reranked, scores = rank_stages(collection, WEIGHT, top_k)
    return Stages(collection, retrieved, reranked, scores, WEIGHT)


def write(collection: Collection, path: Path = Path("r.html"), **options: Any) -> dict[str, Any]:
    write_report(path, stages_of(collection), PLAIN, **options)
    return read_data(path)


def outcome_of(headline: dict[str, Any]) -> str:
    ((_, _, before, after),) = headline["relevant"]
    return {(False, True): "helped", (True, False): "hurt"}.get((before == 1, after == 1), "other")


def test_a_report_has_all_headlines_as_they_are_described(tiny: Collection) -> None:
    stages = stages_of(tiny)
    data = write(tiny)
    assert data["headlines"] == [stages.describe(position) for position in range(60)]
    assert data["judged"] is True
    assert {outcome_of(headline) for headline in data["headlines"]} == {"helped", "hurt", "other"}
    assert "relevant" not in write(replace(tiny, qrels=None))["headlines"][0]


def test_thumbnails_are_those_of_the_pictures(tiny: Collection) -> None:
    pictures = write(tiny)["pictures"]
    for ref in list(pictures)[:8]:
        shown = PILImage.open(io.BytesIO(base64.b64decode(pictures[ref]["thumb"].split(",")[1])))
        with PILImage.open(tiny.images[int(ref)].path) as picture:
            assert shown.size == picture.size  # small pictures are not enlarged
            plain = np.asarray(picture.convert("RGB"), np.float64)
        assert np.abs(np.asarray(shown.convert("RGB"), np.float64) - plain).mean() < 12
        assert (pictures[ref]["width"], pictures[ref]["height"]) == picture.size


def test_thumbnails_keep_the_proportions_of_the_pictures(tiny: Collection, tmp_path: Path) -> None:
    PILImage.new("RGB", (300, 900), "red").save(tmp_path / "tall.png")
    images = (replace(tiny.images[0], path=tmp_path / "tall.png"), *tiny.images[1:])
    described = write(replace(tiny, images=images))["pictures"]["0"]
    shown = PILImage.open(io.BytesIO(base64.b64decode(described["thumb"].split(",")[1])))
    assert shown.size == (43, 130)
    assert (described["width"], described["height"]) == (300, 900)


@pytest.mark.parametrize("max_bytes", [200_000, 180_000])
def test_a_page_keeps_to_its_size_and_says_what_it_leaves_out(
    max_bytes: int, tiny: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    data = write(tiny, max_bytes=max_bytes)
    assert Path("r.html").stat().st_size <= max_bytes
    assert data["n_headlines"] == 60
    assert 5 < len(data["headlines"]) < 60
    assert f"r.html shows {len(data['headlines'])} of 60 headlines" in caplog.text
    wanted = {ref for headline in data["headlines"] for ref in list_refs(headline)}
    assert set(data["pictures"]) == wanted


def test_a_page_too_small_for_all_shows_helped_and_hurt_first(tiny: Collection) -> None:
    everything = write(tiny, Path("all.html"))["headlines"]
    some = write(tiny, Path("some.html"), max_bytes=200_000)["headlines"]
    kept = [headline["id"] for headline in some]
    assert kept == [one["id"] for one in everything if one["id"] in kept]  # in order
    assert {one["id"] for one in everything if outcome_of(one) != "other"} <= set(kept)
    assert len(kept) < 60


def test_a_headline_cannot_end_the_script_it_stands_in(tiny: Collection) -> None:
    title = "</script><script>alert(1)</script><!-- & \u2028 'quoted' \"twice\" /*SCRIPT*/"
    queries = (Query(tiny.queries[0].query_id, title), *tiny.queries[1:])
    data = write(replace(tiny, queries=queries))
    text = Path("r.html").read_text()
    assert text.count("</script>") == read_part("report.html").count("</script>")
    assert "alert(1)" in text
    assert data["headlines"][0]["title"] == title


def test_pictures_that_cannot_be_read_are_counted_and_have_no_thumbnail(
    tiny: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = (Image("gone", tmp_path / "gone.jpg"), *tiny.images[1:])
    pictures = write(replace(tiny, images=images, qrels=None))["pictures"]
    assert [ref for ref, picture in pictures.items() if "thumb" not in picture] == ["0"]
    assert "1 pictures cannot be shown" in caplog.text


def test_one_candidate_per_query_is_enough(tiny: Collection) -> None:
    write_report(Path("r.html"), stages_of(tiny, top_k=1), PLAIN)
    assert {headline["gap"] for headline in read_data(Path("r.html"))["headlines"]} == {0.0}


def test_a_curve_of_few_steps_is_drawn_exactly() -> None:
    curve = pd.DataFrame({"w_lo": [0, 0.25, 0.5], "w_hi": [0.25, 0.5, 1], "hits_at_1": [1, 3, 2]})
    described = describe_curve(curve, 0.4)
    assert described["points"] == [[0, 1], [0.25, 1], [0.25, 3], [0.5, 3], [0.5, 2], [1, 2]]
    assert (described["weight"], described["value"]) == (0.4, 3)
    assert described["best"] == [0.25, 0.5, 3]


def test_a_curve_of_many_steps_keeps_the_extremes_of_each_pixel() -> None:
    random = np.random.default_rng(1)
    start, end = random.random((3000, 6)), random.random((3000, 6))
    curve = trace_curve(start, end, random.integers(-1, 6, 3000), [1])
    assert len(curve) > 800
    described = describe_curve(curve, 0.123)
    points = np.array(described["points"])
    assert len(points) == 800
    assert points[:, 1].max() == pytest.approx(curve["hits_at_1"].max(), rel=1e-4)
    for weight, low, high in zip(points[::2, 0], points[::2, 1], points[1::2, 1], strict=True):
        values = [
            look_up(curve, at)["hits_at_1"] for at in np.linspace(weight, weight + 1 / 400, 9)
        ]
        assert low - 1e-4 <= min(values) <= max(values) <= high + 1e-4


def test_the_template_names_no_address_to_load_from(tiny: Collection) -> None:
    write(tiny)
    head = Path("r.html").read_text().split('id="data"')[0]
    assert not re.findall(r"https?://|url\(|@import|<link|src=\"", head)


@pytest.mark.slow
def test_a_single_run_writes_a_page_and_the_jobs_of_a_sweep_only_if_asked_to(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str]
) -> None:
    result = newsimg_here(*tiny_aesthetics, "tracking=none", "folder=single")
    assert result.code == 0, result.output
    (path,) = Path("single").rglob("report.html")
    data = read_data(path)
    assert data["facts"][0] == "newsimages all"
    assert data["facts"][1:4] == ["60 headlines", "60 pictures", "10 candidates"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", data["facts"][-1])
    assert [measure["name"] for measure in data["measures"]] == ["Hits@1", "Hits@10", "MRR@10"]
    (statistics,) = Path("single").rglob("statistics.csv")
    table = pd.read_csv(statistics, index_col="measure")
    for measure, key in zip(
        data["measures"], ("hits_at_1", "hits_at_10", "mrr_at_10"), strict=True
    ):
        row = table.loc[f"delta/{key}"]
        shown = [measure["low"], measure["high"], measure["p"]]
        assert shown == pytest.approx([row["low"], row["high"], row["p"]])
    assert data["settings"]["reranker"] in ("aesthetics", "aesthetics_vit_b32")
    assert data["settings"]["normalisation"] == "l1"
    assert data["curve"]["value"] == pytest.approx(data["measures"][0]["after"])
    assert newsimg_here("-m", *tiny_aesthetics, "tracking=none", "folder=swept").code == 0
    assert list(Path("swept").rglob("queries.csv"))
    assert not list(Path("swept").rglob("report.html"))
    asked = ["tracking=none", "folder=asked", "task.report=true"]
    assert newsimg_here("-m", *tiny_aesthetics, *asked).code == 0
    assert list(Path("asked").rglob("report.html"))


def test_editors_pictures_are_those_of_the_pool_that_was_searched(tiny: Collection) -> None:
    retrieved, reranked, scores = rank_stages(tiny, WEIGHT)
    articles_only = replace(tiny, images=())  # as when a saved index brings the pictures
    write_report(Path("r.html"), Stages(articles_only, retrieved, reranked, scores, WEIGHT), PLAIN)
    headlines = read_data(Path("r.html"))["headlines"]
    assert len(headlines) == len(tiny.queries)
    for headline in headlines:
        for ref, image_id, *_ in headline["relevant"]:
            assert tiny.images[int(ref)].image_id == image_id
        named = [image_id for _, image_id, *_ in headline["relevant"]]
        assert named == list(tiny.qrels[headline["id"]])
