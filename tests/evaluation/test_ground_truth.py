"""The ground truth means pictures of the pool, however their ids are written; nothing else does."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from newsimg.datatypes import Candidates, Collection, Image, Query
from newsimg.evaluation.ground_truth import count_covered, match_ground_truth, measure_coverage
from newsimg.tracking.params import pick_tags


def search(pool: list[str], wanted: list[str]) -> tuple[Collection, Candidates]:
    """A query for each wanted id, and a search of the pool."""
    images = tuple(Image(name, Path(name)) for name in sorted(pool))
    queries = tuple(Query(f"q{i}", "title") for i in range(len(wanted)))
    qrels = {f"q{i}": {image_id: 1} for i, image_id in enumerate(wanted)}
    rows = np.zeros((len(wanted), 1), np.int64)
    return Collection("c", queries, images, qrels), Candidates(images, rows, rows)


def match(pool: list[str], wanted: list[str]) -> list[str]:
    collection = match_ground_truth(*search(pool, wanted))
    assert collection.qrels is not None
    return [next(iter(relevant)) for relevant in collection.qrels.values()]


@pytest.mark.parametrize(
    ("wanted", "pool", "meant"),
    [
        ("90749", "90749.jpg", True),
        ("90749.jpg", "90749", True),
        ("90749.png", "90749.JPEG", True),
        ("90749", "newsimages/90749.jpg", True),
        ("newsimages/90749.jpg", "90749.webp", True),
        ("90749", "deep/000.tar/90749.jpg", True),
        ("photos/90749", "deep/photos/90749.jpg", True),
        ("f\u00e4hre", "fa\u0308hre.jpg", True),
        ("90749", "190749.jpg", False),
        ("90749", "90749/1.jpg", False),
        ("cam23/1.png", "cam24/1.png", False),
        ("90749.v2", "90749.jpg", False),
        ("90749.v2", "90749.v2.jpg", True),
        ("A", "a.jpg", False),
    ],
)
def test_ids_that_differ_by_extension_or_leading_folders_alone_mean_one_picture(
    wanted: str, pool: str, meant: bool
) -> None:
    assert match([pool, "other.jpg", "zz/other2.jpg"], [wanted]) == [pool if meant else wanted]


def test_an_id_that_is_there_as_written_means_that_picture_alone() -> None:
    pool = ["1.jpg", "1.png", "a/1.jpg", "2.png"]
    assert match(pool, ["1.jpg", "a/1.jpg", "2"]) == ["1.jpg", "a/1.jpg", "2.png"]


@pytest.mark.parametrize("pool", [["1.jpg", "1.png"], ["a/1.jpg", "b/1.jpg"], ["1.jpg", "b/1.jpg"]])
def test_an_id_that_may_mean_two_pictures_is_refused_with_both(pool: list[str]) -> None:
    expected = rf"picture '1' may be '{pool[0]}' or '{pool[1]}' of the pictures"
    with pytest.raises(ValueError, match=expected):
        match(pool, ["1"])


def test_two_ids_that_would_mean_one_picture_are_refused_unless_they_mean_the_same() -> None:
    with pytest.raises(ValueError, match=r"'a/1' and 'b/1' both fit '1.jpg'"):
        match(["1.jpg", "x.jpg"], ["a/1", "b/1"])
    assert match(["1.jpg", "x.jpg"], ["1", "1.jpg", "a/1"]) == ["1.jpg"] * 3


def test_a_ground_truth_that_is_as_the_pool_writes_it_stays_the_very_same() -> None:
    collection, candidates = search(["1", "2"], ["2", "1"])
    assert match_ground_truth(collection, candidates) is collection
    unknown, candidates = search(["1", "2"], ["3"])
    assert match_ground_truth(unknown, candidates) is unknown


def test_coverage_counts_queries_with_any_relevant_picture_in_the_pool() -> None:
    collection, candidates = search(["1", "2"], ["2", "7", "1", "8", "1"])
    assert count_covered(collection, candidates.images) == 3
    assert measure_coverage(collection, candidates.images) == {
        "n_judged": 3,
        "ground_truth_share": 0.6,
    }


def test_a_share_is_a_tag_only_where_it_says_something() -> None:
    assert pick_tags({"ground_truth_share": 1.0, "n_judged": 5}) == {}
    assert pick_tags({"ground_truth_share": 1 / 3, "n_judged": 5}) == {
        "ground_truth_share": "0.3333"
    }


class Saved(tuple[Image, ...]):
    """Pictures that tell their ids as those of a saved index do."""

    def read_ids(self) -> Any:
        ids = [image.image_id for image in self]
        yield from (pa.array(ids[:2], pa.string()), pa.array(ids[2:], pa.string()))


def test_pictures_that_list_their_ids_are_matched_by_the_list() -> None:
    collection, found = search(["a/1.jpg", "b/2.jpg", "c/3.jpg"], ["3", "1"])
    candidates = Candidates(Saved(found.images), found.rows, found.scores)
    qrels = match_ground_truth(collection, candidates).qrels
    assert qrels == {"q0": {"c/3.jpg": 1}, "q1": {"a/1.jpg": 1}}


def test_the_benchmarks_own_folder_is_measured_as_its_articles_are(
    newsimg_here: Callable[..., Any], tiny_options: list[str], newsroom: Any, tmp_path: Path
) -> None:
    """An index whose ids are file names, some of them missing, some in folders."""
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    for i, path in enumerate(sorted(newsroom.image_dir.iterdir())[:45]):
        shutil.copy(path, pictures / "deep" if i % 2 else pictures)
    data = [option for option in tiny_options if option.startswith("data")]
    others = [option for option in tiny_options if not option.startswith(("data", "task."))]
    made = newsimg_here(
        *others, "task=index", "data=collection", f"data.folder={pictures}", "task.index_dir=index",
        "tracking=none",
    )  # fmt: skip
    assert made.code == 0, made.output
    saved = [*others, *data, "index=saved", "index.folders=[index]", "task.report=false"]
    told = "editors' pictures of 45 of 60 headlines (0.7500) are among those searched"
    found = {}
    for task in ("evaluate", "infer", "tune"):
        more = ["task.report=false"] if task != "tune" else ["task.report_split=null"]
        more += ["task.n_folds=2", "task.n_repeats=1"] if task == "tune" else []
        more += ["tracking=none"] if task != "evaluate" else []
        run = newsimg_here(*saved[:-1], f"task={task}", *more)
        assert run.code == 0, run.output
        assert told in run.stdout, run.stdout
        found[task] = re.findall(r"^written to +(.+)$", run.stdout, re.MULTILINE)[0]
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'multirun' / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (evaluated,) = [run for run in runs if run.data.params["task"] == "evaluate"]
    assert evaluated.data.tags["ground_truth_share"] == "0.75"
    assert evaluated.data.metrics["ground_truth_share"] == 0.75

    # By hand: the ten candidates of each headline against the article's picture, by its stem.
    lines = (Path(found["evaluate"]) / "retrieval.run").read_text().splitlines()
    ranked = {(query, Path(image_id).stem) for query, _, image_id, *_ in map(str.split, lines)}
    expected = np.mean([(f"a{i}", str(5000 + i)) in ranked for i in range(60)])
    summary = json.loads((Path(found["infer"]) / "summary.json").read_text())
    assert (summary["n_judged"], summary["ground_truth_share"]) == (45, 0.75)
    assert summary["retrieval/hits_at_10"] == pytest.approx(expected)
    assert evaluated.data.metrics["retrieval/hits_at_10"] == pytest.approx(expected)
    assert expected > 0


def test_headlines_none_of_whose_pictures_are_searched_are_not_measured(
    newsimg_here: Callable[..., Any],
    tiny_options: list[str],
    tiny_clip: Path,
    newsroom: Any,
    tmp_path: Path,
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted(newsroom.image_dir.iterdir())[:12]:
        shutil.copy(path, pictures / f"other{path.name}")
    data = [option for option in tiny_options if option.startswith("data")]
    others = [option for option in tiny_options if not option.startswith(("data", "task."))]
    others.append("tracking=none")
    made = newsimg_here(
        *others, "task=index", "data=collection", f"data.folder={pictures}", "task.index_dir=index"
    )
    assert made.code == 0, made.output
    typed = json.loads(Path("index/manifest.json").read_text())["backbone"]["typed"]
    assert typed == ["backbone=sample", f"backbone.model={tiny_clip}"]
    saved = [*others, *data, "index=saved", "index.folders=[index]"]
    for task in ("evaluate", "tune"):
        more = ["task.report_split=null"] if task == "tune" else []
        refused = newsimg_here(*saved, f"task={task}", *more)
        assert refused.code != 0
        assert "none of the editors' pictures of the 60 headlines of" in refused.stderr
        assert re.search(r"like 'other5000\.jpg', the headlines name '50\d\d'\)", refused.stderr)
        assert "The same command with task=infer" in refused.stderr
    inferred = newsimg_here(*saved, "task=infer", "task.report=false")
    assert inferred.code == 0, inferred.output
    assert "none of the editors' pictures is in the index: nothing is measured" in inferred.stdout
