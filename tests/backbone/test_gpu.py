"""Embeddings on a GPU against the CPU."""

from itertools import islice

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from photographs import PREPROCESSORS, SIZES, draw, save

from newsimg.backbone.pictures.device_decoding import DeviceDecoder, read_jpeg
from newsimg.backbone.pictures.preprocessing import move_inputs
from newsimg.data.sample import SampleDataset
from newsimg.datatypes import Accepted, Image, Rejected, ValidationRules
from newsimg.engine.listing import write_listing
from newsimg.engine.local import LocalEngine
from newsimg.run import CONF_DIR
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.storage.models.checkpoints import choose_device
from newsimg.storage.pictures.images import open_image

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
        move_inputs(inputs, backbone.pictures.pixels, torch.device(device), dtype)["pixel_values"]
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


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_jpegs_decoded_on_the_gpu_give_nearly_the_embeddings_of_exact_decoding(name, tmp_path):
    pytest.importorskip("torchvision")
    preprocessor = PREPROCESSORS[name]
    images = [
        save(tmp_path / f"{size[0]}_{i}.jpg", draw(size), 1 + i % 8, quality=90)
        for i, size in enumerate(SIZES * 3)
    ]
    images = [image for image in images if read_jpeg(image) is not None]
    images += [
        save(tmp_path / "grey.jpg", draw((300, 200)).convert("L")),
        save(tmp_path / "full.jpg", draw((301, 199)), subsampling=0),
        save(tmp_path / "half.jpg", draw((301, 199)), subsampling="4:2:2"),
    ]
    inputs = [read_jpeg(image) for image in images]
    decoder = DeviceDecoder(preprocessor, torch.device("cuda"))
    found = decoder(images, inputs).cpu().numpy().astype(int)
    expected = np.stack([preprocessor(open_image(image)) for image in images])
    difference = np.abs(found - expected)
    assert difference.mean() < 0.6
    assert np.quantile(difference, 0.99) <= 4


def test_a_collection_with_damaged_pictures_is_embedded_with_decoding_on_the_gpu(images, tmp_path):
    pytest.importorskip("torchvision")
    images = [
        save(tmp_path / f"{i}.jpg", open_image(image), 1 + i % 8) for i, image in enumerate(images)
    ]
    images.insert(7, save(tmp_path / "slow.jpg", draw((200, 100)), progressive=True))
    images.insert(20, save(tmp_path / "drawing.png", draw((200, 100))))
    content = bytearray(images[3].path.read_bytes())
    start = content.rindex(b"\xff\xda")
    content[start + 2 : start + 14] = bytes(12)
    images.insert(30, Image("damaged", tmp_path / "damaged.jpg"))
    images[30].path.write_bytes(content)
    rules = ValidationRules("reject", 10**8, 2)
    listing = write_listing(images, tmp_path / "listing.arrow", 34)
    rows = {}
    for decoding, n_workers in (("exact", 0), ("gpu", 0), ("gpu", 2)):
        backbone = make_backbone(
            *("backbone.device=cuda", "backbone.batch_size=16", f"backbone.decoding={decoding}")
        )
        cached = CachedBackbone(backbone, OutputCache(tmp_path / f"{decoding}{n_workers}"))
        engine = LocalEngine(n_workers=n_workers)
        found = list(engine.embed(listing, range(listing.n_chunks), cached, rules, 4))
        assert [i for i, one in enumerate(found) if isinstance(one, Rejected)] == [30]
        own = [one.embedding for one in found if isinstance(one, Accepted)]
        rows[decoding, n_workers] = np.stack(own)
    assert (rows["exact", 0] * rows["gpu", 0]).sum(1).min() > 0.999
    np.testing.assert_allclose(rows["gpu", 2], rows["gpu", 0], atol=1e-6)


def test_decoding_on_the_gpu_does_not_write_into_memory_that_is_still_read(images, tmp_path):
    pytest.importorskip("torchvision")
    images = [
        save(tmp_path / f"{i}.jpg", draw((300 + 5 * (i % 7), 200 + i)), quality=90)
        for i in range(64)
    ]
    backbone = make_backbone(
        *("backbone.device=cuda", "backbone.batch_size=16", "backbone.decoding=gpu")
    )
    expected = np.concatenate([backbone.embed_images(images[i : i + 16]) for i in (0, 16, 32, 48)])
    busy = torch.randn(4096, 4096, device="cuda")
    found = []
    for i in range(400):  # a long queue of products keeps each batch's work waiting
        for _ in range(4):
            busy = torch.nn.functional.normalize(busy @ busy)
        start = 16 * (i % 4)
        own = images[start : start + 16]
        rows = backbone.embed_preprocessed(own, [backbone.preprocess(image) for image in own])
        found.append(np.abs(rows - expected[start : start + 16]).max())
    assert max(found) < 1e-5


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
