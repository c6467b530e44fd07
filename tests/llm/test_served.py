import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from chat_server import FAULTS, caption_of, ratings_of, serve
from PIL import Image as PILImage

from newsimg.datatypes import Candidates, Image, Query
from newsimg.llm.chat_answers import ServerError, read_retry_after
from newsimg.llm.chat_server import check_server
from newsimg.llm.openai_llm import OpenAILLM
from newsimg.reranker.caption_file import read_records
from newsimg.reranker.captions import Captioner
from newsimg.reranker.vlm_judge import VLMJudgeReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from newsimg.storage.pictures.images import DECODING
from newsimg.vlm.openai_vlm import OpenAIVLM, write_data_url

KEY = "sk-very-secret-0815"
PROMPT = {"system": "You caption.", "user": "{num_captions} for: {title}"}
QUERIES = [Query(f"a{i}", f"Headline {i}") for i in range(400)]
ANSWERS = ("1", "2", "3", "4", "5")
QUESTIONS = [f"How good is it, seen in way {i}?" for i in range(20)]


def server_settings(url, **changes):
    settings = {"base_url": url, "key_variable": "OPENAI_API_KEY", "concurrency": 16}
    return settings | {"timeout": 2, "retries": 4, "backoff": 0.01} | changes


def make_llm(url, model="tiny", answers_as=None, extra_body=None, max_new_tokens=50, **server):
    return OpenAILLM(
        server=server_settings(url, **server),
        model=model,
        answers_as=answers_as,
        revision=None,
        max_new_tokens=max_new_tokens,
        temperature=0.7,
        top_p=0.9,
        extra_body=extra_body or {},
    )


def make_vlm(url, server=None, **changes):
    settings = {"answers_as": None, "revision": None, "max_side": 64, "jpeg_quality": 90}
    settings |= {"top_logprobs": 20, "max_new_tokens": 8, "extra_body": {}, "model": "tiny"}
    return OpenAIVLM(server=server_settings(url, **server or {}), **settings | changes)


def caption(llm, path, queries=QUERIES):
    captioner = Captioner(
        llm=llm, prompt=PROMPT, num_captions=5, seed=None, captions_path=str(path)
    )
    return captioner.caption(queries)


def assert_right(records):
    assert [record["article_id"] for record in records] == [q.query_id for q in QUERIES]
    for record, query in zip(records, QUERIES, strict=True):
        assert record["captions"] == caption_of(query.title).split("; ")


def mishap(text, n_before):
    """Let half of the questions fail in one of six ways, some of them twice."""
    chance = random.Random(text)
    faults = chance.choices(FAULTS, weights=[20, 20, 20, 20, 20, 2], k=chance.choice((0, 0, 1, 2)))
    return faults[n_before] if n_before < len(faults) else "none"


def test_several_pictures_are_sent_in_the_order_of_the_question_and_scaled(tmp_path):
    grey = [Image(str(i), tmp_path / f"{i}.png") for i in range(4)]
    for image, brightness in zip(grey, (90, 200, 30, 250), strict=True):
        PILImage.new("L", (100, 50), brightness).save(image.path)
    lists = [grey[:3], [grey[3], grey[0]], [grey[2], grey[1]]]
    questions = ["A [1] \ufffc [2] \ufffc [3] \ufffc", "B \ufffc\n\ufffc end", "\ufffc\ufffcC"]
    kept = {}
    with serve(fault=mishap) as server:
        found = make_vlm(server.url).compare(lists, questions, 32, 40, kept.__setitem__)
        assert found == ["[2] > [1] > [3]", "[1] > [2]", "[2] > [1]"]
        assert kept == dict(enumerate(found))
        assert set(server.answered) == {"A [1] | [2] | [3] ", "B |\n| end", "C"}
        body = next(one for one, _ in server.bodies if len(one["messages"][0]["content"]) == 6)
        assert (body["max_tokens"], body["temperature"]) == (40, 0.0)
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"][1::2]]
        assert urls == [write_data_url(image, 32, 90) for image in grey[:3]]


