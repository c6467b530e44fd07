"""task=infer: headlines of any table, or one of the command line, find what the arithmetic says."""

import csv
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.queries import QueriesDataset
from newsimg.datatypes import Candidates, Collection, FloatArray, Image, Query, RerankScores
from newsimg.evaluation.comparison import find_rows
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Backbone, Reranker
from newsimg.pipeline import rerank, retrieve
from newsimg.reporting.quoting import quote_headline
from newsimg.reporting.results import gather, read_leads, read_results, read_titles, write_results
from newsimg.storage.files import PACKAGE_DIR
from newsimg.task.infer import InferTask
from newsimg.weight.l1 import L1Weight

N_PICTURES, N_ARTICLES, TOP_K = 30, 12, 8


@dataclass(frozen=True)
class Desk:
    """Pictures of the sample newsroom in a folder, some of its articles, and what was indexed."""

    pictures: Path
    csv_path: Path
    articles: list[dict[str, str]]
    run: Callable[..., Any]

    def infer(self, *arguments: str) -> Path:
        """Run task=infer, and return the run's folder."""
        result = self.run("task=infer", "index=saved", "index.folders=[index]", *arguments)
        assert result.code == 0, result.output
        return Path(re.findall(r"^written to +(.+)$", result.stdout, re.MULTILINE)[0])


@pytest.fixture
def desk(
    newsimg_here: Callable[..., Any],
    sample_newsroom: Path,
    sample_cache: Path,
    tmp_path: Path,
) -> Desk:
    """Index the pictures of some articles, and others; two articles have none in the index."""
    with (sample_newsroom / "newsarticles.csv").open(encoding="utf-8") as file:
        articles = list(csv.DictReader(file))[: N_PICTURES + 2]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for article in articles[2:]:
        (found,) = (sample_newsroom / "newsimages").glob(f"{article['image_id']}.*")
        (pictures / found.name).write_bytes(found.read_bytes())
        article["image_id"] = found.name
    csv_path = write_csv(tmp_path / "articles.csv", articles[:N_ARTICLES])

    def run(*arguments: str) -> Any:
        cache = f"cache.dir={sample_cache / 'model_outputs'}"
        return newsimg_here(*arguments, "tracking=none", cache, f"top_k={TOP_K}")

    made = run("task=index", "data=collection", f"data.folder={pictures}", "task.index_dir=index")
    assert made.code == 0, made.output
    return Desk(pictures, csv_path, articles[:N_ARTICLES], run)


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def clip() -> TransformersBackbone:
    return TransformersBackbone(
        model=str(PACKAGE_DIR / "sample" / "clip"),
        revision="main",
        dtype="float32",
        device="cpu",
        batch_size=16,
        text_padding="longest",
        text_length=48,
        query_template="{title}",
    )


def expect(
    clip: TransformersBackbone, titles: Sequence[str], pictures: Path, weight: float
) -> list[pd.DataFrame]:
    """Search exactly, rate and fuse by hand; return each headline's candidates, best first."""
    paths = sorted(pictures.iterdir())
    embeddings = clip.embed_images([Image(path.name, path) for path in paths]).astype(np.float64)
    head = load_file(PACKAGE_DIR / "sample" / "aesthetics" / "head.safetensors")
    ratings = embeddings @ head["weight"][0].astype(np.float64) + head["bias"][0]
    tables = []
    for cosines in clip.embed_texts(titles).astype(np.float64) @ embeddings.T:
        best = np.argsort(-cosines, kind="stable")[:TOP_K]
        retrieval, second = cosines[best], ratings[best]
        fused = (1 - weight) * retrieval / np.abs(retrieval).sum()
        fused += weight * second / np.abs(second).sum()
        table = pd.DataFrame(
            {
                "image_id": [paths[i].name for i in best],
                "retrieval": retrieval,
                "rerank": second,
                "fused": fused,
            }
        )
        tables.append(table.sort_values("fused", ascending=False, ignore_index=True))
    return tables


