"""Comparing runs: values against brute force and scipy, and clear words on runs that do not fit."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compared_runs import draw_candidates, mark_unsure, write_compared
from report_pages import read_data
from scipy.stats import binomtest

from newsimg.datatypes import Collection, Image
from newsimg.reporting.comparing.candidates import read_candidates, write_candidates
from newsimg.reporting.results import write_results
from newsimg.task.finished.compare import CompareTask

METRICS = ["hits_at_1", "mrr_at_10"]
RERANKERS = ("identity", "nnn", "aesthetics")


@pytest.fixture(scope="module")
def collection(newsroom: Any) -> Collection:
    return newsroom.load()


@pytest.fixture
def folders(collection: Collection) -> list[Path]:
    return [
        write_compared(Path(name), collection, draw_candidates(collection, i), {"reranker": name})
        for i, name in enumerate(RERANKERS)
    ]


def compare(folders: list[Any], **changes: Any) -> dict[str, float]:
    values = {"baseline": 1, "metrics": METRICS, "common": False} | changes
    task = CompareTask(runs=[str(folder) for folder in folders], **values)
    return task.run(None, Path())  # it uses no component


def list_ids(collection: Collection, seed: int) -> list[list[str]]:
    rows = draw_candidates(collection, seed).rows
    return [[collection.images[row].image_id for row in own] for own in rows]


def find_ranks(collection: Collection, seed: int) -> np.ndarray:
    """The rank of the editor's picture of each headline by brute force; infinite if absent."""
    ranks = []
    for query, ids in zip(collection.queries, list_ids(collection, seed), strict=True):
        (editors,) = collection.qrels[query.query_id]
        ranks.append(ids.index(editors) + 1 if editors in ids else np.inf)
    return np.array(ranks)