def test_numbers_of_pictures_have_probabilities_after_the_beginning_of_the_answer(tmp_path):
    grey = [Image(str(i), tmp_path / f"{i}.png") for i in range(3)]
    for image, brightness in zip(grey, (90, 200, 30), strict=True):
        PILImage.new("L", (100, 50), brightness).save(image.path)
    lists, numbers = [grey, [grey[2], grey[0]]], ("1", "2", "3")
    questions = ["A \ufffc \ufffc \ufffc", "B \ufffc \ufffc"]
    kept = {}
    with serve(fault=mishap) as server:
        vlm = make_vlm(server.url)
        found = vlm.choose(lists, questions, numbers, 32, "Number [", kept.__setitem__)
        expected = [[90 / 640, 200 / 640, 30 / 640], [30 / 240, 90 / 240, 0]]
        np.testing.assert_allclose(found, expected, atol=0.005)
        np.testing.assert_array_equal([kept[0], kept[1]], found)
        body = server.bodies[0][0]
        assert body["messages"][1:] == [{"role": "assistant", "content": "Number ["}]
        assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (1, 1.0, 20)
        vlm.choose(lists[:1], questions[:1], numbers, 32, "")
        assert len(server.bodies[-1][0]["messages"]) == 1


def test_400_headlines_survive_every_fault_and_a_server_that_dies(tmp_path, caplog):
    path = tmp_path / "captions.jsonl"
    with serve() as server:
        server.fault = lambda text, n_before: (
            "500" if server.answered.total() >= 150 else mishap(text, n_before)
        )
        port = server.server_address[1]
        with pytest.raises(ServerError, match="500 Internal Server Error: refused"):
            caption(make_llm(server.url), path)
        first = server.answered
    # Whatever was answered in full is on disk, also what was under way when the first one failed.
    assert 150 <= first.total() < 200
    assert len(read_records(path)) == first.total()
    with serve(port=port, fault=mishap) as server:
        assert_right(caption(make_llm(server.url), path))
        assert not first.keys() & server.asked.keys()
        assert (first + server.answered).total() == 400
        assert set((first + server.answered).values()) == {1}
    assert_right(caption(make_llm("http://127.0.0.1:9/v1"), path))  # no server is needed any more
    for fault in ("429", "500", "no answer within 2 s", "no chat completion", "ReadError"):
        assert fault in caplog.text


def test_scores_of_pictures_survive_every_fault_and_a_server_that_dies(tmp_path, pictures):
    asked = [QUESTIONS] * len(pictures)
    with serve() as server:
        server.fault = lambda text, n_before: (
            "reset" if server.answered.total() >= 90 else mishap(text, n_before)
        )
        with pytest.raises(ServerError, match=r"ReadError|RemoteProtocolError|WriteError"):
            CachedVLM(make_vlm(server.url), OutputCache(tmp_path)).ask(pictures, asked, ANSWERS)
        first = server.answered
    assert first.total() >= 90
    with serve(fault=mishap) as server:
        cache = OutputCache(tmp_path)
        found = CachedVLM(make_vlm(server.url), cache).ask(pictures, asked, ANSWERS)
        assert not first.keys() & server.asked.keys()
        assert set((first + server.answered).values()) == {1}
        assert cache.counts["cache/scores_computed"] == 200 - first.total()
    expected = [[ratings_of(grey, text) for text in QUESTIONS] for grey in GREYS]
    expected = np.array(expected)
    expected[:, :, 4] += 0.01  # the server also has a token "5" without a space
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    files = list((tmp_path / "scores").rglob("*.parquet"))
    assert len(files) < 70  # answers are written one by one, but do not stay in a file each


