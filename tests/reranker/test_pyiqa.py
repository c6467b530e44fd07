"""Metrics of IQA-PyTorch against its own calls; what the reranker does with their scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tiny_models import draw_pictures

from newsimg.datatypes import Candidates, Image, Query
from newsimg.reranker.quality.pyiqa_metric import PyiqaMetric
from newsimg.reranker.quality.reranker import PictureQualityReranker
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedVLM

try:
    import pyiqa
except Exception as error:  # a torchvision of another build than torch's raises RuntimeError
    pytest.skip(f"needs the extra pyiqa: {error}", allow_module_level=True)

QUERIES = [Query("1", "Storm"), Query("2", "Cow")]
ROWS = np.array([[0, 1, 2], [2, 1, 0]])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, ...]:
    """Photographs with grain of three strengths, the second larger than the others."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(3)
    paths = draw_pictures(folder, [(260, 200), (400, 300), (220, 230)])
    for strength, path in zip((0, 20, 60), paths, strict=True):
        pixels = np.asarray(PILImage.open(path), np.float32)
        noisy = pixels + random.normal(0, strength, pixels.shape)
        PILImage.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return tuple(Image(str(i), path) for i, path in enumerate(paths))


@pytest.fixture(scope="module")
def niqe_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Parameters of NIQE's format."""
    from scipy.io import savemat

    random = np.random.default_rng(0)
    mixing = random.normal(size=(36, 36))
    path = tmp_path_factory.mktemp("niqe") / "parameters.mat"
    savemat(path, {"mu_prisparam": random.random((1, 36)), "cov_prisparam": mixing @ mixing.T})
    return str(path)


def make_metric(metric: str, **changes: Any) -> PyiqaMetric:
    settings = {"weights": None, "max_side": None, "device": "cpu", "trust_weights": True}
    return PyiqaMetric(metric=metric, **settings | changes)


def make_candidates(images: tuple[Image, ...], rows: Any = ROWS) -> Candidates:
    scores = np.zeros(rows.shape, np.float32)
    return Candidates(images, rows, scores, {"retrieval": scores})


def rate_directly(metric: Any, image: Image, side: int | None = None) -> float:
    picture = PILImage.open(image.path)
    if side is not None:
        picture.thumbnail((side, side))
    pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1).float() / 255
    return float(metric(pixels[None]))


@pytest.mark.parametrize(("name", "sign"), [("entropy", 1), ("piqe", -1), ("niqe", -1)])
def test_scores_are_those_of_the_library_and_larger_is_better(
    name: str, sign: int, images: tuple[Image, ...], niqe_weights: str
) -> None:
    weights = niqe_weights if name == "niqe" else None
    own = {} if weights is None else {"pretrained_model_path": weights}
    direct = pyiqa.create_metric(name, device="cpu", **own)
    assert direct.lower_better == (sign < 0)
    rated = np.array([rate_directly(direct, image) for image in images])
    reranker = PictureQualityReranker(model=make_metric(name, weights=weights))
    found = reranker.score(QUERIES, make_candidates(images))
    np.testing.assert_allclose(found.values, sign * rated[ROWS], rtol=1e-5)
    assert len(set(found.values[0])) == 3
    assert found.metrics == {"unread": 0.0}


def test_larger_pictures_are_reduced(images: tuple[Image, ...]) -> None:
    direct = pyiqa.create_metric("piqe", device="cpu")
    expected = [-rate_directly(direct, image, 230) for image in images]
    found = make_metric("piqe", max_side=230).ask(images, [[""]] * 3, ["quality"])
    np.testing.assert_allclose(np.concatenate(found)[:, 0], expected, rtol=1e-5)
    full = make_metric("piqe").ask(images, [[""]] * 3, ["quality"])
    assert np.abs(np.concatenate(found) - np.concatenate(full)).max() > 1e-3


def test_a_picture_that_the_metric_cannot_rate_counts_as_the_mean_and_is_told(
    images: tuple[Image, ...], niqe_weights: str, tmp_path: Path
) -> None:
    PILImage.new("RGB", (20, 20)).save(tmp_path / "small.png")
    own = (*images, Image("small", tmp_path / "small.png"))
    model = make_metric("niqe", weights=niqe_weights)
    rows = np.array([[0, 1, 2, 3]])
    found = PictureQualityReranker(model=model).score(QUERIES[:1], make_candidates(own, rows))
    assert found.metrics == {"unread": 1.0}
    assert found.values[0, 3] == pytest.approx(found.values[0, :3].mean(), rel=1e-5)
    small = make_candidates(own, np.array([[3]]))
    with pytest.raises(ValueError, match="the metric can rate none of 1 pictures"):
        PictureQualityReranker(model=model).score(QUERIES[:1], small)


def test_a_score_is_computed_once_for_each_picture_and_setting(
    images: tuple[Image, ...], tmp_path: Path
) -> None:
    def score(metric: PyiqaMetric) -> tuple[Any, bool]:
        cached = CachedVLM(metric, OutputCache(tmp_path))
        found = PictureQualityReranker(model=cached).score(QUERIES, make_candidates(images))
        return found.values, "model" in vars(metric)  # whether it was loaded

    first, loaded = score(make_metric("piqe"))
    assert loaded
    again, loaded = score(make_metric("piqe"))
    assert not loaded
    np.testing.assert_array_equal(again, first)
    assert score(make_metric("piqe", max_side=230))[1]
    assert score(make_metric("entropy"))[1]


def test_the_fingerprint_depends_on_the_weights_and_libraries(niqe_weights: str) -> None:
    facts = json.loads(make_metric("niqe", weights=niqe_weights).fingerprint)
    assert facts != json.loads(make_metric("niqe").fingerprint)
    assert facts["libraries"]["pyiqa"]


def test_rating_leaves_the_global_generators_and_the_console_alone(
    images: tuple[Image, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make_metric("piqe").ask(images[:1], [[""]], ["quality"])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("metric", "changes", "message"),
    [
        ("muisq", {}, r"reranker.model.metric cannot be 'muisq'; did you mean 'musiq'"),
        ("ssim", {}, r"reranker.model.metric .*'ssim'"),
        ("fid", {}, r"reranker.model.metric .*'fid'"),
        ("piqe", {"trust_weights": False}, r"by pickle, .*: add reranker.model.trust_weights=true"),
        ("piqe", {"max_side": 3}, r"reranker.model.max_side must be at least 32 or null, got 3"),
        ("niqe", {"weights": "no/such.mat"}, r"no/such.mat"),
        ("niqe", {"weights": __file__}, r"niqe cannot be loaded: "),
        ("piqe", {"device": "cuda"}, r"reranker.model.device=cuda needs a GPU"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(
    metric: str, changes: dict[str, Any], message: str, images: tuple[Image, ...]
) -> None:
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises((ValueError, OSError), match=message):
        make_metric(metric, **changes).ask(images, [[""]] * 3, ["quality"])


def test_a_run_of_the_command_line_reranks_with_it(
    newsimg_here: Any, tiny_options: list[str]
) -> None:
    options = [option for option in tiny_options if not option.startswith("reranker=")]
    chosen = ["reranker=pyiqa", "reranker.model.metric=entropy", "tracking=none"]
    done = newsimg_here(*options, *chosen, "reranker.model.trust_weights=true")
    assert done.code == 0, done.output
    assert "written to" in done.stdout