def correct(p_values: list[float]) -> list[float]:
    """Holm's correction, step by step."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - step)))
        corrected[i] = largest
    return corrected


def test_measures_and_tests_are_those_of_brute_force_and_scipy(
    collection: Collection, folders: list[Path]
) -> None:
    metrics = compare(folders)
    ranks = [find_ranks(collection, seed) for seed in range(3)]
    for i, own in enumerate(ranks, start=1):
        assert metrics[f"run{i}/hits_at_1"] == pytest.approx((own == 1).mean())
        reciprocal = np.where(own <= 10, 1 / own, 0)
        assert metrics[f"run{i}/mrr_at_10"] == pytest.approx(reciprocal.mean())
    p_values = []
    for i in (2, 3):
        first, second = ranks[0] == 1, ranks[i - 1] == 1
        won, lost = int((second & ~first).sum()), int((first & ~second).sum())
        p_values.append(binomtest(won, won + lost).pvalue)
        key = f"run{i}_vs_run1"
        assert metrics[f"{key}/hits_at_1"] == pytest.approx((won - lost) / 60)
        assert metrics[f"{key}/hits_at_1_p"] == pytest.approx(p_values[-1])
        outcomes = [metrics[f"{key}/n_{name}"] for name in ("won", "lost", "both", "neither")]
        both = int((first & second).sum())
        assert outcomes == [won, lost, both, 60 - won - lost - both]
    found = [metrics[f"run{i}_vs_run1/hits_at_1_p_holm"] for i in (2, 3)]
    assert found == pytest.approx(correct(p_values))
    assert found != pytest.approx(p_values)


def test_every_pair_is_tested_and_corrected_without_a_baseline(folders: list[Path]) -> None:
    metrics = compare(folders, baseline=None)
    table = pd.read_csv("compare.csv")
    hits = table[table["measure"] == "hits_at_1"]
    pairs = [("nnn", "identity"), ("aesthetics", "identity"), ("aesthetics", "nnn")]
    assert list(zip(hits["run"], hits["compared_with"], strict=True)) == pairs
    assert hits["p_holm"].tolist() == pytest.approx(correct(hits["p"].tolist()))
    assert metrics["run3_vs_run2/hits_at_1"] == pytest.approx(hits["value"].iloc[2])
    other = compare(folders, baseline=3)
    assert other["run1_vs_run3/hits_at_1"] == -metrics["run3_vs_run1/hits_at_1"]
    assert "run2_vs_run1/hits_at_1" not in other


def test_the_page_has_each_runs_candidates_and_ranks_of_the_editors_picture(
    collection: Collection, folders: list[Path]
) -> None:
    compare(folders)
    page = read_data(Path("compare.html"))
    assert page["names"] == list(RERANKERS)
    assert page["differences"] == {"reranker": list(RERANKERS)}
    ids = {ref: picture["id"] for ref, picture in page["pictures"].items()}
    for i, headline in enumerate(page["headlines"]):
        assert headline["title"] == collection.queries[i].title
        for seed in range(3):
            candidates = draw_candidates(collection, seed)
            shown = [ids[ref] for ref, *_ in headline["runs"][seed]]
            assert shown == list_ids(collection, seed)[i][:5]
            fused = [scores[-1] for _, *scores in headline["runs"][seed]]
            assert fused == pytest.approx(candidates.scores[i][:5].tolist(), rel=1e-4)
        ((_, _, ranks),) = headline["relevant"]
        known = [find_ranks(collection, seed)[i] for seed in range(3)]
        assert [np.inf if rank is None else rank for rank in ranks] == known


def test_the_page_has_the_runs_that_leave_a_headline_without_a_picture(
    collection: Collection, folders: list[Path]
) -> None:
    ids = [query.query_id for query in collection.queries]
    mark_unsure(folders[1], ids[3:5])
    mark_unsure(folders[2], ids[4:5])
    compare(folders)
    unsure = {one["id"]: one["unsure"] for one in read_data(Path("compare.html"))["headlines"]}
    assert {name: runs for name, runs in unsure.items() if runs} == {ids[3]: [1], ids[4]: [1, 2]}


def test_candidates_are_read_back_as_they_were_written(collection: Collection) -> None:
    metadata = {"title": "Harbour", "licence": "CC BY 4.0"}
    images = [replace(image, metadata=metadata) for image in collection.images]
    images[3] = replace(images[3], truncated=True, digest="ab")
    qrels = {"a1": {"gone": 1}, "a2": {images[3].image_id: 1}}
    whole = replace(collection, images=tuple(images), qrels=qrels)
    candidates = draw_candidates(replace(whole, qrels=None), 4)
    write_candidates(Path(), whole, candidates)
    read = read_candidates(Path("candidates.parquet"))
    assert read.titles == {query.query_id: query.title for query in whole.queries}
    assert list(read.ranked.values()) == list_ids(replace(whole, qrels=None), 4)
    seventh = whole.queries[7].query_id
    assert np.array_equal(read.scores[seventh][:, 2], candidates.scores[7])
    assert np.array_equal(read.scores[seventh][:, 0], candidates.parts["retrieval"][7])
    known = {image.image_id: image for image in images}
    for image_id, image in read.images.items():
        assert (image, image.metadata) == (known[image_id], metadata)
    assert read.qrels == qrels


def test_runs_of_infer_without_editors_pictures_are_compared_by_their_first_pictures(
    collection: Collection, folders: list[Path]
) -> None:
    for seed, folder in enumerate(folders[:2]):
        (folder / "candidates.parquet").unlink()
        write_results(folder, collection, draw_candidates(collection, seed), [False] * 60)
    metrics = compare(folders[:2])
    first = [list_ids(collection, seed) for seed in range(2)]
    differs = sum(a[0] != b[0] for a, b in zip(*first, strict=True))
    assert metrics == {"n_runs": 2, "n_queries": 60, "run2_vs_run1/n_first_differs": differs}
    page = read_data(Path("compare.html"))
    assert (page["judged"], page["tests"], page["measures"]) == (False, [], [])
    # A run that knows the editors' pictures is enough.
    judged = compare([folders[0], folders[2]])
    assert judged["run1/hits_at_1"] == pytest.approx((find_ranks(collection, 0) == 1).mean())


def test_names_tell_what_differs_and_are_unique(collection: Collection) -> None:
    candidates = draw_candidates(collection, 0)
    kinds = [("nnn", {"k": 5}, 0.5), ("nnn", {"k": 9}, 0.5), ("identity", {"seed": 1}, 0.25)]
    folders = [
        write_compared(
            Path(f"run{i}"),
            collection,
            candidates,
            {"reranker": name},
            {"reranker": values, "weight": {"value": weight}},
        )
        for i, (name, values, weight) in enumerate(kinds)
    ]
    compare(folders)
    page = read_data(Path("compare.html"))
    names = ["nnn, weight 0.5 (run0)", "nnn, weight 0.5 (run1)", "identity, weight 0.25"]
    assert page["names"] == names
    compare(folders[:2])
    page = read_data(Path("compare.html"))
    assert page["names"] == ["nnn, reranker.k=5", "nnn, reranker.k=9"]
    assert page["differences"] == {"reranker.k": ["5", "9"]}


def test_vanished_pictures_are_shown_without_a_thumbnail(
    collection: Collection, folders: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [Image(image.image_id, Path("gone") / image.path.name) for image in collection.images]
    gone = replace(collection, images=tuple(broken))
    folder = write_compared(Path("gone"), gone, draw_candidates(gone, 7), {"reranker": "gone"})
    other = write_compared(Path("also"), gone, draw_candidates(gone, 8), {"reranker": "also"})
    compare([folder, other])
    pictures = read_data(Path("compare.html"))["pictures"].values()
    assert not any("thumb" in picture for picture in pictures)
    assert "pictures cannot be shown" in caplog.text


def test_a_page_that_would_be_too_large_shows_the_headlines_that_differ_first(
    collection: Collection, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from newsimg.reporting.pages import comparison

    compare(folders[:2])
    whole = read_data(Path("compare.html"))["headlines"]
    size = Path("compare.html").stat().st_size
    write = comparison.write_comparison
    monkeypatch.setattr(
        "newsimg.reporting.comparing.writing.write_comparison",
        lambda *args: write(*args, max_bytes=120_000),
    )
    compare(folders[:2])
    assert Path("compare.html").stat().st_size <= 120_000 < size
    page = read_data(Path("compare.html"))
    ranks = [find_ranks(collection, seed) for seed in range(2)]
    differ = {
        query.query_id
        for i, query in enumerate(collection.queries)
        if (ranks[0][i] == 1) != (ranks[1][i] == 1)
    }
    shown = {headline["id"] for headline in page["headlines"]}
    assert len(shown) < len(whole) == page["n_headlines"]
    assert shown <= differ or differ <= shown


def tell(folders: list[Any], **changes: Any) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        compare(folders, **changes)
    return str(error.value)


def test_runs_that_cannot_be_compared_are_refused_in_a_sentence(
    collection: Collection, folders: list[Path], tmp_path: Path
) -> None:
    assert "task.runs must name 2 to 8 folders of runs" in tell(folders[:1])
    assert "task.runs must name 2 to 8 folders of runs" in tell([])
    assert "must name different runs, got nnn twice" in tell(["nnn", "identity", "nnn"])
    assert "got nnn/../nnn twice" in tell(["nnn", "nnn/../nnn"])
    assert tell(["nnn", "nn"]) == "no folder of a run nn; did you mean 'nnn'?"
    Path("sweep").mkdir()
    Path("nnn").rename("sweep/0")
    assert "sweep is not the folder of a run of task=evaluate or task=infer; a run in it is " in (
        tell(["identity", "sweep"])
    )
    # Interrupted while models were loaded: only Hydra's own files are there.
    Path("begun/.hydra").mkdir(parents=True)
    Path("begun/.hydra/config.yaml").write_text("{}")
    assert "begun has no candidates, as it was interrupted" in tell(["identity", "begun"])
    Path("empty").mkdir()
    assert "empty is not the folder of a run" in tell(["identity", "empty"])
    Path("aesthetics/candidates.parquet").unlink()
    assert "aesthetics has no candidates, as it was interrupted" in tell(["identity", "aesthetics"])
    Path("aesthetics/candidates.parquet").write_bytes(b"PAR1 broken")
    assert "is damaged, run its command again" in tell(["identity", "aesthetics"])
    Path("sweep/0/config.yaml").write_text("a: [")
    assert "config.yaml is damaged" in tell(["identity", "sweep/0"])
    assert "task.baseline must be in [1, 2] or null, got 3" in tell(folders[:2], baseline=3)
    assert "task.metrics must name at least one measure" in tell(folders[:2], metrics=[])


def test_an_unknown_measure_is_refused_with_the_known_ones(folders: list[Path]) -> None:
    told = tell(folders[:2], metrics=["hit_at_1"])
    assert told.startswith("task.metrics must be ")
    assert "hits_at_1" in told


def test_runs_of_other_headlines_are_refused_and_tell_what_is_common(
    collection: Collection, folders: list[Path]
) -> None:
    def write(name: str, queries: Any, **changes: Any) -> Path:
        own = replace(collection, queries=tuple(queries), **changes)
        return write_compared(Path(name), own, draw_candidates(own, 5), {"reranker": name})

    queries = collection.queries
    few = write("few", queries[:50])
    told = tell([folders[0], few])
    assert "identity (newsimages val, 60 headlines) and few (newsimages val, 50 headlines)" in told
    lacking = f"50 in common, few lacks article {queries[50].query_id!r}"
    assert f"{lacking}; task.common=true compares those in common" in told
    assert lacking in tell([few, folders[0]])
    metrics = compare([folders[0], few], common=True)
    assert metrics["n_queries"] == 50
    expected = (find_ranks(collection, 0)[:50] == 1).mean()
    assert metrics["run1/hits_at_1"] == pytest.approx(expected)

    others = write("others", [replace(query, query_id=f"b{i}") for i, query in enumerate(queries)],
                   qrels=None)  # fmt: skip
    assert "none in common" in tell([folders[0], others])
    assert "none in common" in tell([folders[0], others], common=True)
    told = tell([folders[0], write("texts", [replace(queries[0], title="New"), *queries[1:]])])
    assert f"article {queries[0].query_id!r} is " in told
    assert "and 'New' in the other" in told
    qrels = {**collection.qrels, "a3": {collection.images[9].image_id: 1}}
    assert "the editor's picture of 'a3' is" in tell([folders[0], write("q", queries, qrels=qrels)])


def test_runs_on_other_pools_are_compared_with_a_warning(collection: Collection) -> None:
    folders = [
        write_compared(
            Path(pool),
            collection,
            draw_candidates(collection, 1),
            {"reranker": "nnn"},
            {"data": {"name": "tiny", "split": "val", "pool": pool}},
        )
        for pool in ("split", "all")
    ]
    compare(folders)
    warning = read_data(Path("compare.html"))["warning"]
    assert "search other pictures" in warning
    assert "data.pool: split, all" in warning
    images = [replace(image, digest=f"{i}") for i, image in enumerate(collection.images)]
    own = replace(collection, images=tuple(images))
    changed = replace(own, images=(*images[:-1], replace(images[-1], digest="x")))
    pair = [
        write_compared(Path(name), one, draw_candidates(one, 1, 60), {"reranker": "nnn"})
        for name, one in (("own", own), ("changed", changed))
    ]
    assert "has other content in changed than in own" in tell(pair)


def test_the_command_compares_runs_of_evaluate_and_infer(
    newsimg_here: Callable[..., Any], tiny_aesthetics: list[str], tiny_options: list[str]
) -> None:
    quiet = ["task.report=false", "tracking=none"]
    assert newsimg_here(*tiny_options, *quiet, "hydra.run.dir=plain").code == 0
    infer = [text for text in tiny_aesthetics if not text.startswith("task.")]
    done = newsimg_here(*infer, *quiet, "task=infer", "hydra.run.dir=inferred", "weight.value=1")
    assert done.code == 0, done.output
    made = ["task=compare", "task.runs=[plain,inferred]", "tracking=none", "hydra.run.dir=made"]
    done = newsimg_here(*made)
    assert done.code == 0, done.output
    alone = newsimg_here("task=compare", "task.runs=plain", "tracking=none")
    assert alone.code == 2
    assert "task.runs must name 2 to 8 folders of runs" in alone.output
    queries = pd.read_csv("plain/queries.csv", index_col="query_id")
    inferred = pd.read_parquet("inferred/results.parquet")
    first = inferred[inferred["rank"] == 1].set_index("article_id")["image_id"]
    editors = queries["image_id"].astype(str)
    found = {
        "before": queries["reranked_rank"] == 1,
        "after": first.reindex(editors.index).eq(editors),
    }
    counts = Counter(zip(found["before"], found["after"], strict=True))
    page = read_data(Path("made/compare.html"))
    ranks = [headline["relevant"][0][2] for headline in page["headlines"]]
    assert Counter((a == 1, b == 1) for a, b in ranks) == counts
    values = page["measures"][0]["values"]
    assert [values[i][0] for i in (0, 1)] == pytest.approx([found[k].mean() for k in found])
    flat = re.sub(r"\s+", " ", done.stdout)
    assert "Tested against identity" in flat
    assert len(page["headlines"][0]["runs"][0]) == 5
    assert page["depth"] == 10