def test_ctrl_c_stops_at_once_and_keeps_what_was_answered(tmp_path):
    path = tmp_path / "captions.jsonl"
    with serve() as server:
        server.on_answer = lambda n: os.kill(os.getpid(), signal.SIGINT) if n == 100 else None
        with pytest.raises(KeyboardInterrupt):
            caption(make_llm(server.url), path)
        kept = len(read_records(path))
        # Answers that were on their way may be lost: one for each request at a time.
        assert server.answered.total() - 16 <= kept < 130
        server.on_answer = lambda n: None
        assert_right(caption(make_llm(server.url), path))
        assert server.answered.total() <= 400 + 16


def test_the_model_that_answers_must_be_the_one_asked_for(tmp_path, pictures):
    with serve(fault=lambda text, n_before: "other_model") as server:
        message = r"asked for 'tiny', but 'small-cheap-model' answered; .* set llm.answers_as"
        with pytest.raises(ServerError, match=message):
            caption(make_llm(server.url, concurrency=1), tmp_path / "c.jsonl", QUERIES[:5])
        assert server.asked.total() == 1  # asked once, as it would not be another one next time
        vlm = make_vlm(server.url, answers_as="small-cheap-model")
        assert len(vlm.write(pictures[:1], [QUESTIONS[:1]])) == 1
    assert not (tmp_path / "c.jsonl").exists()


@pytest.mark.parametrize("status", ["400", "401", "404", "422"])
def test_what_the_server_refuses_is_not_asked_again(status, tmp_path):
    with serve(fault=lambda text, n_before: status) as server:
        with pytest.raises(ServerError, match=f"/v1/chat/completions: {status} "):
            caption(make_llm(server.url, concurrency=1), tmp_path / "c.jsonl", QUERIES[:5])
        assert server.asked.total() == 1


def test_a_body_shorter_than_promised_is_asked_for_again(tmp_path):
    with serve(fault=lambda text, n_before: "none" if n_before else "short") as server:
        records = caption(make_llm(server.url), tmp_path / "c.jsonl", QUERIES[:3])
        assert [record["captions"][0] for record in records] == [
            f"a photograph of {query.title}" for query in QUERIES[:3]
        ]
        assert set(server.asked.values()) == {2}


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ServerError, match=r"http://127.0.0.1:9/v1/chat/completions: ConnectError"):
        caption(make_llm("http://127.0.0.1:9/v1", retries=1), tmp_path / "c.jsonl", QUERIES[:2])


def test_retry_after_is_seconds_or_a_date():
    assert read_retry_after("7") == 7
    assert read_retry_after(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=3)
    assert read_retry_after(formatdate(time.time() - 60, usegmt=True)) == 0
    assert read_retry_after("soon") is None
    assert read_retry_after(None) is None


def test_pictures_are_sent_as_jpegs_scaled_down_but_never_up(tmp_path):
    for name, size in (("wide", (300, 100)), ("small", (20, 10))):
        PILImage.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    import base64
    import io

    sizes = {}
    for name in ("wide", "small"):
        url = write_data_url(Image(name, tmp_path / f"{name}.png"), 120, 90)
        content = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
        with PILImage.open(io.BytesIO(content)) as picture:
            sizes[name] = (picture.format, picture.size)
    assert sizes == {"wide": ("JPEG", (120, 40)), "small": ("JPEG", (20, 10))}


def test_written_answers_are_the_servers_texts(pictures):
    with serve() as server:
        found = make_vlm(server.url).write(pictures[:2], [QUESTIONS] * 2)
    for texts, grey in zip(found, GREYS, strict=False):
        best = [int(np.argmax(ratings_of(grey, text))) + 1 for text in QUESTIONS]
        assert texts == [f"Rating: {rating}." for rating in best]


def test_a_server_without_probabilities_is_an_error_that_says_so(pictures):
    with (
        serve(fault=lambda text, n_before: "plain") as server,
        pytest.raises(
            ServerError, match=r"no probabilities of tokens .*; reranker.reading=generate"
        ),
    ):
        make_vlm(server.url).ask(pictures[:1], [QUESTIONS[:1]], ANSWERS)


def with_content(content):
    return lambda answer: replace_choice(answer, {"message": {"content": content}})


