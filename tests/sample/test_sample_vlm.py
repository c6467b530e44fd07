"""The sample's vision-language model: loading, and ratings of unseen pictures and headlines."""

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
from newsimg.sample.training.vlm_fitting import (
    cut_patches,
    encode_pictures,
    read_answers,
    to_probabilities,
)
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
    """Unseen scenes, most of them poor, so that the grades of every criterion vary."""
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
    """Expected grades as in a run, (n_scenes, n_questions), those of headlines last."""
    images = [Image(str(i), path) for i, path in enumerate(paths)]
    questions = [
        [*QUESTIONS.values(), *(f"{FIT_QUESTION} {m.title}" for m in own)] for own in matches
    ]
    found = np.array(vlm.ask(images, questions, ANSWERS))
    assert found.sum(axis=-1).min() > 0.9  # the answer is a digit
    return found @ np.arange(1, 6) / found.sum(axis=-1)


def test_the_model_is_a_qwen2_vl_of_at_most_6_mb_that_loads_without_warnings(capfd) -> None:
    model = AutoModelForImageTextToText.from_pretrained(FOLDER)
    assert isinstance(model, Qwen2VLForConditionalGeneration)
    assert "warn" not in capfd.readouterr().err.lower()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000


def test_prompts_have_one_picture_before_the_question_and_answers_are_single_tokens(vlm) -> None:
    prompt = write_prompt(AutoTokenizer.from_pretrained(FOLDER), "What?")
    assert prompt == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    for question in (*QUESTIONS.values(), f"{FIT_QUESTION} Storm", "Something else?"):
        assert len(set(vlm.prompts.find_answer_tokens(question, ANSWERS, ""))) == 5


def test_the_sample_criteria_are_the_questions_of_the_training() -> None:
    conf = Path(newsimg.__file__).parents[1] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        criteria = compose("config", ["reranker=vlm_judge", "criteria=sample"]).criteria
    questions = {name: criteria[name].question for name in criteria}
    assert questions == {**QUESTIONS, "fit": FIT_QUESTION + " {title}"}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(QUESTIONS))
def test_grades_of_unseen_pictures_correlate_with_their_known_defects(name, scenes, grades) -> None:
    true = [grade_picture(scene)[name] for scene in scenes]
    assert spearmanr(grades[:, list(QUESTIONS).index(name)], true).statistic > 0.6


def test_grades_of_headlines_correlate_with_their_agreement_with_the_picture(
    matches, grades
) -> None:
    true = np.array([[m.grade for m in own] for own in matches])
    assert spearmanr(grades[:, len(QUESTIONS) :].ravel(), true.ravel()).statistic > 0.6


def test_packed_questions_are_answered_like_separate_ones(vlm, paths, matches, grades) -> None:
    pictures = np.stack([read_small_picture(path) for path in paths[:2]])
    titles = [[m.title for m in own] for own in matches[:2]]
    with torch.no_grad():
        pack = pack_questions(vlm.model, vlm.tokenizer, titles)
        logits = vlm.model.lm_head(
            read_answers(vlm.model, pack, encode_pictures(vlm.model, pictures))
        )
    shares = logits[..., vlm.tokenizer.convert_tokens_to_ids(list(ANSWERS))].softmax(-1)
    np.testing.assert_allclose(shares @ torch.arange(1.0, 6.0), grades[:2], atol=1e-3)


def test_training_patches_are_those_of_the_image_processor(paths) -> None:
    with PILImage.open(paths[0]) as image:
        inputs = build_image_processor()(images=[image.convert("RGB")], return_tensors="pt")
    own = cut_patches(read_small_picture(paths[0])[None])[0]
    torch.testing.assert_close(own, inputs["pixel_values"], atol=1e-5, rtol=0)


def test_grades_become_probabilities_with_the_same_expectation() -> None:
    shares = to_probabilities(torch.tensor([1.0, 2.25, 5.0]))
    torch.testing.assert_close(shares[1], torch.tensor([0, 0.75, 0.25, 0, 0]))
    torch.testing.assert_close(shares @ torch.arange(1.0, 6.0), torch.tensor([1.0, 2.25, 5.0]))


def test_the_grade_of_a_headline_decreases_with_its_contradictions(scenes) -> None:
    boat = next(
        scene for scene in training_scenes(1) if scene.subject == "ferry" and scene.count == 2
    )
    title = "Passengers stranded as twin scarlet ferries held off Kvistø"
    source = type(boat)("ferry", 2, "red", boat.time, boat.weather, boat.view, 0)
    assert match(source, title, source).grade == 5
    white = type(boat)("ferry", 1, "white", boat.time, boat.weather, boat.view, 0)
    assert match(white, title, source).grade == 3
    train = type(boat)("train", 2, "red", boat.time, boat.weather, boat.view, 0)
    assert match(train, title, source).grade == 1
