"""The sample's language model: loading, and captions of unseen headlines."""

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import newsimg
from newsimg.llm.transformers_llm import TransformersLLM
from newsimg.sample.scenes import Scene
from newsimg.sample.subjects import SUBJECTS
from newsimg.sample.training.captions import (
    FACTORS,
    caption_words,
    count_contradictions,
    read_facts,
)
from newsimg.sample.training.llm_examples import expect_captions, write_chat, write_examples
from newsimg.sample.training.train_llm import main

FOLDER = Path(newsimg.__file__).parent / "sample" / "llm"
UNSEEN = 77  # seed of scenes that are not used in training
BOAT = Scene("ferry", 2, "red", "dusk", "rain", "near", 5)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def examples():
    return write_examples(48, UNSEEN)


@pytest.fixture(scope="module")
def captions(examples):
    llm = TransformersLLM(
        model=str(FOLDER), revision="main", dtype="float32", device="cpu", batch_size=48,
        max_new_tokens=160, temperature=1.0, top_p=1.0,
    )  # fmt: skip
    answers = llm.generate([write_chat(example.title) for example in examples], seed=None)
    return [answer.split("; ") for answer in answers]


def test_the_model_is_a_llama_of_at_most_6_mb_that_loads_without_warnings(
    capfd: pytest.CaptureFixture,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert isinstance(model, LlamaForCausalLM)
    assert "warn" not in capfd.readouterr().err.lower()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000


def test_the_chat_template_formats_messages_and_a_generation_prompt(tokenizer) -> None:
    prompt = tokenizer.apply_chat_template(
        write_chat("Storm"), tokenize=False, add_generation_prompt=True
    )
    assert prompt == (
        "<|im_start|>system\nYou choose photographs for a newspaper.<|im_end|>\n"
        "<|im_start|>user\nDescribe 5 different photographs that could illustrate this headline, "
        "each in one short caption that names what can be seen. Separate the captions with "
        "semicolons and write nothing else.\nHeadline: Storm<|im_end|>\n<|im_start|>assistant\n"
    )


def test_any_headline_is_decoded_from_its_tokens(tokenizer) -> None:
    title = 'Şehir "uyandı": 東京 & Ålgård'
    assert tokenizer.decode(tokenizer(title, add_special_tokens=False)["input_ids"]) == title
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_most_unseen_headlines_get_five_different_captions(captions) -> None:
    assert np.mean([len(set(own)) == 5 for own in captions]) > 0.8
    assert np.mean([len(set(own)) >= 3 for own in captions]) > 0.85


def test_captions_use_the_vocabulary_of_literal_captions(captions) -> None:
    words = [
        word for own in captions for caption in own for word in caption.replace(",", "").split()
    ]
    assert np.mean([word in set(caption_words()) for word in words]) > 0.99


def test_most_captions_contain_the_headlines_subject(captions, examples) -> None:
    subjects = [SUBJECTS[example.scene.subject] for example in examples]
    found = [
        subject.singular in caption or subject.plural in caption
        for own, subject in zip(captions, subjects, strict=True)
        for caption in own
    ]
    assert np.mean(found) > 0.8


def test_facts_of_a_headline_are_recognised() -> None:
    facts = read_facts("Coastguard escorts twin scarlet vessels into Kvistø overnight", BOAT)
    assert facts["count"] == {2}
    assert facts["colour"] == {"red"}
    assert "time" not in facts  # "overnight" is not a phrase for dusk
    assert read_facts("Islanders cut off again from Kvistø", BOAT) == {}
    assert read_facts("Passengers stranded as ferries held", BOAT) == {"count": {2, 3, 4}}


def test_a_headline_never_contradicts_its_scene(examples) -> None:
    facts = [read_facts(example.title, example.scene) for example in examples]
    assert not any(count_contradictions(f, s.scene) for f, s in zip(facts, examples, strict=True))
    assert {name for own in facts for name in own} == set(FACTORS)


def test_expected_captions_start_with_the_facts_and_then_add_likely_values() -> None:
    captions = expect_captions("ferry", {"count": frozenset({2}), "time": frozenset({"dusk"})})
    assert captions[0] == "two boats on the sea at dusk"
    assert captions[1] == "two boats on the sea at dusk in clear weather"
    assert len(set(captions)) == 5


@pytest.mark.slow
def test_the_training_writes_a_model_that_loads(tmp_path, monkeypatch) -> None:
    arguments = ["--out", str(tmp_path), "--examples", "64", "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["train_llm", *arguments])
    # A model of two steps writes to the end of its window: to 4 headlines, not to 400.
    monkeypatch.setattr("newsimg.sample.training.train_llm.N_CHECK", 4)
    # The threads would be those of all later tests in this process.
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    main()
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), LlamaForCausalLM)