def with_logprobs(*logprobs):
    """Let the first tokens be 1, 2, ... of so many log-probabilities, written as JSON is."""
    tokens = [{"token": str(i), "logprob": value} for i, value in enumerate(logprobs, 1)]
    found = {"message": {"content": "1"}, "logprobs": {"content": [{"top_logprobs": tokens}]}}
    return lambda answer: replace_choice(answer, found)


def replace_choice(answer, choice):
    return json.dumps(answer | {"choices": [choice]}).encode()


ODD_TEXTS = {
    "no Unicode text: surrogates not allowed": with_content("a cow \ud800"),
    "no text: list": with_content([{"type": "text", "text": "a cow"}]),
    "no text: dict": with_content({"text": "a cow"}),
    "no text: int": with_content(3),
    "of more than 1048576 bytes": with_content("a cow;" * 200_000),
    r"no chat completion: RecursionError": lambda answer: b"[" * 100_000,
    r"no chat completion: TypeError": lambda answer: json.dumps([answer]).encode(),
    "no chat completion: KeyError": lambda answer: replace_choice(answer, {"message": {}}),
    "no chat completion: UnicodeDecodeError": lambda answer: b'{"choices": "\xff"}',
}
ODD_LOGPROBS = {
    "a logprob that is none: nan of the token '2'": with_logprobs(-1.0, float("nan"), -2.0),
    "a logprob that is none: 5000000000 of the token '1'": with_logprobs(5 * 10**9),
    "a logprob that is none: inf of the token '1'": with_logprobs(float("inf")),
    "a logprob that is none: -0.1 of the token '1'": with_logprobs("-0.1"),
    "a logprob that is none: None of the token '1'": with_logprobs(None),
    "a logprob that is none: True of the token '1'": with_logprobs(True),
    "sum to more than 1: 2.000": with_logprobs(0, 0),
}


@pytest.mark.parametrize("kind", ODD_TEXTS)
def test_a_headline_whose_answers_are_odd_is_named_asked_again_and_counted(kind, tmp_path, caplog):
    path = tmp_path / "c.jsonl"
    with serve(fault=lambda text, n_before: "odd" if text.endswith(" 7") else "none") as server:
        server.distort = ODD_TEXTS[kind]
        records = caption(make_llm(server.url, retries=2, backoff=0), path, QUERIES[:9])
        assert [len(record["captions"]) for record in records] == [2, 2, 2, 2, 2, 2, 2, 0, 2]
        assert records[7]["article_id"] == "a7"
        asked = server.asked.copy()
        assert asked.pop("5 for: Headline 7") == 2 * 3  # by two seeds
        assert set(asked.values()) == {1}
        assert re.search(
            f"model 'tiny', asked about '5 for: Headline 7': an answer .*{kind}", caplog.text
        )
        assert server.url in caplog.text
        assert "1 of 9 answers ('a7') hold no caption again; the next run asks" in caplog.text
        assert len(read_records(path)) == 8
        # As soon as the server answers, the next run has all, and asks only for what it lacks.
        server.fault = lambda text, n_before: "none"
        records = caption(make_llm(server.url), path, QUERIES[:9])
        assert [len(record["captions"]) for record in records] == [2] * 9
        assert server.asked["5 for: Headline 7"] == 7
        assert server.asked.total() == 8 + 7


