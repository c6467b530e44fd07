"""Several pictures in one prompt, against transformers called by hand."""

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import (
    draw_pictures,
    make_idefics,
    make_qwen2_5_vl,
    make_qwen2_vl,
    make_qwen3_vl,
)
from transformers import AutoProcessor, AutoTokenizer

from newsimg.datatypes import PICTURE_PLACE, Image
from newsimg.vlm.prompts import open_thumbnail, split_at_pictures
from newsimg.vlm.qwen2_vl import Qwen2VLM
from newsimg.vlm.smolvlm import SmolVLM
from newsimg.vlm.transformers_vlm import TransformersVLM

SIZES = [(120, 60), (60, 150), (90, 90), (200, 50)]
LISTS = [[0, 1, 2], [2, 0, 1], [3, 1], [1], [0, 3, 2, 1]]
TITLES = ["Storm hits the harbour", "Storm hits the harbour", "Cow", "Goats", "Goats on the roof"]
MAX_SIDE, N_TOKENS = 100, 6
MAKERS = {
    "qwen2_vl": (Qwen2VLM, make_qwen2_vl),
    "qwen2_5_vl": (Qwen2VLM, make_qwen2_5_vl),
    "qwen3_vl": (Qwen2VLM, make_qwen3_vl),
    "smolvlm": (SmolVLM, lambda folder: make_idefics(folder, "smolvlm")),
    "idefics3": (SmolVLM, lambda folder: make_idefics(folder, "idefics3")),
    "processor": (TransformersVLM, lambda folder: make_idefics(folder, "idefics3")),
}


def write_question(title, n_pictures):
    numbered = "\n".join(f"[{i + 1}] {PICTURE_PLACE}" for i in range(n_pictures))
    return f"Headline: {title}\n{numbered}\nOrder all {n_pictures}."


QUESTIONS = [write_question(t, len(own)) for t, own in zip(TITLES, LISTS, strict=True)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), SIZES)
    return tuple(Image(str(i), path) for i, path in enumerate(paths))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name) for name, (_, make) in MAKERS.items()}


@pytest.fixture(params=list(MAKERS))
def make(request, folders):
    return lambda size="auto": MAKERS[request.param][0](
        model=folders[request.param],
        revision="main",
        dtype="float32",
        device="cpu",
        batch_size=size,
        share_prefix=True,
        answer_prefix="",
        max_new_tokens=2,
    )


def compare(vlm, images, lists=LISTS, questions=QUESTIONS, keep=None):
    shown = [[images[i] for i in own] for own in lists]
    return vlm.compare(shown, questions, MAX_SIDE, N_TOKENS, keep)


def generate(vlm, tokens, **inputs):
    """Return the text that is written, and the probabilities of the next token."""
    with torch.inference_mode():
        shares = vlm.model(input_ids=tokens, **inputs).logits[0, -1].softmax(-1)
        written = vlm.model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=N_TOKENS,
            do_sample=False,
            **inputs,
        )
    text = vlm.tokenizer.decode(written[0, tokens.shape[1] :], skip_special_tokens=True)
    return text, shares.numpy()


def answer_by_hand(vlm, images, question, ending=""):
    """Answer a question with transformers alone: template, placeholders and pixels."""
    folder = vlm.checkpoint.model
    pictures = [open_thumbnail(image, MAX_SIDE) for image in images]
    if not isinstance(vlm, Qwen2VLM):
        prompt = f"User: {question.replace(PICTURE_PLACE, '<image>')}<end_of_utterance>\nAssistant:"
        prompt += ending
        processor = AutoProcessor.from_pretrained(folder)
        inputs = processor(text=[f"<|im_start|>{prompt}"], images=[pictures], return_tensors="pt")
        return generate(
            vlm,
            inputs["input_ids"],
            pixel_values=inputs["pixel_values"],
            pixel_attention_mask=inputs["pixel_attention_mask"],
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pixels = vlm.image_processor(images=pictures, return_tensors="pt")
    merged = vlm.image_processor.merge_size**2
    first, *texts = question.split(PICTURE_PLACE)
    prompt = f"<|im_start|>user\n{first}"
    for grid, text in zip(pixels["image_grid_thw"], texts, strict=True):
        pads = "<|image_pad|>" * (int(grid.prod()) // merged)
        prompt += f"<|vision_start|>{pads}<|vision_end|>{text}"
    tokens = tokenizer(prompt + "<|im_end|>\n<|im_start|>assistant\n" + ending, return_tensors="pt")
    marked = tokens["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return generate(vlm, tokens["input_ids"], mm_token_type_ids=marked.int(), **pixels)


# The processor of SmolVLM needs packages that are not installed.
@pytest.mark.parametrize("make", [name for name in MAKERS if name != "smolvlm"], indirect=True)
def test_answers_about_several_pictures_equal_transformers_called_by_hand(make, images):
    vlm = make()
    kept = {}
    found = compare(vlm, images, keep=kept.__setitem__)
    expected = [
        answer_by_hand(vlm, [images[i] for i in own], question)[0]
        for own, question in zip(LISTS, QUESTIONS, strict=True)
    ]
    assert found == expected
    assert kept == dict(enumerate(expected))
    assert len(set(found)) > 1  # the comparison says something


def test_lists_are_answered_in_one_pass_as_they_are_one_at_a_time(make, images):
    alone = make(1)
    expected = [
        compare(alone, images, [own], [question])[0]
        for own, question in zip(LISTS, QUESTIONS, strict=True)
    ]
    together = make()
    rows = []
    together.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    assert compare(together, images) == expected
    assert max(rows) > 1  # though the text before the pictures differs


@pytest.mark.parametrize("make", [name for name in MAKERS if name != "smolvlm"], indirect=True)
def test_probabilities_of_numbers_equal_transformers_called_by_hand_alone_and_in_a_batch(
    make, images
):
    beginning, numbers = "The best picture is [", ["1", "2", "3", "4"]
    shown = [[images[i] for i in own] for own in LISTS]
    vlm, kept, rows = make(), {}, []
    tokens = [vlm.tokenizer(number, add_special_tokens=False)["input_ids"] for number in numbers]
    expected = [
        answer_by_hand(vlm, own, question, beginning)[1][np.ravel(tokens)]
        for own, question in zip(shown, QUESTIONS, strict=True)
    ]
    vlm.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = vlm.choose(shown, QUESTIONS, numbers, MAX_SIDE, beginning, kept.__setitem__)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert max(rows) > 1
    assert np.ptp(found, axis=0).max() > 1e-5  # the comparison says something
    np.testing.assert_array_equal([kept[i] for i in range(len(LISTS))], found)
    alone = [
        vlm.choose([own], [question], numbers, MAX_SIDE, beginning)[0]
        for own, question in zip(shown, QUESTIONS, strict=True)
    ]
    np.testing.assert_allclose(alone, found, rtol=0, atol=1e-6)


def test_larger_pictures_are_scaled_down_and_smaller_ones_are_not(images):
    assert open_thumbnail(images[3], 100).size == (100, 25)
    assert open_thumbnail(images[2], 100).size == (90, 90)
    assert isinstance(open_thumbnail(images[2], 100), PILImage.Image)


def test_pictures_without_a_place_come_first_and_further_places_are_text():
    assert split_at_pictures("one", 1) == ["", "one"]
    assert split_at_pictures(f"a {PICTURE_PLACE} b", 2) == ["", "a ", " b"]
    assert split_at_pictures(f"a{PICTURE_PLACE}b{PICTURE_PLACE}", 1) == ["a", f"b{PICTURE_PLACE}"]
