import numpy as np
import pytest
import torch
from tiny_models import draw_pictures, make_idefics, make_qwen2_5_vl, make_qwen2_vl, make_qwen3_vl

from newsimg.datatypes import Image
from newsimg.launch.builder import check_arguments
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM
from newsimg.storage.models.batches import ModelMemoryError, TokenBatches, iterate_chunks
from newsimg.storage.pictures.images import open_image
from newsimg.vlm.qwen2_vl import Qwen2VLM
from newsimg.vlm.smolvlm import SmolVLM
from newsimg.vlm.transformers_vlm import TransformersVLM

ANSWERS = ("1", "2", "3", "4", "5")
SETTINGS = {
    "revision": "main",
    "device": "cpu",
    "answer_prefix": "",
    "max_new_tokens": 4,
}
FIT = "Rate how well this picture fits the news headline. Answer from 1 to 5.\nHeadline: "
TITLES = ("Storm hits the harbour", "Cow", "Storm hits harbour towns again", "Goats on the roof")
QUALITY = "Rate the technical quality of this picture."
SIZES = [(120, 60), (60, 150), (90, 90), (120, 60), (200, 50), (64, 64), (60, 150), (33, 90)]
# Pictures have different questions, of which some begin alike and some do not; one has none.
QUESTIONS = [
    [QUALITY, FIT + TITLES[0], FIT + TITLES[1]],
    [FIT + TITLES[2]],
    [QUALITY, *[FIT + title for title in TITLES]],
    [],
    [QUALITY, "Is it a photograph?"],
    [FIT + TITLES[3], QUALITY],
    [QUALITY, FIT + TITLES[0], FIT + TITLES[2]],
    [FIT + TITLES[1], FIT + TITLES[3]],
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    paths = draw_pictures(tmp_path_factory.mktemp("pictures"), SIZES)
    return tuple(Image(str(i), path) for i, path in enumerate(paths))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    return {
        "qwen2_vl": (Qwen2VLM, make_qwen2_vl(folder / "qwen")),
        "qwen2_vl, sliding": (Qwen2VLM, make_qwen2_vl(folder / "sliding", text=sliding)),
        "qwen2_5_vl": (Qwen2VLM, make_qwen2_5_vl(folder / "qwen2_5")),
        "qwen3_vl": (Qwen2VLM, make_qwen3_vl(folder / "qwen3")),
        "smolvlm": (SmolVLM, make_idefics(folder / "smolvlm", "smolvlm")),
        "idefics3": (SmolVLM, make_idefics(folder / "idefics3", "idefics3")),
        "processor": (TransformersVLM, str(folder / "idefics3")),
    }


FAMILIES = [
    "qwen2_vl",
    "qwen2_vl, sliding",
    "qwen2_5_vl",
    "qwen3_vl",
    "smolvlm",
    "idefics3",
    "processor",
]


@pytest.fixture(params=FAMILIES)
def make(request, folders):
    vlm_class, model = folders[request.param]
    return lambda **changes: vlm_class(
        **SETTINGS
        | {"model": model, "dtype": "float32", "share_prefix": True, "batch_size": "auto"}
        | changes
    )


@pytest.fixture
def qwen(folders):
    vlm_class, model = folders["qwen2_vl"]
    return lambda **changes: vlm_class(
        **SETTINGS
        | {"model": model, "dtype": "float32", "share_prefix": True, "batch_size": "auto"}
        | changes
    )


def count_passes(vlm):
    """Count the rows of each forward pass."""
    rows = []
    vlm.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return rows


def ask_alone(vlm, images, questions):
    return [
        np.concatenate([vlm.ask([image], [[text]], ANSWERS)[0] for text in texts])
        for image, texts in zip(images, questions, strict=True)
        if texts
    ]


def test_many_pictures_at_once_are_judged_as_one_prompt_at_a_time(make, images):
    together = make()
    passes = count_passes(together)
    found = together.ask(images, QUESTIONS, ANSWERS)
    alone = ask_alone(make(share_prefix=False, batch_size=1), images, QUESTIONS)
    assert [len(rows) for rows in found] == [len(texts) for texts in QUESTIONS]
    for one, other in zip([rows for rows in found if len(rows)], alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
    assert max(passes) > 1
    rated = np.concatenate(alone) @ np.arange(1, 6)
    assert np.ptp(rated) > 0.005  # the comparison says something


def test_pictures_of_different_lengths_share_a_pass_and_are_masked(qwen, images):
    together = qwen()
    passes = count_passes(together)
    lengths = [len(together.encode(open_image(image))[0]) for image in images[:3]]
    assert len(set(lengths)) > 1
    found = together.ask(images[:3], QUESTIONS[:3], ANSWERS)
    assert passes[0] == 3
    alone = ask_alone(qwen(share_prefix=False, batch_size=1), images[:3], QUESTIONS[:3])
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(alone), atol=1e-6, rtol=0)


def test_half_precision_differs_by_less_than_a_thousandth(make, images):
    together = np.concatenate(make(dtype="bfloat16").ask(images, QUESTIONS, ANSWERS))
    one = make(dtype="bfloat16", share_prefix=False, batch_size=1)
    alone = np.concatenate(ask_alone(one, images, QUESTIONS))
    np.testing.assert_allclose(together, alone, atol=1e-3, rtol=0)
    # Ratings from 1 to 5 differ as much as bfloat16 does from float32 with any batch.
    rated, expected = (rows @ np.arange(1, 6) / rows.sum(axis=1) for rows in (together, alone))
    np.testing.assert_allclose(rated, expected, atol=0.01, rtol=0)


def test_answers_written_for_many_pictures_equal_those_written_one_at_a_time(make, images):
    together, alone = make(), make(batch_size=1)
    passes = count_passes(together)
    kept = {}
    found = together.write(
        images, QUESTIONS, lambda number, texts: kept.setdefault(number, {}).update(texts)
    )
    expected = [
        alone.write([image], [texts])[0] if texts else []
        for image, texts in zip(images, QUESTIONS, strict=True)
    ]
    assert found == expected
    assert kept == {i: dict(enumerate(texts)) for i, texts in enumerate(expected) if texts}
    assert max(passes) > 1


def fail_above(vlm, n_rows):
    """Let the device run out of memory with more rows."""

    def check(module, args, kwargs):
        if len(kwargs["input_ids"]) > n_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    vlm.model.register_forward_pre_hook(check, with_kwargs=True)


@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(
    qwen, images, share_prefix, caplog
):
    expected = qwen(batch_size=1).ask(images, QUESTIONS, ANSWERS)
    small = qwen(share_prefix=share_prefix)
    fail_above(small, 2)
    found = small.ask(images, QUESTIONS, ANSWERS)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-6)
    assert caplog.text.count("memory ran out with") == 1
    assert "vlm.batch_size=" in caplog.text
    caplog.clear()
    assert small.write(images[:2], QUESTIONS[:2]) == qwen().write(images[:2], QUESTIONS[:2])
    assert "memory ran out" not in caplog.text  # smaller from the start


