import hashlib
import inspect
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import draw_pictures, make_idefics, make_qwen2_vl, make_qwen3_5
from transformers import AutoTokenizer
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionAndFullAttentionLayer

from newsimg.datatypes import Candidates, Collection, Image, Query
from newsimg.interfaces import VisionLanguageModel
from newsimg.launch.compose import compose_config
from newsimg.pipeline import fuse, score_candidates
from newsimg.reporting.results import write_results
from newsimg.reranker.vlm.written_ratings import WrittenRating, read_rating
from newsimg.reranker.vlm_judge import VLMJudgeReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from newsimg.storage.pictures.images import DECODING, open_image
from newsimg.vlm.prefix_cache import can_be_repeated, group_by_beginning, name_cache, read_cache
from newsimg.vlm.qwen2_vl import Qwen2VLM
from newsimg.vlm.smolvlm import SmolVLM
from newsimg.vlm.transformers_vlm import TransformersVLM
from newsimg.weight.raw import RawWeight

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
    plain = make(share_prefix=False, batch_size=1).ask(images, asked, ANSWERS)
    shared = make().ask(images, asked, ANSWERS)
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
        make(share_prefix=share_prefix, batch_size=n).ask(images, [QUESTIONS] * 3, ANSWERS)
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
    got = qwen.ask(images[:1], [QUESTIONS], ANSWERS)[0][2]
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-7)


def test_five_written_tokens_equal_transformers_greedy_decoding_called_by_hand(qwen, images):
    tokenizer = AutoTokenizer.from_pretrained(qwen.checkpoint.model)
    opened = [PILImage.open(images[1].path).convert("RGB")]
    pixels = qwen.image_processor(images=opened, return_tensors="pt")
    n_tokens = int(pixels["image_grid_thw"].prod()) // 4
    prompt = (
        f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * n_tokens}<|vision_end|>"
        f"{QUESTIONS[3]}<|im_end|>\n<|im_start|>assistant\n"
    )
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        written = qwen.model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            mm_token_type_ids=(tokens == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
            max_new_tokens=5,
            do_sample=False,
            **pixels,
        )
    expected = tokenizer.decode(written[0, tokens.shape[1] :], skip_special_tokens=True)
    five = Qwen2VLM(
        model=qwen.checkpoint.model,
        share_prefix=True,
        batch_size=8,
        **SETTINGS | {"max_new_tokens": 5},
    )
    told = {0: {}, 1: {}}
    keep = lambda number, texts: told[number].update(texts)  # noqa: E731
    found = five.write(images[:2], [QUESTIONS[:1], QUESTIONS[2:4]], keep)
    assert found[1][1] == expected
    assert expected
    assert told == {0: {0: found[0][0]}, 1: dict(enumerate(found[1]))}


def test_a_model_with_recurrent_layers_runs_whole_prompts_and_says_so_once(
    tmp_path, images, caplog
):
    folder = make_qwen3_5(tmp_path / "qwen3_5")
    settings = SETTINGS | {"model": folder}
    shared = Qwen2VLM(share_prefix=True, batch_size=8, **settings)
    plain = Qwen2VLM(share_prefix=False, batch_size=1, **settings)
    asked = [QUESTIONS] * 3
    found, expected = (vlm.ask(images, asked, ANSWERS) for vlm in (shared, plain))
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
        qwen.ask(images[:1], [QUESTIONS[:1]], ("1", "10"))


@pytest.mark.parametrize(
    ("text", "value", "explanation"),
    [
        ("4", 4, ""),
        ("4;", 4, ""),
        ("4;;", 4, ""),
        ("4.5;;", 4.5, ""),
        ("4,5;;", 4.5, ""),
        ("10;;", None, ""),  # not clamped to 5
        ("0;;", None, ""),
        ("-3;;", None, ""),
        ("Score: 4;;", 4, ""),
        ("My score: 4;;", 4, ""),
        ("<4>;;", 4, ""),
        ("**3**;;", 3, ""),
        ("4/5;;", 4, ""),
        ("4 out of 5", 4, ""),
        ("8/10;;", None, ""),
        ("On a scale of 1 to 5: 2;;", 2, ""),
        ("Rating: 3.", 3, ""),
        ("I give it a 4", 4, ""),
        ("4. It shows 2 people at a table", 4, ""),
        ("2 people at a table, so I give it a 4", None, ""),
        ("good, 2 or 3", None, ""),
        ("4-5;;", None, ""),
        ("4th;;", 4, ""),
        (
            "4;;Sharp, and it shows\n 2 ferries; a third is far",
            4,
            "Sharp, and it shows 2 ferries; a third is far",
        ),
        (";;no number", None, "no number"),
        ("score;;", None, ""),
        ("four", None, ""),
        ("", None, ""),
    ],
)
def test_a_rating_is_read_as_its_page_says_and_never_guessed(text, value, explanation):
    assert read_rating(text) == WrittenRating(value, explanation)


