import inspect
import json

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import draw_pictures, make_idefics, make_qwen2_vl, make_qwen3_5
from transformers import AutoTokenizer
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionAndFullAttentionLayer

from newsimg.datatypes import Candidates, Image, Query
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.vlm_judge import VLMJudgeReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from newsimg.storage.pictures.images import DECODING, open_image
from newsimg.vlm.prefix_cache import can_be_repeated, group_by_beginning, name_cache, read_cache
from newsimg.vlm.prompts import find_answer
from newsimg.vlm.qwen2_vl import Qwen2VLM
from newsimg.vlm.smolvlm import SmolVLM
from newsimg.vlm.transformers_vlm import TransformersVLM

ANSWERS = ("1", "2", "3", "4", "5")
SETTINGS = {
    "revision": "main",
    "dtype": "float32",
    "device": "cpu",
    "answer_prefix": "",
    "max_new_tokens": 4,
}
FIT = "Rate how well this picture fits the news headline. Answer from 1 to 5.\nHeadline: "
QUESTIONS = [
    "Rate the technical quality of this picture.",
    "Is it an unaltered photograph? 1 means no, 5 means yes.",
    *[FIT + title for title in ("Storm hits the harbour", "Cow", "Storm hits harbour towns again")],
]
SIZES = [(120, 60), (60, 150), (90, 90)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), SIZES)
    return tuple(Image(str(i), path) for i, path in enumerate(paths))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "qwen2_vl": (Qwen2VLM, make_qwen2_vl(folder / "qwen")),
        "smolvlm": (SmolVLM, make_idefics(folder / "smolvlm", "smolvlm")),
        "idefics3": (SmolVLM, make_idefics(folder / "idefics3", "idefics3")),
        "processor": (TransformersVLM, str(folder / "idefics3")),
    }


@pytest.fixture(params=["qwen2_vl", "smolvlm", "idefics3", "processor"])
def make(request, folders):
    vlm_class, model = folders[request.param]
    return lambda **changes: vlm_class(
        **{**SETTINGS, "model": model, "share_prefix": True, "batch_size": 8, **changes}
    )


@pytest.fixture
def qwen(folders):
    vlm_class, model = folders["qwen2_vl"]
    return vlm_class(model=model, share_prefix=True, batch_size=8, **SETTINGS)


def expect(probabilities):
    return probabilities @ np.arange(1, 6) / probabilities.sum(axis=1)