def test_a_single_question_that_does_not_fit_is_an_error_that_says_what_needs_less(qwen, images):
    small = qwen()
    fail_above(small, 0)
    with pytest.raises(
        ModelMemoryError, match=r"vlm: memory runs out with a single row of \d+ tokens: a smaller"
    ):
        small.ask(images, QUESTIONS, ANSWERS)


def test_an_interrupted_run_keeps_the_batches_before_and_asks_for_the_rest_alone(
    qwen, images, tmp_path
):
    asked = [QUESTIONS[2]] * 6
    expected = np.concatenate(qwen().ask(images[:6], asked, ANSWERS))
    stopped = qwen(batch_size=2)
    n_pictures = 0

    def stop(module, args, kwargs):
        nonlocal n_pictures
        n_pictures += len(kwargs["input_ids"]) if "pixel_values" in kwargs else 0
        if n_pictures > 4:
            raise KeyboardInterrupt

    stopped.model.register_forward_pre_hook(stop, with_kwargs=True)
    with pytest.raises(KeyboardInterrupt):
        CachedVLM(stopped, OutputCache(tmp_path)).ask(images[:6], asked, ANSWERS)
    resumed = qwen(batch_size=2)
    rest = []
    resumed.model.register_forward_pre_hook(
        lambda module, args, kwargs: rest.append("pixel_values" in kwargs), with_kwargs=True
    )
    found = CachedVLM(resumed, OutputCache(tmp_path)).ask(images[:6], asked, ANSWERS)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)
    assert sum(rest) == 1  # one batch of the two pictures that were left


def test_batches_hold_rows_of_similar_length_within_all_limits():
    lengths = [3, 50, 7, 50, 8, 2]

    def cut(size, **limits):
        batches = []
        TokenBatches("vlm", size).run(lengths, batches.append, **limits)
        return [[lengths[i] for i in batch] for batch in batches]

    assert cut("auto") == [[50, 50, 8, 7, 3, 2]]
    assert cut(4) == [[50, 50, 8, 7], [3, 2]]
    assert cut("auto", max_tokens=30) == [[50], [50], [8, 7, 3], [2]]
    # Rows behind 10 others: 60, 60, 18, 17, 13 and 12 states.
    assert cut("auto", max_state_tokens=60, n_before=10) == [[50], [50], [8, 7, 3], [2]]
    assert cut(1) == [[50], [50], [8], [7], [3], [2]]


def test_a_batch_is_half_of_the_one_that_failed_whatever_limit_it_had():
    batches = []

    def work(batch):
        batches.append(len(batch))
        if len(batch) > 3:
            raise MemoryError

    runner = TokenBatches("vlm", "auto")
    runner.run([8] * 8, work, max_tokens=80)  # ten rows
    assert batches == [8, 4, 2, 2, 2, 2]
    runner.run([8] * 8, work, auto_rows=10)
    assert batches[6:] == [2, 2, 2, 2]


def test_other_errors_of_a_batch_are_not_taken_for_a_lack_of_memory():
    def fail(batch):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        TokenBatches("vlm", "auto").run([1, 2], fail)


def test_chunks_are_consecutive_and_weigh_no_more_than_allowed_unless_one_item_does():
    assert list(iterate_chunks([3, 3, 9, 1, 2], int, 6)) == [[3, 3], [9], [1, 2]]


def test_a_batch_size_must_be_auto_or_a_number(qwen):
    with pytest.raises(ValueError, match=r"vlm\.batch_size must be auto or at least 1, got 0"):
        qwen(batch_size=0)


def test_the_message_for_another_type_names_what_is_accepted():
    settings = SETTINGS | {"model": "m", "dtype": "float32", "share_prefix": True}
    with pytest.raises(ValueError, match=r"batch_size of Qwen2VLM must be int or auto, got 'aut'"):
        check_arguments(Qwen2VLM, settings | {"batch_size": "aut"})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-3)])
def test_many_pictures_at_once_on_a_gpu_are_judged_as_one_at_a_time(make, images, dtype, tolerance):
    together = make(device="cuda", dtype=dtype).ask(images, QUESTIONS, ANSWERS)
    one = make(device="cuda", dtype=dtype, share_prefix=False, batch_size=1)
    alone = ask_alone(one, images, QUESTIONS)
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(alone), atol=tolerance)