def test_written_answers_do_not_depend_on_the_batch_size(make, images):
    one, many = make(batch_size=1, max_new_tokens=6), make(batch_size=8, max_new_tokens=6)
    asked = [QUESTIONS] * len(images)
    assert one.write(images, asked) == many.write(images, asked)


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

    def write(self, images, questions, keep=None, is_answer=None):
        pairs = [
            (i.image_id, text) for i, own in zip(images, questions, strict=True) for text in own
        ]
        self.asked += pairs
        found = [
            [self.table[image.image_id, text] for text in own]
            for image, own in zip(images, questions, strict=True)
        ]
        for picture, own in enumerate(found if keep else []):
            keep(picture, dict(enumerate(own)))
        return found

    def ask(self, images, questions, answers, keep=None):
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
    scores = reranker.score(QUERIES, candidates)
    got = scores.values
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    masses = [table[str(i), "Q?"].sum() for i in range(3)]
    assert scores.metrics["quality/mass"] == pytest.approx(np.mean(masses))
    assert scores.metrics["unread"] == 0
    rated = [[rate(table[str(row), "Q?"]) for row in rows] for rows in candidates.rows]
    np.testing.assert_allclose(scores.components["quality"], rated, atol=1e-5)
    quality, other = scores.components.values()
    np.testing.assert_allclose(0.25 * quality + 0.75 * other, got, atol=1e-5)


def test_a_question_without_the_headline_is_asked_once_per_picture(table, candidates):
    vlm = TableVLM(table)
    # The character that stands for a picture in a prompt is no part of a headline.
    queries = [replace(query, title=f"{query.title}\ufffc") for query in QUERIES]
    judge(vlm).score(queries, candidates)
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
    first = judge(CachedVLM(vlm, OutputCache(tmp_path))).score(QUERIES, candidates).values
    n_asked = len(vlm.asked)
    again = judge(CachedVLM(vlm, OutputCache(tmp_path))).score(QUERIES, candidates).values
    np.testing.assert_array_equal(first, again)
    changed = {**CRITERIA, "fit": {**CRITERIA["fit"], "weight": 0.5}}
    other = judge(CachedVLM(vlm, OutputCache(tmp_path)), changed).score(QUERIES, candidates).values
    assert not np.allclose(first, other)
    assert len(vlm.asked) == n_asked == 7


def test_the_cache_keeps_readings_pictures_and_questions_apart(table, candidates, tmp_path, images):
    vlm = TableVLM(table)
    stored = CachedVLM(vlm, OutputCache(tmp_path))
    direct = vlm.ask(images[:2], [["Q?", "F? Calm"], ["Q?"]], ANSWERS)
    kept = stored.ask(images[:2], [["Q?", "F? Calm"], ["Q?"]], ANSWERS)
    for one, other in zip(kept, direct, strict=True):
        np.testing.assert_array_equal(one, other)
    n_asked = len(vlm.asked)
    vlm.table = {("0", "Q?"): "4;;"}
    assert stored.write(images[:1], [["Q?"]]) == [["4;;"]]
    assert len(vlm.asked) == n_asked + 1


def test_answers_in_a_cache_are_found_by_picture_and_question_and_are_handed_on(tmp_path, images):
    digest = hashlib.sha256(images[0].path.read_bytes()).hexdigest()
    keys = [json.dumps(["expected", digest, text, list(ANSWERS)]) for text in ("Q?", "R?")]
    rows = np.array([[0.1, 0.2, 0.3, 0.2, 0.1], [0, 0, 0, 0, 1]], np.float32)
    OutputCache(tmp_path).get_or_compute("scores", "table", keys, lambda batch: rows[batch], "")
    vlm = TableVLM({})  # which has no answer of its own
    told = {}
    cached = CachedVLM(vlm, OutputCache(tmp_path))
    (found,) = cached.ask(images[:1], [["Q?", "R?"]], ANSWERS, told.setdefault)
    assert not vlm.asked
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal([told[0][0], told[0][1]], rows)


def test_written_answers_are_kept_word_for_word_in_the_cache(tmp_path, images):
    texts = {("0", "Q?"): "4;;schön, 東京", ("1", "Q?"): "", ("1", "R?"): "5;;x\ny"}
    vlm = TableVLM(texts)
    asked = [["Q?"], ["Q?", "R?"]]
    first = CachedVLM(vlm, OutputCache(tmp_path)).write(images[:2], asked)
    assert first == [["4;;schön, 東京"], ["", "5;;x\ny"]]
    told = {}
    other = TableVLM({})
    cached = CachedVLM(other, OutputCache(tmp_path))
    assert cached.write(images[:2], asked, told.setdefault) == first
    assert not other.asked
    assert told == {0: {0: "4;;schön, 東京"}, 1: {0: "", 1: "5;;x\ny"}}


def test_a_server_is_asked_again_for_what_it_has_not_rated(tmp_path, images):
    vlm = TableVLM({("0", "Q?"): "no idea", ("1", "Q?"): "4;;"})
    vlm.repeatable = False

    def has_rating(text):
        return read_rating(text).value is not None

    for n_asked in (2, 3):
        cached = CachedVLM(vlm, OutputCache(tmp_path))
        found = cached.write(images[:2], [["Q?"]] * 2, None, has_rating)
        assert found == [["no idea"], ["4;;"]]
        assert len(vlm.asked) == n_asked


