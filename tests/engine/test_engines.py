"""Engines: several workers give the same index as one process, even if a worker dies."""

import os
import pickle
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.collection import FolderDataset
from newsimg.datatypes import Accepted, FloatArray, Image, ValidationRules
from newsimg.engine.listing import write_listing
from newsimg.engine.local import LocalEngine
from newsimg.engine.ray import RayEngine, StartCounter
from newsimg.index.faiss_index import FaissIndex
from newsimg.interfaces import Components, Engine
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone
from newsimg.task.index import IndexTask

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"address": None, "n_workers": 2, "cpus_per_worker": 1}
SETTINGS |= {"gpus_per_worker": 0, "object_store_mb": 200}
WRITTEN = ("vectors.faiss", "images.parquet", "rejected.parquet")
N_PICTURES = 1100  # three chunks


class MortalBackbone(CachedBackbone):
    """A backbone that kills its process once, at a given picture."""

    def __init__(self, backbone: TransformersBackbone, cache: OutputCache, victim: str) -> None:
        super().__init__(backbone, cache)
        self.victim = victim
        self.deaths = cache.folder.parent / "deaths"

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        if self.victim in {image.image_id for image in images} and not self.deaths.exists():
            if self.deaths.parent.is_dir():
                self.deaths.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_preprocessed(images, inputs)


