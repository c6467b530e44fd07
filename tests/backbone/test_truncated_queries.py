"""Headlines longer than a backbone's text length are counted, named and marked."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from report_pages import read_data

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.newsimages import NewsImagesDataset
from newsimg.datatypes import Candidates, Query
from newsimg.interfaces import LanguageModel
from newsimg.reranker.llm_rewriting import LLMRewritingReranker
from newsimg.reranker.nnn import NNNReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

LONG = "storm " * 20  # 100 letters, each a token of the tiny CLIP
N_LONG = 3


@pytest.fixture
def long_titles(newsroom, tiny_options, tmp_path):
    """The options of a run on the tiny data set with some headlines that are too long."""
    with newsroom.csv_path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    for i, row in enumerate(rows[:10]):
        row[2] = f"{LONG} {i}" if i < N_LONG else f"Short {i}"
    path = tmp_path / "articles.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows[:10]])
    options = [option for option in tiny_options if not option.startswith("data.csv_path=")]
    return [*options, f"data.csv_path={path}", "tracking=none", f"cache.dir={tmp_path / 'cache'}"]


def read_folder(done):
    assert done.code == 0, done.output
    return Path(re.findall(r"written to\s+(\S+)", done.stdout)[0])


@pytest.mark.parametrize("task", ["evaluate", "infer"])
def test_truncated_headlines_are_counted_marked_and_reported_once(task, newsimg_here, long_titles):
    options = long_titles
    if task == "infer":
        options = [o for o in options if "n_sheet_queries" not in o] + ["task=infer"]
    for _ in range(2):  # the second time the cache has all embeddings
        done = newsimg_here(*options)
        folder = read_folder(done)
        reported = re.findall(r"(\d+) of (\d+) headlines are longer than .*: '(.*)'", done.output)
        assert [(int(n), int(of)) for n, of, _ in reported] == [(N_LONG, 10)]
        assert reported[0][2].startswith("storm storm")
        if task == "evaluate":
            marked = pd.read_csv(folder / "queries.csv").set_index("title")["query_truncated"]
        else:
            marked = pd.read_parquet(folder / "results.parquet")
            marked = marked.groupby("title")["query_truncated"].first()
        assert all(marked[title] == title.startswith("storm") for title in marked.index)
        assert marked.sum() == N_LONG
        report = read_data(folder / "report.html")
        assert "3 headlines cut by the backbone" in report["facts"]
        length = yaml.safe_load((folder / "config.yaml").read_text())["backbone"]["text_length"]
        for headline in report["headlines"]:
            is_long = headline["title"].startswith("storm")
            assert headline.get("truncated") == (length if is_long else None)


def test_untruncated_headlines_are_not_reported(newsimg_here, tiny_options):
    done = newsimg_here(*tiny_options, "tracking=none", "backbone.text_length=77")
    folder = read_folder(done)
    assert "longer than" not in done.output
    assert not pd.read_csv(folder / "queries.csv")["query_truncated"].any()
    assert "cut by the backbone" not in (folder / "report.html").read_text()


@pytest.fixture
def clip(tiny_clip, tmp_path):
    backbone = TransformersBackbone(
        model=str(tiny_clip),
        revision="main",
        dtype="float32",
        device="cpu",
        batch_size=16,
        text_padding="longest",
        text_length=77,
        query_template="{title}",
    )
    return CachedBackbone(backbone, OutputCache(tmp_path / "cache"))


def test_a_text_is_truncated_at_text_length(clip):
    assert clip.find_truncated(["x" * 75, "x" * 76, "x" * 75, "y"]) == [False, True, False, False]
    assert clip.find_truncated(["y", "x" * 76]) == [False, True]
    assert clip.cache.counts["cache/embeddings_computed"] == 0
    text, longer = clip.embed_texts(["x" * 76, "x" * 76 + " and much more"])
    np.testing.assert_allclose(text, longer, atol=1e-6)


class Writer(LanguageModel):
    fingerprint = '{"model": "writer"}'

    def generate(self, chats, seed, keep=None):
        answers = [f"- {LONG}\n- a cow" for _ in chats]
        for i, answer in enumerate(answers):
            keep(i, answer)
        return answers


def test_truncated_captions_are_counted(clip, newsroom, caplog):
    collection = newsroom.load(split="val")
    reranker = LLMRewritingReranker(
        backbone=clip,
        llm=Writer(),
        prompt={"system": "", "user": "{title} {num_captions}"},
        num_captions=2,
        seed=None,
        captions_path="captions.jsonl",
        pool="max",
    )
    rows = np.zeros((len(collection.queries), 1), np.int64)
    scores = np.ones(rows.shape, np.float32)
    found = reranker.score(
        collection.queries, Candidates(collection.images, rows, scores, {"retrieval": scores})
    )
    assert found.metrics["captions_truncated"] == 1
    assert "1 of 2 captions are longer than backbone.text_length" in caplog.text


def test_truncated_headlines_of_a_query_bank_are_counted(clip, newsroom, caplog):
    bank = NewsImagesDataset(
        name="tiny",
        csv_path=str(newsroom.csv_path),
        image_dir=str(newsroom.image_dir),
        split="train",
        subset=None,
        seed=28,
        pool="split",
    )
    clip._backbone.text_length = 20
    rows = np.zeros((1, 1), np.int64)
    scores = np.ones(rows.shape, np.float32)
    images = newsroom.load().images[:1]
    reranker = NNNReranker(backbone=clip, bank=bank, alpha=0.5, k=2)
    queries = [Query("q", "Storm")]
    found = reranker.score(queries, Candidates(images, rows, scores, {"retrieval": scores}))
    expected = sum(clip.find_truncated([query.title for query in bank.load().queries]))
    assert 0 < found.metrics["bank_truncated"] == expected
    assert f"{expected} of 48 headlines of the bank are longer" in caplog.text