def test_an_answer_that_names_no_rating_counts_as_the_criterions_mean_and_is_counted(
    candidates, caplog
):
    texts = {("0", "Q?"): "4.5;;", ("1", "Q?"): "10;;", ("2", "Q?"): "Score: 2"}
    reranker = judge(TableVLM(texts), {"quality": CRITERIA["quality"]}, "generate")
    scores = reranker.score(QUERIES, candidates)
    np.testing.assert_allclose(scores.values, [[4.5, 3.25], [2, 3.25]])  # not 2.5
    assert scores.metrics == {"unread": 1, "quality/mean": 3.25}
    assert not scores.explanations
    assert "1 of 3 answers to quality hold no rating and count as their mean, 3.25" in caplog.text


def test_explanations_follow_their_candidates_into_the_results(images, candidates, tmp_path):
    texts = {
        ("0", "F? Storm"): "1;;grey sea",
        ("1", "F? Storm"): "5;;waves at a quay",
        ("2", "F? Calm"): "2;;",
        ("1", "F? Calm"): "3; no; waves",
    }
    texts |= {(str(i), "Q?"): "3;;" for i in range(3)}
    reranker = judge(TableVLM(texts), reading="generate")
    collection = Collection("c", QUERIES, images, None)
    scores = score_candidates(collection, candidates, reranker)
    assert scores.explanations["fit"].tolist() == [
        ["grey sea", "waves at a quay"],
        ["", "no; waves"],
    ]
    assert list(scores.explanations) == ["fit"]
    reranked = fuse(candidates, scores, RawWeight(value=1))
    assert reranked.rows.tolist() == [[1, 0], [1, 2]]
    write_results(tmp_path, collection, reranked, (False, False))
    table = pq.read_table(tmp_path / "results.parquet").to_pydict()
    assert table["explanation/fit"] == ["waves at a quay", "grey sea", "no; waves", ""]
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["explanation/fit"] for line in lines] == table["explanation/fit"]
    assert table["criterion/fit"] == [5, 1, 3, 2]


def test_the_judge_of_the_original_system_asks_four_questions_about_each_title(candidates):
    config = compose_config(["reranker=original_vlm_judge", "backbone=clip_vit_b32"])
    criteria = config["reranker"]["criteria"]
    rng = np.random.default_rng(5)
    ratings = rng.integers(1, 6, (4, 2, 2))  # by criterion, query and candidate
    texts = {
        (str(row), criterion["question"].replace("{title}", query.title)): f"{ratings[c, q, k]};;"
        for c, criterion in enumerate(criteria.values())
        for q, query in enumerate(QUERIES)
        for k, row in enumerate(candidates.rows[q])
    }
    assert len(texts) == 16  # none is asked without its title
    vlm = TableVLM(texts)
    scores = judge(vlm, criteria, config["reranker"]["reading"]).score(QUERIES, candidates)
    assert sorted(vlm.asked) == sorted(texts)
    np.testing.assert_allclose(scores.values, ratings.mean(axis=0))


def test_a_criterion_without_any_rating_is_an_error_that_names_it(table, candidates):
    nothing = dict.fromkeys(table, "four;;")
    with pytest.raises(ValueError, match=r"no answer to quality holds a rating"):
        judge(TableVLM(nothing), reading="generate").score(QUERIES, candidates)


def test_a_question_shows_tags_and_columns_and_unknown_ones_are_refused(candidates):
    queries = [
        Query("a", "Storm", ("Ada",), ("UN",), (("lead", "Roofs are gone."),)),
        Query("b", "Calm", columns=(("lead", ""),)),
    ]
    question = "{title} ({tags}), {lead}?"
    texts = {"a": "Storm (Ada, UN), Roofs are gone.?", "b": "Calm (), ?"}
    vlm = TableVLM({
        (candidates.images[row].image_id, texts[query.query_id]): np.eye(5)[row % 5]
        for query, rows in zip(queries, candidates.rows, strict=True)
        for row in rows
    })  # fmt: skip
    reranker = judge(vlm, {"fit": {"question": question, "weight": 1}})
    reranker.check_queries(queries)
    np.testing.assert_allclose(
        reranker.score(queries, candidates).values, candidates.rows % 5 + 1, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"criteria\.fit\.question uses \{lead\}, but the headl"):
        reranker.check_queries(QUERIES)


def test_criteria_that_cannot_be_used_are_refused_by_name(table):
    vlm = TableVLM(table)
    with pytest.raises(ValueError, match=r"criteria\.fit\.weight must be at least 0, got -1"):
        judge(vlm, {"fit": {"question": "?", "weight": -1}})
    with pytest.raises(ValueError, match=r"criteria\.fit must have question and weight, got quest"):
        judge(vlm, {"fit": {"question": "?"}})
    with pytest.raises(ValueError, match=r"fit\.question may use \{title\}, \{tags\} and columns"):
        judge(vlm, {"fit": {"question": "{title} {", "weight": 1}})
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