@pytest.mark.parametrize("kind", ODD_LOGPROBS)
def test_a_question_whose_answers_are_odd_is_named_asked_again_and_not_kept(
    kind, tmp_path, pictures, caplog
):
    odd = QUESTIONS[1]
    ask = [[QUESTIONS[:3], QUESTIONS[:3]], ANSWERS]
    with serve(fault=lambda text, n_before: "odd" if text == odd else "none") as server:
        server.distort = ODD_LOGPROBS[kind]
        vlm = make_vlm(server.url, {"retries": 1, "backoff": 0})
        first = CachedVLM(vlm, OutputCache(tmp_path)).ask(pictures[:2], *ask)
        assert [(row > 0).all() for row in np.concatenate(first)] == [True, False, True] * 2
        assert not first[0][1].any()
        assert re.search(
            f"'tiny', asked about the picture .*/(5|30).png: 'How .* way 1.*an answer .*{kind}",
            caplog.text,
        )
        assert "answers that cannot be read, though asked for 2 times: 2" in caplog.text
        assert server.asked.total() == 4 + 2 * 2
        server.fault = lambda text, n_before: "none"
        again = CachedVLM(vlm, OutputCache(tmp_path)).ask(pictures[:2], *ask)
        assert server.asked.total() == 8 + 2
        assert server.answered.total() == 6
    expected = np.array([[ratings_of(grey, text) for text in QUESTIONS[:3]] for grey in GREYS[:2]])
    expected[:, :, 4] += 0.01
    np.testing.assert_allclose(again, expected, rtol=1e-5)


def test_a_server_of_which_nothing_can_be_read_ends_the_run_soon(tmp_path):
    with serve(fault=lambda text, n_before: "odd") as server:
        server.distort = with_content(["no text"])
        message = f"asked for 2 times: 50, the first: {server.url}.*content is no text: list"
        with pytest.raises(ServerError, match=message):
            caption(make_llm(server.url, retries=1, backoff=0, concurrency=1), tmp_path / "c.jsonl")
        assert server.asked.total() == 50 * 2
    assert not (tmp_path / "c.jsonl").exists()


def test_answers_without_a_rating_are_asked_for_again_by_the_next_run(tmp_path, pictures):
    judge = {"criteria": {"c": {"question": "Good?", "weight": 1}}, "reading": "expected"}
    rows = np.arange(4).reshape(2, 2)
    flat = np.ones((2, 2), np.float32)
    candidates = Candidates(pictures, rows, flat)
    queries = [Query("a", "A"), Query("b", "B")]
    with serve(fault=lambda text, n_before: "odd") as server:
        no_digits = [{"token": "The", "logprob": -0.1}]
        found = {
            "message": {"content": "The"},
            "logprobs": {"content": [{"top_logprobs": no_digits}]},
        }
        server.distort = lambda answer: replace_choice(answer, found)

        def score():
            vlm = CachedVLM(make_vlm(server.url), OutputCache(tmp_path))
            return VLMJudgeReranker(vlm=vlm, **judge).score(queries, candidates).values

        with pytest.raises(ValueError, match=r"holds a rating .*; the next run asks again"):
            score()
        assert server.asked.total() == 4  # what can be read is not asked for again in one run
        server.fault = lambda text, n_before: "none"
        scores = score()
        assert server.asked.total() == 8
        score()
        assert server.asked.total() == 8
    shares = np.array([ratings_of(grey, "Good?") for grey in GREYS[:4]])
    shares[:, 4] += 0.01
    expected = shares @ np.arange(1, 6) / shares.sum(axis=1)
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-5)


def test_answers_of_no_use_that_were_kept_before_are_asked_for_again(tmp_path, pictures):
    useless = np.array([[np.nan] * 5, [0] * 5, [1, 1, 0, 0, 0], [0, 0.5, 0, 0.5, 0]], np.float32)
    digest = hashlib.sha256(pictures[0].path.read_bytes()).hexdigest()
    names = [json.dumps(["expected", digest, text, list(ANSWERS)]) for text in QUESTIONS[:4]]
    with serve() as server:
        vlm = make_vlm(server.url)
        OutputCache(tmp_path).get_or_compute(
            "scores", vlm.fingerprint, names, lambda batch: useless[batch], ""
        )
        (rows,) = CachedVLM(vlm, OutputCache(tmp_path)).ask(pictures[:1], [QUESTIONS[:4]], ANSWERS)
        assert {key.partition(" ")[2] for key in server.asked} == set(QUESTIONS[:3])
    np.testing.assert_array_equal(rows[3], useless[3])
    assert (rows[:3] > 0).all()


