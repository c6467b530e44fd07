"""Embeddings on a GPU against the CPU."""

from itertools import islice

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from newsimg.data.sample import SampleDataset
from newsimg.run import CONF_DIR
from newsimg.storage.models.checkpoints import choose_device

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def embed(device, dtype, images):
    changes = [f"backbone.device={device}", f"backbone.dtype={dtype}"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", changes)
    return instantiate(config.backbone).embed_images(images)


def test_auto_selects_the_gpu():
    assert choose_device("auto") == "cuda"


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("tf32", 0.02), ("bfloat16", 0.02)]
)
def test_embeddings_on_the_gpu_equal_those_on_the_cpu(dtype, tolerance, sample_cache):
    dataset = SampleDataset(name="sample", split="val", subset=None, seed=28, pool="split")
    images = list(islice(dataset.load().images, 64))
    cpu = embed("cpu", "float32", images)
    gpu = embed("cuda", dtype, images)
    if dtype == "float32":
        np.testing.assert_allclose(gpu, cpu, atol=tolerance)
    assert np.sum(cpu * gpu, axis=1).min() > 1 - tolerance