def test_shared_prefixes_score_as_a_plain_forward_of_every_single_prompt(make, images):
    asked = [QUESTIONS] * 3
    plain = make(share_prefix=False, batch_size=1).answer_probabilities(images, asked, ANSWERS)
    shared = make().answer_probabilities(images, asked, ANSWERS)
    for one, other in zip(shared, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_allclose(expect(one), expect(other), atol=1e-3)
    ratings = np.array([expect(one) for one in shared])
    # The comparison says something only if pictures and questions matter.
    assert np.ptp(ratings, axis=0).max() > 0.02
    assert np.ptp(ratings, axis=1).max() > 0.02


@pytest.mark.parametrize("share_prefix", [True, False])
def test_scores_do_not_depend_on_the_batch_size(make, images, share_prefix):
    one, many = (
        make(share_prefix=share_prefix, batch_size=n).answer_probabilities(
            images, [QUESTIONS] * 3, ANSWERS
        )
        for n in (1, 16)
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_smolvlm_lays_its_tiles_out_as_the_processor_of_the_family_does(folders, images):
    own, processed = (
        folders[name][0](model=folders[name][1], share_prefix=False, batch_size=8, **SETTINGS)
        for name in ("idefics3", "processor")
    )
    for image in images:
        tokens, inputs = own.encode(open_image(image))
        expected_tokens, expected = processed.encode(open_image(image))
        assert tokens == expected_tokens
        assert set(inputs) == set(expected)
        for name in inputs:
            torch.testing.assert_close(inputs[name], expected[name])


def test_the_plain_forward_equals_transformers_called_by_hand(qwen, images):
    """Positions, placeholders and template, written out once without any of our helpers."""
    tokenizer = AutoTokenizer.from_pretrained(qwen.checkpoint.model)
    pixels = qwen.image_processor(
        images=[PILImage.open(images[0].path).convert("RGB")], return_tensors="pt"
    )
    n_tokens = int(pixels["image_grid_thw"].prod()) // 4
    prompt = (
        f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * n_tokens}<|vision_end|>"
        f"{QUESTIONS[2]}<|im_end|>\n<|im_start|>assistant\n"
    )
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = qwen.model(
            input_ids=tokens,
            mm_token_type_ids=(tokens == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
            **pixels,
        ).logits[0, -1]
    expected = logits.softmax(-1)[tokenizer.convert_tokens_to_ids(list(ANSWERS))]
    got = qwen.answer_probabilities(images[:1], [QUESTIONS], ANSWERS)[0][2]
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-7)


def test_a_model_with_recurrent_layers_runs_whole_prompts_and_says_so_once(
    tmp_path, images, caplog
):
    folder = make_qwen3_5(tmp_path / "qwen3_5")
    settings = SETTINGS | {"model": folder}
    shared = Qwen2VLM(share_prefix=True, batch_size=8, **settings)
    plain = Qwen2VLM(share_prefix=False, batch_size=1, **settings)
    asked = [QUESTIONS] * 3
    found, expected = (vlm.answer_probabilities(images, asked, ANSWERS) for vlm in (shared, plain))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.ptp([expect(one) for one in found], axis=0).max() > 0.01
    assert caplog.text.count("has recurrent layers, whose state cannot be shared") == 1


def test_layers_that_keep_keys_and_a_recurrent_state_are_not_taken_for_those_that_can_be_repeated():
    assert can_be_repeated(Cache(layers=[DynamicLayer()]))
    both = LinearAttentionAndFullAttentionLayer()
    assert hasattr(both, "batch_repeat_interleave")  # of the keys alone
    assert not can_be_repeated(Cache(layers=[DynamicLayer(), both]))


def test_a_cache_goes_by_the_name_that_the_model_has_for_it(qwen):
    class Renamed:
        def forward(self, input_ids, cache=None):
            raise NotImplementedError

    assert name_cache(Renamed()) == "cache"
    assert name_cache(qwen.model) in inspect.signature(qwen.model.forward).parameters
    for name in ("cache", "past_key_values"):
        assert read_cache({name: 1, "logits": 2}) == 1


def test_an_answer_of_several_tokens_is_refused_with_tokenizer_and_answer(qwen, images):
    with pytest.raises(ValueError, match=r"tokenizer of .*qwen must write the answer '10' after"):
        qwen.answer_probabilities(images[:1], [QUESTIONS[:1]], ("1", "10"))


def test_a_written_answer_is_the_first_number_if_that_is_on_the_scale():
    read = {text: find_answer(text, ANSWERS) for text in ("4", "4/5", "Rating: 3.", "good, 2 or 3")}
    assert read == {"4": "4", "4/5": "4", "Rating: 3.": "3", "good, 2 or 3": "2"}
    assert [find_answer(text, ANSWERS) for text in ("", "four", "10", "0", "2.5", "45")] == [
        None
    ] * 6


def test_written_answers_do_not_depend_on_the_batch_size(make, images):
    one, many = make(batch_size=1, max_new_tokens=6), make(batch_size=8, max_new_tokens=6)
    for image in images:
        assert one._write(image, QUESTIONS) == many._write(image, QUESTIONS)


def test_rows_that_share_half_of_the_shorter_are_grouped_and_keep_a_token_each():
    rows = [[1, 2, 3, 4, 5], [9, 9, 9], [1, 2, 3, 4, 6, 7], [1, 2, 3, 4], [9, 1, 1]]
    groups = {tuple(sorted(group)): n_shared for group, n_shared in group_by_beginning(rows)}
    assert groups == {(0, 2, 3): 3, (1, 4): 0}
    assert group_by_beginning([[1, 2]]) == [([0], 0)]
    assert group_by_beginning([[1, 2], [1, 2]]) == [([0, 1], 1)]


class TableVLM(VisionLanguageModel):
    """Answers from a table of probabilities, and remembers what it was asked."""

    fingerprint = "table"

    def __init__(self, table):
        self.table = table
        self.asked = []

    def answer_probabilities(self, images, questions, answers, keep=None):
        assert tuple(answers) == ANSWERS
        pairs = [
            (i.image_id, text) for i, own in zip(images, questions, strict=True) for text in own
        ]
        self.asked += pairs
        found = [
            np.array([self.table[i.image_id, text] for text in own], dtype=np.float32)
            for i, own in zip(images, questions, strict=True)
        ]
        for picture, rows in enumerate(found if keep else []):
            keep(picture, dict(enumerate(rows)))
        return found

    choose_answers = answer_probabilities


QUERIES = (Query("a", "Storm"), Query("b", "Calm"))
CRITERIA = {
    "quality": {"question": "Q?", "weight": 1.0},
    "fit": {"question": "F? {title}", "weight": 3.0},
}


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    texts = ("Q?", "F? Storm", "F? Calm")
    return {(str(i), text): 0.2 * rng.random(5) for i in range(3) for text in texts}


@pytest.fixture
def candidates(images):
    rows = np.array([[0, 1], [2, 1]])
    return Candidates(images, rows, np.ones((2, 2), np.float32), {"retrieval": np.ones((2, 2))})


def judge(vlm, criteria=CRITERIA, reading="expected"):
    return VLMJudgeReranker(vlm=vlm, criteria=criteria, reading=reading)


def rate(probabilities):
    return probabilities @ np.arange(1, 6) / probabilities.sum()


def test_the_score_is_the_weighted_mean_of_the_expected_ratings(table, candidates):
    reranker = judge(TableVLM(table))
    expected = [
        [
            0.25 * rate(table[str(row), "Q?"]) + 0.75 * rate(table[str(row), f"F? {query.title}"])
            for row in rows
        ]
        for query, rows in zip(QUERIES, candidates.rows, strict=True)
    ]
    got = reranker.score(QUERIES, candidates)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    masses = [table[str(i), "Q?"].sum() for i in range(3)]
    assert reranker.metrics["quality/mass"] == pytest.approx(np.mean(masses))
    assert reranker.metrics["unread"] == 0
    rated = [[rate(table[str(row), "Q?"]) for row in rows] for rows in candidates.rows]
    np.testing.assert_allclose(reranker.parts["quality"], rated, atol=1e-5)
    quality, other = reranker.parts.values()
    np.testing.assert_allclose(0.25 * quality + 0.75 * other, got, atol=1e-5)


def test_a_question_without_the_headline_is_asked_once_per_picture(table, candidates):
    vlm = TableVLM(table)
    judge(vlm).score(QUERIES, candidates)
    assert sorted(vlm.asked) == [
        ("0", "F? Storm"),
        ("0", "Q?"),
        ("1", "F? Calm"),
        ("1", "F? Storm"),
        ("1", "Q?"),
        ("2", "F? Calm"),
        ("2", "Q?"),
    ]


def test_other_weights_of_the_criteria_ask_nothing_again(table, candidates, tmp_path):
    vlm = TableVLM(table)
    first = judge(CachedVLM(vlm, OutputCache(tmp_path))).score(QUERIES, candidates)
    n_asked = len(vlm.asked)
    again = judge(CachedVLM(vlm, OutputCache(tmp_path))).score(QUERIES, candidates)
    np.testing.assert_array_equal(first, again)
    changed = {**CRITERIA, "fit": {**CRITERIA["fit"], "weight": 0.5}}
    assert not np.allclose(
        first, judge(CachedVLM(vlm, OutputCache(tmp_path)), changed).score(QUERIES, candidates)
    )
    assert len(vlm.asked) == n_asked == 7


def test_the_cache_keeps_readings_pictures_and_questions_apart(table, candidates, tmp_path, images):
    vlm = TableVLM(table)
    stored = CachedVLM(vlm, OutputCache(tmp_path))
    direct = vlm.answer_probabilities(images[:2], [["Q?", "F? Calm"], ["Q?"]], ANSWERS)
    kept = stored.answer_probabilities(images[:2], [["Q?", "F? Calm"], ["Q?"]], ANSWERS)
    for one, other in zip(kept, direct, strict=True):
        np.testing.assert_array_equal(one, other)
    n_asked = len(vlm.asked)
    stored.choose_answers(images[:1], [["Q?"]], ANSWERS)
    assert len(vlm.asked) == n_asked + 1


def test_an_answer_that_names_no_rating_counts_as_the_criterions_mean_and_is_counted(
    table, candidates, caplog
):
    one_hot = {key: np.eye(5)[i % 5] for i, key in enumerate(table)}
    one_hot["1", "Q?"] = np.zeros(5)
    reranker = judge(TableVLM(one_hot), {"quality": CRITERIA["quality"]}, "generate")
    first, last = rate(one_hot["0", "Q?"]), rate(one_hot["2", "Q?"])
    mean = (first + last) / 2
    np.testing.assert_allclose(reranker.score(QUERIES, candidates), [[first, mean], [last, mean]])
    assert reranker.metrics == {"unread": 1, "quality/mean": mean}
    assert "1 of 3 answers to quality hold no rating" in caplog.text


def test_a_criterion_without_any_rating_is_an_error_that_names_it(table, candidates):
    nothing = dict.fromkeys(table, np.zeros(5))
    with pytest.raises(ValueError, match=r"no answer to quality holds a rating"):
        judge(TableVLM(nothing), reading="generate").score(QUERIES, candidates)


def test_criteria_that_cannot_be_used_are_refused_by_name(table):
    vlm = TableVLM(table)
    with pytest.raises(ValueError, match=r"criteria\.fit\.weight must be at least 0, got -1"):
        judge(vlm, {"fit": {"question": "?", "weight": -1}})
    with pytest.raises(ValueError, match=r"criteria\.fit must have question and weight, got quest"):
        judge(vlm, {"fit": {"question": "?"}})
    with pytest.raises(ValueError, match=r"fit\.question may use \{title\}, got \{tags\}"):
        judge(vlm, {"fit": {"question": "{title} {tags}", "weight": 1}})
    with pytest.raises(ValueError, match=r"one with a weight above 0, got fit, quality"):
        judge(vlm, {"fit": None, "quality": {"question": "?", "weight": 0}})
    with pytest.raises(ValueError, match=r"reading must be one of expected, generate, got 'x'"):
        judge(vlm, reading="x")


def test_dtype_decoding_padding_mask_and_model_are_part_of_what_scores_are_kept_under(make):
    recorded = json.loads(make().fingerprint)
    assert (recorded["dtype"], recorded["tf32"]) == ("float32", False)
    assert recorded["decoding"] == DECODING
    assert recorded["padding_sides"] == {"expected": "right", "generate": "left"}
    assert recorded["attention_mask"]["generate"] == "causal, padding masked"
    assert recorded["revision"].startswith("files:")
    assert make(dtype="bfloat16").fingerprint != make().fingerprint
