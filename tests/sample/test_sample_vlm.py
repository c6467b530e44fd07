"""The sample's judge: a Qwen2-VL that grades pictures and headlines it has not seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image as PILImage
from scipy.stats import spearmanr
from transformers import AutoModelForImageTextToText, AutoTokenizer, Qwen2VLForConditionalGeneration

import newsimg
from newsimg.datatypes import Image
from newsimg.sample.pictures import save_picture
from newsimg.sample.scenes import training_scenes
from newsimg.sample.training.train_vlm import draw_epochs
from newsimg.sample.training.vlm_examples import grade_picture, match, read_small_picture
from newsimg.sample.training.vlm_fitting import cut_patches, read_answers, see, spread
from newsimg.sample.training.vlm_parts import (
    FIT_QUESTION,
    QUESTIONS,
    build_image_processor,
    pack_questions,
    write_prompt,
)
from newsimg.vlm.qwen2_vl import Qwen2VLM

FOLDER = Path(newsimg.__file__).parent / "sample" / "vlm"
UNSEEN, N_SCENES = 78, 80
ANSWERS = ("1", "2", "3", "4", "5")


@pytest.fixture(scope="module")
def scenes():
    """Unseen scenes, many of them poor, so that every criterion has something to rank."""
    stream = training_scenes(UNSEEN, poor_share=0.8)
    return [next(stream) for _ in range(N_SCENES)]


@pytest.fixture(scope="module")
def paths(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, scene in enumerate(scenes):
        save_picture(scene, folder / f"{i}.jpg")
    return [folder / f"{i}.jpg" for i in range(N_SCENES)]


@pytest.fixture(scope="module")
def vlm():
    return Qwen2VLM(
        model=str(FOLDER), revision="main", dtype="float32", device="cpu", batch_size=64,
        share_prefix=True, answer_prefix="", max_new_tokens=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def matches(scenes):
    return next(draw_epochs(scenes, UNSEEN))


@pytest.fixture(scope="module")
def grades(vlm, paths, matches):
    """(n_scenes, n_questions): expected grades through the path of a run, headlines last."""
    images = [Image(str(i), path) for i, path in enumerate(paths)]
    questions = [
        [*QUESTIONS.values(), *(f"{FIT_QUESTION} {m.title}" for m in own)] for own in matches
    ]
    found = np.array(vlm.answer_probabilities(images, questions, ANSWERS))
    assert found.sum(axis=-1).min() > 0.9  # it answers with a digit
    return found @ np.arange(1, 6) / found.sum(axis=-1)


def test_the_model_loads_quietly_as_a_qwen2_vl_of_at_most_6_mb(capfd) -> None:
    model = AutoModelForImageTextToText.from_pretrained(FOLDER)
    assert isinstance(model, Qwen2VLForConditionalGeneration)
    assert "warn" not in capfd.readouterr().err.lower()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000


def test_prompts_hold_one_picture_before_the_question_and_answers_are_single_tokens(vlm) -> None:
    prompt = write_prompt(AutoTokenizer.from_pretrained(FOLDER), "What?")
    assert prompt == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    for question in (*QUESTIONS.values(), f"{FIT_QUESTION} Storm", "Something else?"):
        assert len(set(vlm.prompts.find_answer_tokens(question, ANSWERS))) == 5


def test_the_sample_preset_asks_what_the_judge_was_trained_on() -> None:
    conf = Path(newsimg.__file__).parents[1] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        criteria = compose("config", ["reranker=vlm_judge", "criteria=sample"]).criteria
    asked = {name: criteria[name].question for name in criteria}
    assert asked == {**QUESTIONS, "fit": FIT_QUESTION + " {title}"}


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_grades_rank_unseen_pictures_as_their_known_flaws_do(name, scenes, grades) -> None:
    true = [grade_picture(scene)[name] for scene in scenes]
    assert spearmanr(grades[:, list(QUESTIONS).index(name)], true).statistic > 0.6


def test_grades_rank_headlines_by_how_far_they_agree_with_the_picture(matches, grades) -> None:
    true = np.array([[m.grade for m in own] for own in matches])
    assert spearmanr(grades[:, len(QUESTIONS) :].ravel(), true.ravel()).statistic > 0.6


def test_packed_questions_are_answered_as_if_each_stood_alone(vlm, paths, matches, grades) -> None:
    pictures = np.stack([read_small_picture(path) for path in paths[:2]])
    titles = [[m.title for m in own] for own in matches[:2]]
    with torch.no_grad():
        pack = pack_questions(vlm.model, vlm.tokenizer, titles)
        logits = vlm.model.lm_head(read_answers(vlm.model, pack, see(vlm.model, pictures)))
    shares = logits[..., vlm.tokenizer.convert_tokens_to_ids(list(ANSWERS))].softmax(-1)
    np.testing.assert_allclose(shares @ torch.arange(1.0, 6.0), grades[:2], atol=1e-3)


def test_training_pictures_are_cut_as_the_image_processor_cuts_them(paths) -> None:
    with PILImage.open(paths[0]) as image:
        inputs = build_image_processor()(images=[image.convert("RGB")], return_tensors="pt")
    own = cut_patches(read_small_picture(paths[0])[None])[0]
    torch.testing.assert_close(own, inputs["pixel_values"], atol=1e-5, rtol=0)


def test_grades_become_probabilities_with_the_same_expectation() -> None:
    shares = spread(torch.tensor([1.0, 2.25, 5.0]))
    torch.testing.assert_close(shares[1], torch.tensor([0, 0.75, 0.25, 0, 0]))
    torch.testing.assert_close(shares @ torch.arange(1.0, 6.0), torch.tensor([1.0, 2.25, 5.0]))


def test_a_headline_fits_less_the_more_it_contradicts_the_picture(scenes) -> None:
    boat = next(
        scene for scene in training_scenes(1) if scene.subject == "ferry" and scene.count == 2
    )
    title = "Passengers stranded as twin scarlet ferries held off Kvistø"
    told = type(boat)("ferry", 2, "red", boat.time, boat.weather, boat.view, 0)
    assert match(told, title, told).grade == 5
    white = type(boat)("ferry", 1, "white", boat.time, boat.weather, boat.view, 0)
    assert match(white, title, told).grade == 3
    train = type(boat)("train", 2, "red", boat.time, boat.weather, boat.view, 0)
    assert match(train, title, told).grade == 1