class PidBackbone(CachedBackbone):
    """A backbone that counts pictures per process and waits for a second process to start."""

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        folder = self.cache.folder.parent / "pids"
        folder.mkdir(exist_ok=True)
        note = folder / str(os.getpid())
        note.write_text(str(len(images) + (int(note.read_text()) if note.exists() else 0)))
        until = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        return super().embed_preprocessed(images, inputs)


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> TransformersBackbone:
    settings: dict[str, Any] = {"revision": "main", "dtype": "float32", "device": "cpu"}
    settings |= {"batch_size": 16, "text_padding": "longest", "text_length": 48}
    return TransformersBackbone(model=str(tiny_clip), query_template="{title}", **settings)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster with two CPUs, shared by the tests."""
    ray = pytest.importorskip("ray", reason="needs the extra newsimg[ray]")
    small = {"object_store_memory": 200 << 20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'engine'}"
        )  # for MortalBackbone
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, log_to_driver=False, **small)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures; three are damaged and two are equal."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(N_PICTURES):
        patches = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        PILImage.fromarray(patches).resize((20, 16)).save(folder / f"{i:05}.jpg", quality=90)
    for i in (3, 700, 1099):
        (folder / f"{i:05}.jpg").write_bytes(b"no picture")
    (folder / "00020.jpg").write_bytes((folder / "00019.jpg").read_bytes())
    return folder


def build(
    folder: Path, pictures: Path, engine: Engine, backbone: CachedBackbone
) -> dict[str, float]:
    task = IndexTask(
        index_dir=str(folder / "index"),
        action="build",
        image_ids=None,
        on_bad_image="skip",
        max_rejected=0.05,
        on_truncated="reject",
        max_pixels=1_000_000,
        min_side=2,
        n_threads=2,
        engine=engine,
        n_queries=50,
    )
    dataset = FolderDataset(name="c", folder=str(pictures))
    parts: Any = (None, None)  # building an index needs neither reranker nor weight
    index = FaissIndex(factory="Flat")
    return task.run(Components(dataset, backbone, index, *parts, top_k=10), folder)


def test_an_index_is_identical_if_one_of_two_workers_is_killed(
    clip: TransformersBackbone, pictures: Path, tmp_path: Path, cluster: None
) -> None:
    local, mortal = tmp_path / "local", tmp_path / "ray"
    backbone = MortalBackbone(clip, OutputCache(mortal / "cache"), "00900.jpg")
    there = build(mortal, pictures, RayEngine(**SETTINGS), backbone)
    here = build(local, pictures, LocalEngine(), CachedBackbone(clip, OutputCache(local / "cache")))
    assert int((mortal / "deaths").read_text()) != os.getpid()
    for name in WRITTEN:
        assert (mortal / "index" / name).read_bytes() == (local / "index" / name).read_bytes()
    assert here["n_rejected"] == there["n_rejected"] == 3
    # The embeddings of the dead worker were found in the cache.
    (entry,) = backbone.cache.list_entries()
    assert entry.n_items == N_PICTURES - 3 - 1
    counts = backbone.cache.counts
    assert counts["cache/embeddings_computed"] < entry.n_items


def test_too_many_starts_of_a_part_are_an_error_and_completion_resets_the_count(
    tmp_path: Path,
) -> None:
    starts = StartCounter(tmp_path / "starts", max_deaths=2)
    for _ in range(3):  # one start, and one restart after each of two deaths
        starts.begin("7")
    starts.begin("8")
    with pytest.raises(RuntimeError, match="workers died 3 times on the same pictures"):
        StartCounter(tmp_path / "starts", max_deaths=2).begin("7")  # counted across processes
    starts.end("7")
    for _ in range(3):
        starts.begin("7")


def wait_for_cpus(n_cpus: int) -> None:
    """Wait until no worker occupies a CPU of the cluster."""
    import ray

    until = time.monotonic() + 200
    while ray.available_resources().get("CPU") != n_cpus:
        assert time.monotonic() < until, "workers are still running"
        time.sleep(0.1)


def test_a_picture_that_kills_every_worker_fails_the_job(
    clip: TransformersBackbone, pictures: Path, tmp_path: Path, cluster: None, monkeypatch: Any
) -> None:
    monkeypatch.setattr("newsimg.engine.ray.MAX_DEATHS", 1)
    deadly = MortalBackbone(clip, OutputCache(tmp_path / "cache"), "00300.jpg")
    deadly.deaths = tmp_path / "no folder" / "deaths"  # so that every attempt dies
    with pytest.raises(RuntimeError, match="workers died 2 times on the same pictures") as error:
        build(tmp_path, pictures, RayEngine(**SETTINGS), deadly)
    assert not (tmp_path / "index" / "manifest.json").exists()
    wait_for_cpus(2)  # while the traceback is still there
    del error


def test_few_pictures_are_distributed_to_all_workers(
    clip: TransformersBackbone, pictures: Path, tmp_path: Path, cluster: None
) -> None:
    images = list(FolderDataset(name="c", folder=str(pictures)).stream_images())[30:130]
    listing = write_listing(images, tmp_path / "listing.arrow", 512)
    results = RayEngine(**SETTINGS).embed(
        listing,
        range(1),
        PidBackbone(clip, OutputCache(tmp_path / "cache")),
        ValidationRules("reject", 1_000_000, 2),
        n_threads=1,
    )
    ids = [result.image.image_id for result in results if isinstance(result, Accepted)]
    assert ids == [image.image_id for image in images]
    by_worker = {path.name: int(path.read_text()) for path in (tmp_path / "pids").iterdir()}
    assert len(by_worker) == 2
    assert sum(by_worker.values()) == len(images)


def test_an_error_of_a_worker_is_raised_with_its_type(
    clip: TransformersBackbone, pictures: Path, tmp_path: Path, cluster: None
) -> None:
    dataset = FolderDataset(name="c", folder=str(pictures))
    listing = write_listing(dataset.stream_images(), tmp_path / "listing.arrow", 512)
    (tmp_path / "cache").write_text("no folder")
    backbone = CachedBackbone(clip, OutputCache(tmp_path / "cache"))
    results = RayEngine(**SETTINGS | {"n_workers": 1}).embed(
        listing, range(3), backbone, ValidationRules("reject", 1_000_000, 2), n_threads=1
    )
    with pytest.raises(OSError, match=r"set cache\.dir"):
        next(results)


def test_more_workers_than_the_cluster_has_cpus_are_rejected(
    clip: TransformersBackbone, pictures: Path, tmp_path: Path, cluster: None
) -> None:
    dataset = FolderDataset(name="c", folder=str(pictures))
    listing = write_listing(dataset.stream_images(), tmp_path / "listing.arrow", 512)
    engine = RayEngine(**SETTINGS | {"n_workers": 5})
    results = engine.embed(listing, range(3), clip, ValidationRules("reject", 1_000_000, 2), 1)
    with pytest.raises(ValueError, match=r"n_workers=5 with 1 CPU each need 5, the cluster has 2"):
        next(results)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("n_workers", 0, 1), ("cpus_per_worker", 0, 1), ("object_store_mb", 1, 80)],
)
def test_invalid_numbers_are_rejected(name: str, value: int, least: int) -> None:
    message = f"engine.{name} must be at least {least}, got {value}"
    with pytest.raises(ValueError, match=re.escape(message)):
        RayEngine(**SETTINGS | {name: value})


def test_a_backbone_is_pickled_without_its_model_and_embeds_identically(
    clip: TransformersBackbone, pictures: Path
) -> None:
    images = [Image(f"{i}", pictures / f"{i:05}.jpg") for i in range(4, 9)]
    expected = clip.embed_images(images)
    content = pickle.dumps(clip)
    assert len(content) < 5000
    sent = pickle.loads(content)
    assert sent.fingerprint == clip.fingerprint
    np.testing.assert_array_equal(sent.embed_images(images), expected)