def test_what_is_sent_is_what_the_settings_say(pictures):
    with serve() as server:
        llm = make_llm(server.url, extra_body={"chat_template_kwargs": {"thinking": False}})
        chat = [{"role": "user", "content": "for: x"}]
        llm.generate([chat], None)
        llm.generate([chat], 5)
        make_vlm(server.url).ask(pictures[:1], [QUESTIONS[:1]], ANSWERS)
        greedy, drawn, looked = (body for body, _ in server.bodies)
    always = {"model": "tiny", "messages": chat, "max_tokens": 50}
    always |= {"chat_template_kwargs": {"thinking": False}}
    assert greedy == always | {"temperature": 0.0}
    assert drawn == always | {"temperature": 0.7, "top_p": 0.9, "seed": 5}
    assert [part["type"] for part in looked.pop("messages")[0]["content"]] == ["image_url", "text"]
    assert looked == {"model": "tiny", "max_tokens": 1, "temperature": 1.0, "top_p": 1.0} | {
        "logprobs": True,
        "top_logprobs": 20,
    }


def test_the_fingerprint_is_of_model_and_settings_and_not_of_the_place():
    one, other = make_llm("http://a:1/v1"), make_llm("http://b:2/v1", concurrency=3, retries=0)
    assert one.fingerprint == other.fingerprint
    for changes in ({"max_side": 65}, {"jpeg_quality": 80}, {"revision": "awq"}, {"model": "m"}):
        assert (
            make_vlm("http://a:1/v1", **changes).fingerprint
            != make_vlm("http://a:1/v1").fingerprint
        )
    assert json.loads(one.fingerprint)["model"] == "tiny"
    assert json.loads(make_vlm("http://a:1/v1").fingerprint)["decoding"] == DECODING


