"""The probability of yes: matching heads and relevance models, against the library itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import draw_pictures, make_qwen2_vl, make_qwen3_vl

from newsimg.datatypes import Candidates, Image, Query
from newsimg.interfaces import VisionLanguageModel
from newsimg.reranker.vlm_reranker import VLMReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from newsimg.vlm.blip2_itm import Blip2Matching
from newsimg.vlm.blip_itm import BlipMatching
from newsimg.vlm.qwen2_vl import Qwen2VLM

TITLES = ["Storm hits the harbour", "A cow on a meadow", "Storm"]
QUERIES = [Query(str(i), title) for i, title in enumerate(TITLES)]
ROWS = np.array([[0, 1], [2, 0], [1, 2]])
LOADING = {"revision": "main", "dtype": "float32", "device": "cpu"}
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "storm",
    "hits",
    "the",
    "harbour",
    "a",
    "cow",
    "on",
    "meadow",
]


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), [(120, 60), (60, 150), (90, 90)])
    images = tuple(Image(str(i), path) for i, path in enumerate(paths))
    scores = np.zeros(ROWS.shape, np.float32)
    return Candidates(images, ROWS, scores, {"retrieval": scores})


def make_blip(folder: Path) -> str:
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForImageTextRetrieval,
        BlipImageProcessor,
    )

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2}
    config = BlipConfig(
        text_config={**sizes, "vocab_size": len(WORDS), "encoder_hidden_size": 24},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        image_text_hidden_size=16,
    )
    save(BlipForImageTextRetrieval(config), BertTokenizer, BlipImageProcessor, folder)
    return str(folder)


def make_blip2(folder: Path) -> str:
    from transformers import (
        BertTokenizer,
        Blip2Config,
        Blip2ForImageTextRetrieval,
        BlipImageProcessor,
    )

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2}
    qformer = {**sizes, "vocab_size": len(WORDS), "encoder_hidden_size": 24}
    config = Blip2Config(
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        qformer_config={**qformer, "use_qformer_text_input": True},
        text_config={"model_type": "opt", **{"hidden_size": 16, "num_hidden_layers": 1}},
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    save(Blip2ForImageTextRetrieval(config), BertTokenizer, BlipImageProcessor, folder)
    return str(folder)


def save(model: Any, tokenizer: Any, processor: Any, folder: Path) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    model.save_pretrained(folder)
    tokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    processor(size={"height": 32, "width": 32}).save_pretrained(folder)


def match_blip(folder: str, image: Image, title: str) -> float:
    """Return the probability of a match by the library's own forward."""
    from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(
        PILImage.open(image.path), return_tensors="pt"
    )
    tokens = AutoTokenizer.from_pretrained(folder)(title, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        score = model(**inputs, pixel_values=pixels["pixel_values"], use_itm_head=True).itm_score
    return float(score.softmax(-1)[0, 1])


def match_blip2(folder: str, image: Image, title: str) -> float:
    from transformers import AutoImageProcessor, AutoTokenizer, Blip2ForImageTextRetrieval

    model = Blip2ForImageTextRetrieval.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(
        PILImage.open(image.path), return_tensors="pt"
    )
    tokens = AutoTokenizer.from_pretrained(folder)(title, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        output = model(
            **inputs, pixel_values=pixels["pixel_values"], use_image_text_matching_head=True
        )
    return float(output.logits_per_image.softmax(-1)[0, 1])


@pytest.mark.parametrize(
    ("make", "kind", "match"),
    [(make_blip, BlipMatching, match_blip), (make_blip2, Blip2Matching, match_blip2)],
)
def test_a_matching_head_scores_as_the_librarys_own_forward(
    make: Any, kind: Any, match: Any, candidates: Candidates, tmp_path: Path
) -> None:
    folder = make(tmp_path / "model")
    vlm = kind(model=folder, batch_size=2, text_length=16, **LOADING)
    reranker = VLMReranker(vlm=vlm, question="{title}", positive="yes", negative="no")
    scores = reranker.score(QUERIES, candidates)
    expected = [
        [match(folder, candidates.images[row], query.title) for row in rows]
        for query, rows in zip(QUERIES, ROWS, strict=True)
    ]
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
    assert np.ptp(scores.values) > 0.01
    assert scores.metrics == {"mass": pytest.approx(1.0), "unread": 0.0}


def test_a_matching_head_answers_nothing_but_yes_and_no(
    candidates: Candidates, tmp_path: Path
) -> None:
    vlm = BlipMatching(model=make_blip(tmp_path / "m"), batch_size=2, text_length=16, **LOADING)
    with pytest.raises(ValueError, match="it answers yes or no, not 1, 2; reranker=itm"):
        vlm.ask(candidates.images[:1], [["Storm"]], ("1", "2"))


def ask_plainly(vlm: Qwen2VLM, image: Image, prompt: str, answers: str) -> np.ndarray:
    """Return the probabilities of the next token after a prompt that is written by hand."""
    picture, inputs = vlm.encode(PILImage.open(image.path))
    before, after = prompt.split("<|image_pad|>")
    tokenize = vlm.prompts.tokenize
    tokens = torch.tensor([[*tokenize(before), *picture, *tokenize(after)]])
    with torch.no_grad():
        output = vlm.model(input_ids=tokens, **vlm.mark_tokens(tokens), **inputs)
    probabilities = output.logits[0, -1].softmax(-1)
    return probabilities[[tokenize(answer)[0] for answer in answers]].numpy()


@pytest.mark.parametrize("make", [make_qwen2_vl, make_qwen3_vl])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_relevance_model_is_asked_with_its_own_prompt(
    make: Any, place: str, candidates: Candidates, tmp_path: Path
) -> None:
    question = "Query: {title} Document: {picture}" if place == "after" else "About {title}?"
    vlm = Qwen2VLM(
        model=make(tmp_path / "model"),
        batch_size=4,
        share_prefix=True,
        answer_prefix="",
        max_new_tokens=4,
        system="Answer 1 or 2.",
        **LOADING,
    )
    reranker = VLMReranker(vlm=vlm, question=question, positive="2", negative="1")
    found = reranker.score(QUERIES, candidates).values
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    expected = np.empty(ROWS.shape)
    for i, (query, rows) in enumerate(zip(QUERIES, ROWS, strict=True)):
        for j, row in enumerate(rows):
            asked = question.replace("{title}", query.title)
            asked = asked.replace("{picture}", picture) if place == "after" else picture + asked
            prompt = f"<|im_start|>system\nAnswer 1 or 2.<|im_end|>\n<|im_start|>user\n{asked}"
            prompt += "<|im_end|>\n<|im_start|>assistant\n"
            negative, positive = ask_plainly(vlm, candidates.images[row], prompt, "12")
            expected[i, j] = positive / (positive + negative)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found) > 1e-3


class FixedModel(VisionLanguageModel):
    """Answers with given probabilities of yes and no by picture id, and counts the questions."""

    fingerprint = '{"model": "fixed"}'

    def __init__(self, table: dict[str, tuple[float, float]]) -> None:
        self.table = table
        self.asked: list[str] = []

    def ask(self, images: Any, questions: Any, answers: Any, keep: Any = None) -> Any:
        found = []
        for i, (image, texts) in enumerate(zip(images, questions, strict=True)):
            self.asked += texts
            found.append(np.array([self.table[image.image_id]] * len(texts), np.float32))
            if keep:
                keep(i, dict(enumerate(found[-1])))
        return found

    def write(self, images: Any, questions: Any, keep: Any = None, is_answer: Any = None) -> Any:
        raise NotImplementedError


def test_answers_are_cached_and_those_that_are_neither_count_as_the_mean(
    candidates: Candidates, tmp_path: Path
) -> None:
    vlm = FixedModel({"0": (0.6, 0.2), "1": (0.0, 0.0), "2": (0.1, 0.3)})
    cached = CachedVLM(vlm, OutputCache(tmp_path))
    reranker = VLMReranker(vlm=cached, question="{title}", positive="yes", negative="no")
    scores = reranker.score(QUERIES, candidates)
    p = {0: 0.75, 1: np.mean([0.75, 0.75, 0.25, 0.25]), 2: 0.25}
    np.testing.assert_allclose(scores.values, [[p[0], p[1]], [p[2], p[0]], [p[1], p[2]]], rtol=1e-6)
    assert scores.metrics["unread"] == 2
    assert len(vlm.asked) == 6
    reranker.score(QUERIES, candidates)
    assert len(vlm.asked) == 6


def test_a_headline_cannot_move_the_picture(candidates: Candidates) -> None:
    vlm = FixedModel({"0": (1, 0), "1": (1, 0), "2": (1, 0)})
    reranker = VLMReranker(vlm=vlm, question="{title}: {picture}", positive="yes", negative="no")
    reranker.score([Query("a", "\ufffc {picture}"), *QUERIES[1:]], candidates)
    assert " {picture}: \ufffc" in vlm.asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "Storm?"}, r"reranker.question must contain \{title\}, got 'Storm\?'"),
        ({"negative": "yes"}, "reranker.positive and reranker.negative must differ, got 'yes'"),
    ],
)
def test_a_question_without_headline_and_equal_answers_are_refused(
    changes: dict[str, str], message: str
) -> None:
    arguments = {"question": "{title}", "positive": "yes", "negative": "no"} | changes
    with pytest.raises(ValueError, match=message):
        VLMReranker(vlm=FixedModel({}), **arguments)
