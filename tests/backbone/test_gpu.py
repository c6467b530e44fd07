"""Embeddings on a GPU against the CPU."""

from itertools import islice

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from newsimg.backbone.preprocessing import move_inputs
from newsimg.data.sample import SampleDataset
from newsimg.datatypes import ValidationRules
from newsimg.engine.listing import write_listing
from newsimg.engine.local import LocalEngine
from newsimg.run import CONF_DIR
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.models.checkpoints import choose_device

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def make_backbone(*changes):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", list(changes))
    return instantiate(config.backbone)


def embed(device, dtype, images, *changes):
    where = [f"backbone.device={device}", f"backbone.dtype={dtype}"]
    return make_backbone(*where, *changes).embed_images(images)


@pytest.fixture(scope="module")
def images():
    dataset = SampleDataset(name="sample", split="val", subset=None, seed=28, pool="split")
    return list(islice(dataset.load().images, 64))


@pytest.fixture(autouse=True)
def _cache(sample_cache):
    """The sample newsroom is drawn once."""


def test_auto_selects_the_gpu_and_its_batches():
    assert choose_device("auto") == "cuda"
    backbone = make_backbone("backbone.device=auto")
    assert backbone.batch_size == 256
    assert backbone.is_asynchronous


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("tf32", 0.02), ("bfloat16", 0.02)]
)
def test_embeddings_on_the_gpu_equal_those_on_the_cpu(dtype, tolerance, images):
    cpu = embed("cpu", "float32", images)
    gpu = embed("cuda", dtype, images)
    if dtype == "float32":
        np.testing.assert_allclose(gpu, cpu, atol=tolerance)
    assert np.sum(cpu * gpu, axis=1).min() > 1 - tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_normalised_bit_for_bit_as_on_the_cpu(dtype, images):
    backbone = make_backbone()
    inputs = [backbone.preprocess(image) for image in images[:9]]
    cpu, gpu = (
        move_inputs(inputs, backbone._pixels, torch.device(device), dtype)["pixel_values"]
        for device in ("cpu", "cuda")
    )
    assert gpu.is_contiguous()
    assert torch.equal(gpu.cpu(), cpu)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_two_batches_in_flight_give_the_rows_of_one_after_the_other(n_workers, images, tmp_path):
    backbone = make_backbone("backbone.device=cuda", "backbone.batch_size=16")
    expected = np.concatenate([backbone.embed_images(images[i : i + 16]) for i in (0, 16, 32, 48)])
    listing = write_listing(images, tmp_path / "listing.arrow", 32)
    cached = CachedBackbone(backbone, OutputCache(tmp_path / "cache"))
    rules = ValidationRules("reject", 10**8, 2)
    found = LocalEngine(n_workers=n_workers).embed(listing, range(2), cached, rules, 4)
    np.testing.assert_array_equal(np.stack([one.embedding for one in found]), expected)


def test_a_compiled_tower_gives_nearly_the_same_embeddings(images):
    plain = embed("cuda", "float32", images, "backbone.batch_size=24")
    compiled = embed("cuda", "float32", images, "backbone.batch_size=24", "backbone.compile=true")
    np.testing.assert_allclose(compiled, plain, atol=1e-4)


def test_a_batch_that_does_not_fit_is_halved(images, caplog):
    expected = embed("cuda", "float32", images)
    torch.cuda.empty_cache()
    backbone = make_backbone("backbone.device=cuda", "backbone.batch_size=4096")
    inputs = [backbone.preprocess(image) for image in images]
    backbone.embed_preprocessed(images[:1], inputs[:1])
    share = (torch.cuda.memory_reserved() + (48 << 20)) / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        rows = backbone.embed_preprocessed(images * 64, inputs * 64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "memory ran out with a batch of 4096" in caplog.text
    np.testing.assert_allclose(rows[:64], expected, atol=1e-5)