def test_settings_out_of_range_are_refused_by_name():
    for changes, message in (
        ({"base_url": "localhost:8000"}, "llm.server.base_url must be an http"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url must hold no user, password"),
        ({"base_url": "http://host/v1?key=secret"}, "base_url must hold no user, password"),
        ({"key_variable": KEY}, "llm.server.key_variable must name an environment variable"),
        ({"concurrency": 0}, "llm.server.concurrency must be at least 1, got 0"),
        ({"timeout": 0}, "llm.server.timeout must be above 0, got 0"),
        ({"retries": -1}, "llm.server.retries must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            check_server("llm.server", server_settings("http://a:1/v1") | changes)
        assert "secret" not in str(error.value)
    with pytest.raises(ValueError, match=r"llm.server must have base_url, .*, got base_url"):
        check_server("llm.server", {"base_url": "http://a:1/v1"})
    with pytest.raises(ValueError, match=r"vlm.model must be what the server calls the model"):
        make_vlm("http://a:1/v1", model=None)


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    return KEY


def test_the_key_is_sent_and_is_nowhere_else(key, tmp_path, newsimg_here, tiny_options):
    options = [option for option in tiny_options if not option.startswith("reranker=")]
    options += ["reranker=llm_rewriting", "llm=openai", "llm.model=tiny", "llm.server.retries=0"]
    with serve(fault=lambda text, n_before: "none" if n_before else "401") as server:
        options.append(f"llm.server.base_url={server.url}")
        refused = newsimg_here(*options)
        assert refused.code == 2
        assert "401 Unauthorized: refused, Bearer *** was sent" in refused.output
        server.fault = lambda text, n_before: "none"
        done = newsimg_here(*options)
        assert done.code == 0, done.output
        assert {headers["Authorization"] for _, headers in server.bodies} == {f"Bearer {key}"}
        assert server.answered.total() == 60
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "config.yaml"} <= {path.name for path in written}
    assert any(b"llm.server.base_url" in path.read_bytes() for path in written)
    for path in written:
        assert key.encode() not in path.read_bytes(), path
    assert key not in refused.output + done.output


def test_a_key_that_no_header_can_hold_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nsecond line")
    with (
        serve() as server,
        pytest.raises(ServerError, match="the key in OPENAI_API_KEY must be") as error,
    ):
        make_llm(server.url).generate([[{"role": "user", "content": "x"}]], None)
    assert "secret" not in str(error.value)


GREYS = list(range(5, 255, 25))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten pictures of one grey each, which JPEG and scaling leave as it is."""
    folder = tmp_path_factory.mktemp("greys")
    for grey in GREYS:
        PILImage.new("L", (130, 90), grey).save(folder / f"{grey}.png")
    return [Image(str(grey), folder / f"{grey}.png") for grey in GREYS]


# A job in a process of its own: asks about pictures, and tells how many answers it computed.
JOB = """
import sys
from test_served import ANSWERS, QUESTIONS, make_vlm
from newsimg.datatypes import Image
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from pathlib import Path

url, folder, first, last, *paths = sys.argv[1:]
cache = OutputCache(Path(folder))
pictures = [Image(path, Path(path)) for path in paths]
asked = [QUESTIONS[int(first) : int(last)]] * len(pictures)
vlm = CachedVLM(make_vlm(url, {"timeout": 60}), cache)
found = vlm.ask(pictures, asked, ANSWERS)
print(int(cache.counts["cache/scores_computed"]), round(float(sum(map(sum, map(sum, found)))), 3))
"""


def start_job(server, folder, first, last, pictures):
    places = [str(picture.path) for picture in pictures]
    command = [sys.executable, "-c", JOB, server.url, str(folder), str(first), str(last), *places]
    here = Path(__file__).parent
    search = os.pathsep.join(map(str, (here, here.parent / "support")))
    environment = os.environ | {"PYTHONPATH": search}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_of_processes_that_ask_the_same_at_the_same_time_one_asks_and_the_others_wait(
    tmp_path, pictures
):
    with serve(fault=lambda text, n_before: time.sleep(0.3) or "none") as server:
        # What each of them needs is partly what another one does, too.
        jobs = [start_job(server, tmp_path, *part, pictures) for part in ((0, 8), (4, 12), (0, 12))]
        printed = [job.communicate(timeout=300)[0].split() for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0, 0]
        assert set(server.asked.values()) == {1}
        assert server.asked.total() == sum(int(n) for n, _ in printed) == 12 * len(pictures)
    sums = np.array([[ratings_of(grey, text) for text in QUESTIONS] for grey in GREYS])
    for (_, found), part in zip(printed, (slice(8), slice(4, 12), slice(12)), strict=True):
        expected = sums[:, part].sum() + 0.01 * sums[:, part, 0].size
        assert float(found) == pytest.approx(expected, abs=1e-2)


def test_what_a_killed_process_was_asking_is_asked_by_the_one_that_waits_for_it(
    tmp_path, pictures, caplog, monkeypatch
):
    monkeypatch.setattr("newsimg.storage.claims.WARN_AFTER", 0.2)
    killed = threading.Event()
    n_done = 0

    def kill():
        nonlocal n_done
        n_done = server.asked.total()
        first.kill()
        first.wait()
        killed.set()

    with serve() as server:
        server.fault = lambda text, n_before: (
            "none" if server.answered.total() < 50 or killed.wait(60) else "500"
        )
        first = start_job(server, tmp_path, 0, 10, pictures)
        while server.asked.total() < 50 + 16:  # what is not answered is waited for
            time.sleep(0.01)
            assert first.poll() is None
        threading.Timer(1, kill).start()
        cache = OutputCache(tmp_path)
        vlm = CachedVLM(make_vlm(server.url), cache)
        found = vlm.ask(pictures, [QUESTIONS[:10]] * len(pictures), ANSWERS)
        assert n_done == 50 + 16  # nothing was asked by the one that waited
        assert set(server.asked.values()) == {1, 2}
        assert server.asked.total() == 100 + 16
    assert re.search(rf"waiting for \d+ results of process {first.pid} on ", caplog.text)
    assert np.shape(found) == (len(pictures), 10, len(ANSWERS))
    assert not list(tmp_path.rglob("*.claim"))
