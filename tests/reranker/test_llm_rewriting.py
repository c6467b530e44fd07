import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_models import RandomBackbone, make_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from newsimg.datatypes import Candidates, Collection, Image, Query
from newsimg.interfaces import Components, Dataset
from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.reranker.caption_file import read_records
from newsimg.reranker.captions import Captioner
from newsimg.reranker.llm_rewriting import LLMRewritingReranker
from newsimg.task.caption import CaptionTask

PROMPT = {"system": "You choose photographs.", "user": "{num_captions} pictures for {title}"}
QUERIES = (
    Query("a", "Storm hits the harbour"),
    Query("b", "Milk prices fall again across the country"),
    Query("c", "Cup final"),
)
ANSWERS = ("waves over a pier; a fallen tree", "1. cows\n2. a milk churn\n3. cows", " ; ")


def chat(query):
    return [
        {"role": "system", "content": PROMPT["system"]},
        {"role": "user", "content": PROMPT["user"].format(num_captions=2, title=query.title)},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lessons = [(chat(query), answer) for query, answer in zip(QUERIES, ANSWERS, strict=True)]
    return make_llama(tmp_path_factory.mktemp("llama"), lessons)


def make(folder, **changes):
    settings = {
        "model": folder,
        "revision": "main",
        "dtype": "float32",
        "device": "cpu",
        "batch_size": 3,
        "max_new_tokens": 32,
        "temperature": 3.0,
        "top_p": 0.95,
    }
    return TransformersLLM(**settings | changes)


CHATS = [chat(query) for query in QUERIES]


def test_the_model_answers_through_its_own_chat_template(folder):
    assert make(folder).generate(CHATS, None) == list(ANSWERS)


def test_greedy_answers_equal_transformers_called_by_hand_on_one_unpadded_prompt(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    unknown = [chat(Query("d", "Goats on the town hall")), *CHATS]
    prompt = tokenizer.apply_chat_template(unknown[0], tokenize=False, add_generation_prompt=True)
    tokens = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    expected = model.generate(tokens, do_sample=False, max_new_tokens=32)[0, tokens.shape[1] :]
    answers = make(folder, batch_size=4).generate(unknown, None)
    assert answers[0] == tokenizer.decode(expected, skip_special_tokens=True)
    assert answers == make(folder, batch_size=1).generate(unknown, None)


def test_further_settings_of_generation_are_those_of_transformers(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(CHATS[0], tokenize=False, add_generation_prompt=True)
    tokens = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    settings = {"no_repeat_ngram_size": 1, "min_new_tokens": 20}
    expected = model.generate(tokens, do_sample=False, max_new_tokens=32, **settings)
    written = tokenizer.decode(expected[0, tokens.shape[1] :], skip_special_tokens=True)
    assert make(folder, generation=settings).generate(CHATS[:1], None) == [written]
    assert written != make(folder).generate(CHATS[:1], None)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 1.0}, "llm.generation must not hold temperature: set llm.temperature"),
        ({"no_repeat": 3}, "a key of llm.generation .*'no_repeat'"),
    ],
)
def test_settings_that_are_unknown_or_arguments_are_refused(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        make(folder, generation=settings)


def test_drawn_answers_depend_on_seed_and_chat_but_not_on_their_batch(folder):
    together = make(folder).generate(CHATS, 5)
    assert together == make(folder, batch_size=1).generate(CHATS, 5)
    assert together[1:] == make(folder).generate(CHATS[1:], 5)
    assert together != make(folder).generate(CHATS, 6)


def test_drawn_tokens_follow_the_models_probabilities(folder):
    import torch

    from newsimg.llm.transformers_llm import GumbelNoise

    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    scores = torch.tensor(np.log(probabilities), dtype=torch.float32).expand(4000, -1)
    drawn = GumbelNoise([f"prompt {i}" for i in range(4000)], 1)(None, scores).argmax(-1)
    shares = np.bincount(drawn.numpy(), minlength=4) / 4000
    np.testing.assert_allclose(shares, probabilities, atol=0.03)  # 4 standard deviations


MANY = [
    chat(Query(str(i), title))
    for i, title in enumerate(
        ["Cow", "Storm " * 30, "Milk prices fall", "Goats on the town hall " * 9, "Cup final", "A"]
    )
]


@pytest.mark.parametrize("seed", [None, 5])
def test_answers_do_not_depend_on_batch_order_or_padding(folder, seed):
    kept = {}
    together = make(folder, batch_size="auto").generate(MANY, seed, kept.setdefault)
    assert kept == dict(enumerate(together))
    assert together == [make(folder).generate([one], seed)[0] for one in MANY]
    assert together[::-1] == make(folder, batch_size=4).generate(MANY[::-1], seed)
    assert len(set(together)) > 3


@pytest.mark.parametrize("seed", [None, 5])
def test_a_static_cache_writes_the_same_answers(folder, seed):
    static = make(folder, generation={"cache_implementation": "static"})
    assert static.generate(MANY, seed) == make(folder).generate(MANY, seed)


def test_a_batch_that_does_not_fit_is_halved_and_the_answers_stay_the_same(folder, caplog):
    import torch

    small = make(folder, batch_size="auto")
    rows = []

    def check(module, args, kwargs):
        rows.append(len(kwargs["input_ids"]))
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    small.model.register_forward_pre_hook(check, with_kwargs=True)
    assert small.generate(MANY, 5) == make(folder).generate(MANY, 5)
    assert [n for n in rows if n > 2] == [6, 3]
    assert caplog.text.count("memory ran out with 6 rows") == 1
    assert caplog.text.count("memory ran out") == 1


def test_noise_is_that_of_splitmix64_and_the_same_for_a_row_in_any_batch():
    import torch

    from newsimg.llm.transformers_llm import GumbelNoise, as_int64, mix

    # Outputs of the published generator for the seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = 1234567 + torch.arange(1, 4) * as_int64(0x9E3779B97F4A7C15)
    assert [value % 2**64 for value in mix(states).tolist()] == expected
    zeros = torch.zeros(3, 500)
    many, one = GumbelNoise(["a", "b", "c"], 1), GumbelNoise(["b"], 1)
    first, second = many(None, zeros), many(None, zeros)
    torch.testing.assert_close(first[1:2], one(None, zeros[:1]), rtol=0, atol=0)
    torch.testing.assert_close(second[1:2], one(None, zeros[:1]), rtol=0, atol=0)
    rows = torch.cat([first, second])
    assert len(torch.unique(rows)) == rows.numel()  # each step and row has noise of its own
    assert abs(rows.mean() - 0.5772) < 0.1


def test_settings_and_model_are_part_of_the_fingerprint(folder):
    recorded = json.loads(make(folder).fingerprint)
    assert recorded["model"] == Path(folder).name
    assert recorded["revision"].startswith("files:")
    assert (recorded["padding_side"], recorded["dtype"]) == ("left", "float32")
    assert make(folder, batch_size=1).fingerprint == make(folder).fingerprint
    for changes in (
        {"max_new_tokens": 9},
        {"top_p": 0.5},
        {"temperature": 1.0},
        {"generation": {"repetition_penalty": 1.2}},
    ):
        assert make(folder, **changes).fingerprint != make(folder).fingerprint


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"must be a chat model, but .* has no template"):
        make(str(bare)).generate(CHATS, None)