def test_from_headline_to_submission_with_scores_as_the_arithmetic_says(
    desk: Desk, clip: TransformersBackbone, tmp_path: Path
) -> None:
    titles = [article["article_title"] for article in desk.articles]
    expected = expect(clip, titles, desk.pictures, 0.4)
    hidden = desk.pictures.rename(tmp_path / "hidden")  # no score needs a picture opened again

    folder = desk.infer("data=queries", f"data.csv_path={desk.csv_path}", "weight.value=0.4")

    found = pd.read_parquet(folder / "results.parquet")
    assert list(found["article_id"].unique()) == [a["article_id"] for a in desk.articles]
    assert list(found["rank"]) == list(range(1, TOP_K + 1)) * N_ARTICLES
    ours = [own.reset_index(drop=True) for _, own in found.groupby("article_id", sort=False)]
    for own, title, table in zip(ours, titles, expected, strict=True):
        assert set(own["title"]) == {title}
        assert list(own["image_id"]) == list(table["image_id"])
        for name in ("retrieval", "rerank", "fused"):
            np.testing.assert_allclose(own[name], table[name], rtol=1e-4, atol=1e-6)
    assert list(found["uri"]) == [str(desk.pictures / name) for name in found["image_id"]]
    assert found["member"].isna().all()
    assert not found["truncated"].any()
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in hidden.iterdir()
    }
    assert list(found["digest"]) == [digests[name] for name in found["image_id"]]
    for article_id, own in found.groupby("article_id"):
        read = [choice.image.digest for choice in read_results(folder)[article_id]]
        assert read == list(own["digest"])

    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == found.astype(object).where(
        found.notna(), None
    ).to_dict("records")
    ranked = [line.split() for line in (folder / "results.run").read_text().splitlines()]
    assert [(row[0], row[2], int(row[3])) for row in ranked] == list(
        zip(found["article_id"], found["image_id"], found["rank"], strict=True)
    )

    editors = {article["article_id"]: article["image_id"] for article in desk.articles}
    first = found[found["rank"] == 1]
    hits = first["article_id"].map(editors) == first["image_id"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["reranked/hits_at_1"] == pytest.approx(hits.mean())
    assert (summary["n_queries"], summary["n_judged"]) == (N_ARTICLES, N_ARTICLES - 2)
    assert (summary["n_images"], summary["top_k"]) == (N_PICTURES, TOP_K)
    assert (folder / "report.html").stat().st_size > 10_000

    hidden.rename(desk.pictures)
    made = desk.run(
        "task=submit", "task.group=team", f"task.runs={{clip:{folder}}}", "submission=team.zip"
    )
    assert made.code == 0, made.output
    checked = desk.run("task=check", "submission=team.zip")
    assert checked.code == 0, checked.output
    with zipfile.ZipFile("team.zip") as archive:
        assert sorted(archive.namelist()) == sorted(
            f"team_clip/{article['article_id']}_team_clip.png" for article in desk.articles
        )


def test_one_headline_of_the_command_line_finds_what_it_finds_in_a_table(
    desk: Desk, clip: TransformersBackbone
) -> None:
    headline = 'Storm, "worst in years", stops ferries: what now? [live]'
    (table,) = expect(clip, [headline], desk.pictures, 0.15)
    folder = desk.infer(f"query={headline}")
    found = pd.read_parquet(folder / "results.parquet")
    assert set(found["article_id"]) == {"query"}
    assert set(found["title"]) == {headline}
    assert list(found["image_id"]) == list(table["image_id"])
    np.testing.assert_allclose(found["fused"], table["fused"], rtol=1e-4)
    assert (folder / "report.html").is_file()
    assert len(read_results(folder)["query"]) == TOP_K


def test_any_table_with_an_id_and_a_title_is_read(tmp_path: Path) -> None:
    rows = [
        {
            "id": "007",
            "article_id": "not meant",
            "headline": "Fähre, sagt der Reeder, fährt wieder",
        },
        {"id": "8", "article_id": "not meant", "headline": "null"},
    ]
    path = write_csv(tmp_path / "any.csv", rows)
    dataset = QueriesDataset(
        name="any", csv_path=str(path), id_column="id", title_column="headline"
    )
    collection = dataset.load()
    assert collection.queries == (
        Query("007", "Fähre, sagt der Reeder, fährt wieder"),
        Query("8", "null"),
    )
    assert collection.qrels is None
    assert not collection.images
    wrong = QueriesDataset(name="any", csv_path=str(path), id_column="id", title_column="title")
    with pytest.raises(ValueError, match=r"any\.csv must have the column title once, it has"):
        wrong.load()


def test_an_edition_without_a_header_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "articles.csv"
    path.write_text("17,https://news.example/17,Bridge closed,Ada Berg|Red Cross\n")
    (query,) = benchmark(path).load().queries
    assert query == Query("17", "Bridge closed", ("Ada Berg",), ("Red Cross",))


def test_weights_are_swept_over_headlines_without_a_word_of_an_objective(
    desk: Desk, tmp_path: Path
) -> None:
    options = ["index=saved", "index.folders=[index]", "data=queries"]
    result = desk.run(
        "-m", "task=infer", *options, f"data.csv_path={desk.csv_path}", "weight.value=0,0.5",
        "hydra.sweep.dir=swept",
    )  # fmt: skip
    assert result.code == 0, result.output
    plain, mixed = (pd.read_parquet(tmp_path / f"swept/{n}/results.parquet") for n in (0, 1))
    for swept, descends in ((plain, True), (mixed, False)):
        scores = swept.groupby("article_id")["retrieval"]
        assert scores.apply(lambda one: one.is_monotonic_decreasing).all() == descends


def benchmark(path: Path) -> QueriesDataset:
    return QueriesDataset(
        name="queries", csv_path=str(path), id_column="article_id", title_column="article_title"
    )


def test_headlines_without_pictures_are_told_where_to_find_some(
    newsimg_here: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "articles.csv"
    path.write_text("article_id,article_title\n1,Bridge closed\n")
    result = newsimg_here(
        "task=infer", "data=queries", f"data.csv_path={path}", "tracking=none", "cache.dir=cache"
    )
    assert result.code != 0
    assert "queries has headlines and no pictures: index=saved 'index.folders=" in result.output


def test_a_blank_headline_is_refused() -> None:
    with pytest.raises(ValueError, match="query must be a headline, got '  '"):
        InferTask(
            query="  ",
            report=False,
            save_pictures=None,
            copy_pictures=False,
            confidence_path=None,
            min_confidence=None,
            setting=None,
        )


@pytest.mark.parametrize("text", ["null", '"in quotes, already"', "'\"so, too\"'"])
def test_what_hydra_understands_is_passed_on_as_it_is(text: str) -> None:
    assert quote_headline(f"query={text}") == f"query={text}"
    assert quote_headline(f"data.name={text},x") == f"data.name={text},x"


class TwoCriteria(Reranker):
    """Prefers late rows by one criterion and has no opinion by another."""

    def score(self, queries: Sequence[Query], candidates: Candidates) -> RerankScores:
        late = candidates.rows.astype(np.float32)
        return RerankScores(late, {"late": late, "unsure": np.full_like(late, np.nan)})


@pytest.fixture
def pool() -> tuple[Collection, Candidates]:
    """Six unit vectors in a circle, searched from two sides."""
    angles = np.arange(6) / 6
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    images = tuple(
        Image(f"i{i}", Path(f"/p/{i}.jpg"), metadata={"licence": "CC0"} if i == 2 else None)
        for i in range(6)
    )
    queries = (Query("a", "low"), Query("b", "high"))

    class Circle(Backbone):
        query_template = "{title}"
        batch_size = 6
        fingerprint = "circle"

        def embed_images(self, images: Sequence[Image]) -> FloatArray:
            return embeddings

        def embed_texts(self, texts: Sequence[str]) -> FloatArray:
            return embeddings[[0, 5]]

    collection = Collection("circle", queries, images, {"a": {"i5": 1}, "b": {"gone": 1}})
    return collection, retrieve(collection, Circle(), FaissIndex(factory="Flat"), 3)


def test_criteria_and_credits_stay_with_their_pictures_through_the_sort(
    pool: tuple[Collection, Candidates], tmp_path: Path
) -> None:
    collection, retrieved = gather(*pool)
    reranked = rerank(collection, retrieved, TwoCriteria(), L1Weight(value=1.0))
    write_results(tmp_path, collection, reranked, [True, False])
    found = pd.read_parquet(tmp_path / "results.parquet")
    assert list(found["query_truncated"]) == [True] * 3 + [False] * 3
    assert list(found["image_id"]) == ["i2", "i1", "i0", "i5", "i4", "i3"]
    positions = [int(image_id[1:]) for image_id in found["image_id"]]
    assert list(found["criterion/late"]) == positions == list(found["rerank"])
    assert found["criterion/unsure"].isna().all()
    assert [None if pd.isna(v) else v for v in found["licence"]] == ["CC0"] + [None] * 5
    assert "author" not in found
    assert read_results(tmp_path)["a"][0].credit == {"licence": "CC0"}


def test_results_have_the_leads_of_the_articles_that_have_one(
    pool: tuple[Collection, Candidates], tmp_path: Path
) -> None:
    collection, candidates = gather(*pool)
    write_results(tmp_path, collection, candidates, [False, False])
    assert read_leads(tmp_path) == {}
    first, second = collection.queries
    queries = (replace(first, columns=(("lead", " Roofs are <gone>. "),)), second)
    write_results(tmp_path, replace(collection, queries=queries), candidates, [False, False])
    assert read_leads(tmp_path) == {"a": "Roofs are <gone>."}
    assert read_titles(tmp_path) == {"a": first.title, "b": second.title}


def test_a_narrowed_pool_has_the_candidates_and_the_editors_pictures_in_order(
    pool: tuple[Collection, Candidates],
) -> None:
    collection, retrieved = pool
    narrowed, candidates = gather(collection, retrieved)
    assert [image.image_id for image in candidates.images] == ["i0", "i1", "i2", "i3", "i4", "i5"]
    only_first = Candidates(collection.images, retrieved.rows[:1], retrieved.scores[:1], {})
    _, fewer = gather(collection, only_first)
    assert [image.image_id for image in fewer.images] == ["i0", "i1", "i2", "i5"]
    assert narrowed.qrels == collection.qrels
    unknown = Collection("circle", collection.queries, collection.images, {"b": {"gone": 1}})
    assert gather(unknown, retrieved)[0].qrels is None


def test_ids_are_found_in_a_sorted_pool() -> None:
    images = [Image(name, Path(name)) for name in ("a", "b", "ä", "洪")]
    assert find_rows(images, ["洪", "c", "a", "zz", ""]) == {"洪": 3, "a": 0}


def test_results_that_cannot_be_written_leave_no_file(
    pool: tuple[Collection, Candidates], tmp_path: Path
) -> None:
    collection, retrieved = pool
    broken = Collection("x", (Query("a", "\ud800"), Query("b", "high")), collection.images, None)
    reranked = rerank(broken, retrieved, TwoCriteria(), L1Weight(value=0.0))
    with pytest.raises(UnicodeEncodeError):
        write_results(tmp_path, broken, reranked, [False, False])
    assert not list(tmp_path.iterdir())