def test_settings_out_of_range_are_refused_by_name(folder):
    for changes, message in (
        ({"dtype": "int8"}, r"llm.dtype must be one of float32, .*, got 'int8'"),
        ({"batch_size": 0}, r"llm.batch_size must be auto or at least 1, got 0"),
        ({"temperature": 0}, r"llm.temperature must be above 0, got 0"),
        ({"top_p": 1.5}, r"llm.top_p must be in \(0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            make(folder, **changes)


@pytest.fixture
def candidates():
    images = tuple(Image(str(i), Path(f"{i}.png")) for i in range(6))
    scores = np.array([[0.9, 0.5, 0.1]] * 3, dtype=np.float32)
    rows = np.array([[5, 0, 2], [1, 2, 3], [3, 4, 0]])
    return Candidates(images, rows, scores, {"retrieval": scores})


def rewriting(folder, tmp_path, **changes):
    settings = {
        "backbone": RandomBackbone(),
        "llm": make(folder),
        "prompt": PROMPT,
        "num_captions": 2,
        "seed": None,
        "captions_path": str(tmp_path / "captions.jsonl"),
        "pool": "max",
    }
    return LLMRewritingReranker(**settings | changes)


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_a_candidate_scores_by_its_cosines_with_the_captions(folder, tmp_path, candidates, pool):
    reranker = rewriting(folder, tmp_path, pool=pool)
    found = reranker.score(QUERIES, candidates)
    scores = found.values
    backbone = RandomBackbone()
    captions = (["waves over a pier", "a fallen tree"], ["cows", "a milk churn"])
    assert [list(own) for own in found.captions[:2]] == list(captions)
    best = []
    for own, rows, row_scores in zip(captions, candidates.rows, scores, strict=False):
        images = backbone.embed_images([candidates.images[row] for row in rows])
        cosines = backbone.embed_texts(own) @ images.T
        np.testing.assert_allclose(row_scores, getattr(cosines, pool)(axis=0), atol=1e-6)
        best.append(cosines.argmax(axis=0))
    np.testing.assert_array_equal(found.best_captions[:2], best)
    assert len(np.unique(best)) == 2


def test_a_headline_without_captions_keeps_its_retrieval_scores_and_is_counted(
    folder, tmp_path, candidates, caplog
):
    # Drawn at almost no temperature, the second answer is as empty as the first.
    reranker = rewriting(folder, tmp_path, llm=make(folder, temperature=0.01))
    found = reranker.score(QUERIES, candidates)
    scores = found.values
    np.testing.assert_array_equal(scores[2], candidates.parts["retrieval"][2])
    assert (found.best_captions[2] == -1).all()
    assert found.metrics == {
        "captions_missing": 1,
        "captions_fewer": 0,
        "captions_truncated": 0,
        "captions_per_query": pytest.approx(4 / 3),
    }
    assert "1 of 3 headlines have no captions and keep their retrieval scores" in caplog.text
    assert read_records(tmp_path / "captions.jsonl")[2]["captions"] == []


def test_the_first_captions_of_a_file_are_taken_and_too_few_are_counted(
    tmp_path, candidates, caplog
):
    origin = {"model": "m", "revision": None, "prompt_hash": "", "settings": {"num_captions": 3}}
    texts = (["a wave", "a pier", "a tree"], ["a cow", "a churn"], ["a cup"])
    (tmp_path / "captions.jsonl").write_text(
        "".join(
            json.dumps({"article_id": q.query_id, "title": q.title, "captions": own} | origin)
            + "\n"
            for q, own in zip(QUERIES, texts, strict=True)
        )
    )
    backbone = RandomBackbone()
    scores = {}
    for n, n_fewer, n_captions in ((1, 0, 3), (2, 1, 5), (3, 2, 6), (5, 3, 6)):
        caplog.clear()
        reranker = rewriting(None, tmp_path, llm=None, num_captions=n)
        given = reranker.score(QUERIES, candidates)
        scores[n] = given.values
        for own, rows, found in zip(texts, candidates.rows, scores[n], strict=True):
            images = backbone.embed_images([candidates.images[row] for row in rows])
            cosines = backbone.embed_texts(own[:n]) @ images.T
            np.testing.assert_allclose(found, cosines.max(axis=0), atol=1e-6)
        assert given.metrics["captions_fewer"] == n_fewer
        assert given.metrics["captions_per_query"] == n_captions / 3
        told = f"{n_fewer} of 3 headlines have fewer captions than the {n} asked for"
        assert (told in caplog.text) == (n_fewer > 0)
    assert not np.array_equal(scores[1], scores[3])


def test_an_unknown_pool_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"reranker.pool must be one of max, mean, got 'sum'"):
        rewriting(folder, tmp_path, pool="sum")


class Headlines(Dataset):
    name = "headlines"

    def load(self):
        return Collection(self.name, QUERIES, (), None)

    def with_split(self, split):
        raise ValueError(f"no split {split}")


def caption_task(llm, tmp_path, **changes):
    settings = {
        "prompt": PROMPT,
        "num_captions": 2,
        "seed": None,
        "captions_path": None,
        "import_path": None,
        "import_csv": None,
    }
    return CaptionTask(llm=llm, **settings | changes)


def test_the_task_writes_the_captions_of_all_articles(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NEWSIMG_CACHE", str(tmp_path / "cache"))
    components = Components(Headlines(), None, None, None, None, 1)
    llm = make(folder, temperature=0.01)
    metrics = caption_task(llm, tmp_path).run(components, tmp_path)
    assert metrics == {
        "n_articles": 3,
        "captions_missing": 1,
        "captions_fewer": 0,
        "captions_per_article": 4 / 3,
    }
    records = read_records(tmp_path / "captions.jsonl")
    kept = Captioner(llm=llm, prompt=PROMPT, num_captions=2, seed=None, captions_path=None)
    assert kept.caption(QUERIES) == records


def test_the_task_imports_lists_that_the_reranker_then_takes(tmp_path, candidates):
    csv, lists = tmp_path / "articles.csv", tmp_path / "lists.json"
    csv.write_text(
        "article_id,article_title,image_id\n"
        + "".join(f"{query.query_id},{query.title},{i}\n" for i, query in enumerate(QUERIES))
    )
    lists.write_text(json.dumps([["a wave", ""], ["a cow", "a churn"], ["", ""]]))
    components = Components(Headlines(), None, None, None, None, 1)
    task = caption_task(
        None, tmp_path, captions_path="-", import_path=str(lists), import_csv=str(csv)
    )
    assert task.run(components, tmp_path)["captions_missing"] == 1
    reranker = rewriting(None, tmp_path, llm=None)
    scores = reranker.score(QUERIES, candidates).values
    backbone = RandomBackbone()
    images = backbone.embed_images([candidates.images[row] for row in candidates.rows[0]])
    np.testing.assert_allclose(
        scores[0], (backbone.embed_texts(["a wave"]) @ images.T)[0], atol=1e-6
    )
    with pytest.raises(ValueError, match=r"import_path and task.import_csv must be given together"):
        caption_task(None, tmp_path, import_path="x")
