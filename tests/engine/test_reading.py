"""Reading in threads and in processes: the same batches, errors and files."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from newsimg.backbone.transformers_backbone import TransformersBackbone
from newsimg.data.collection import FolderDataset
from newsimg.datatypes import Accepted, FloatArray, Image, Rejected, ValidationRules
from newsimg.engine.listing import Listing, write_listing
from newsimg.engine.local import LocalEngine
from newsimg.storage.cache import OutputCache
from newsimg.storage.cached_models import CachedBackbone

RULES = ValidationRules("accept", 1_000_000, 2)
N_PICTURES = 90
CHUNK = 32


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> TransformersBackbone:
    return make_clip(TransformersBackbone, str(tiny_clip))


def make_clip(kind: type[TransformersBackbone], model: str) -> TransformersBackbone:
    settings: dict[str, Any] = {"revision": "main", "dtype": "float32", "device": "cpu"}
    settings |= {"batch_size": 8, "text_padding": "longest", "text_length": 48}
    return kind(model=model, query_template="{title}", **settings)


def leave_room(patch: pytest.MonkeyPatch, n_batches: int) -> None:
    """Leave shared memory for batches of the tiny CLIP's pictures, 32x32."""
    free = n_batches * 8 * 32 * 32 * 3
    patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """Pictures of which some are damaged, truncated, too small, or equal to another."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(N_PICTURES):
        patches = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        PILImage.fromarray(patches).resize((40, 32)).save(folder / f"{i:03}.jpg", quality=90)
    (folder / "003.jpg").write_bytes(b"no picture")
    (folder / "070.jpg").write_bytes(b"")
    PILImage.new("RGB", (1, 1)).save(folder / "041.jpg")
    whole = (folder / "050.jpg").read_bytes()
    (folder / "050.jpg").write_bytes(whole[:-60])
    for copy in (20, 21, 27, 35, 80):  # in the same batch, the next one, another chunk
        (folder / f"{copy:03}.jpg").write_bytes((folder / "019.jpg").read_bytes())
    images = FolderDataset(name="c", folder=str(folder)).stream_images()
    return write_listing(images, folder.parent / "listing.arrow", CHUNK)


def embed(
    listing: Listing, backbone: Any, n_workers: int, numbers: range | None = None
) -> list[Accepted | Rejected]:
    numbers = range(listing.n_chunks) if numbers is None else numbers
    return list(LocalEngine(n_workers=n_workers).embed(listing, numbers, backbone, RULES, 2))


def describe(results: list[Accepted | Rejected]) -> list[bytes]:
    """Return all that is known of each result, byte for byte."""
    return [
        pickle.dumps((one.image, one.width, one.height, one.n_cut, one.embedding.tobytes()))
        if isinstance(one, Accepted)
        else pickle.dumps(one)
        for one in results
    ]


class WaitingClip(TransformersBackbone):
    """A model of which two threads run batches, as in front of a GPU."""

    is_asynchronous = True


def test_two_batches_at_a_time_give_the_results_of_one_at_a_time(
    clip: TransformersBackbone, listing: Listing, tmp_path: Path
) -> None:
    expected = embed(listing, CachedBackbone(clip, OutputCache(tmp_path / "a")), 0)
    waiting = make_clip(WaitingClip, clip.checkpoint.model)
    cached = CachedBackbone(waiting, OutputCache(tmp_path / "b"))
    assert describe(embed(listing, cached, 0)) == describe(expected)
    n_distinct = len({one.image.digest for one in expected if isinstance(one, Accepted)})
    assert cached.cache.counts["cache/embeddings_computed"] == n_distinct
    rejected = {one.uri[-7:]: one.reason for one in expected if isinstance(one, Rejected)}
    assert set(rejected) == {"003.jpg", "041.jpg", "070.jpg"}
    # All are found in the cache.
    again = CachedBackbone(waiting, OutputCache(tmp_path / "b"))
    assert describe(embed(listing, again, 0)) == describe(expected)
    assert again.cache.counts["cache/embeddings_computed"] == 0


@pytest.mark.parametrize("stop", [40, 64, 90])
def test_rows_of_a_listing_are_those_of_its_chunks(listing: Listing, stop: int) -> None:
    chunks = [one for number in range(listing.n_chunks) for one in listing.read_chunk(number)]
    assert listing.read_rows(5, stop) == chunks[5:stop]


def test_processes_without_room_in_shared_memory_are_refused_before_the_system_kills_them(
    clip: TransformersBackbone, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_room(monkeypatch, 4)
    with pytest.raises(ValueError, match=r"n_workers=2: /dev/shm has room .* of 1 pro.*workers=1,"):
        embed(listing, clip, 2)
    leave_room(monkeypatch, 2)
    with pytest.raises(ValueError, match=r"of 0 processes: add engine.n_workers=0 to read in thr"):
        embed(listing, clip, 2)


@pytest.mark.parametrize("n_workers", [-1, "many"])
def test_an_invalid_number_of_processes_is_refused(n_workers: Any) -> None:
    with pytest.raises(ValueError, match=f"n_workers must be auto or at least 0, got {n_workers}"):
        LocalEngine(n_workers=n_workers)


@pytest.mark.parametrize(
    ("asynchronous", "n_pictures", "n_cores", "chosen", "reason"),
    [
        (True, 10**6, 32, 20, "20 processes (/dev/shm has room for the batches of 20 processes)"),
        (False, 10**6, 16, 0, "2 threads (the model is on a CPU"),
        (True, 500, 16, 0, "2 threads (500 pictures are read before processes have started)"),
        (True, 10**6, 1, 0, "2 threads (there is one core)"),
        (True, 10**6, 16, 16, "16 processes (one per core, for 1000000 pictures and a GPU)"),
    ],
)
def test_auto_logs_what_it_chose_and_why(
    asynchronous: bool,
    n_pictures: int,
    n_cores: int,
    chosen: int,
    reason: str,
    clip: TransformersBackbone,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(n_cores)))
    leave_room(monkeypatch, 41)
    backbone = make_clip(WaitingClip, clip.checkpoint.model) if asynchronous else clip
    assert LocalEngine(n_workers="auto")._choose(n_pictures, backbone, 2) == chosen
    assert caplog.messages[-1].startswith(f"reading        {reason}")


@pytest.mark.slow
def test_processes_give_the_results_of_threads_byte_for_byte(
    clip: TransformersBackbone, listing: Listing, tmp_path: Path
) -> None:
    expected = describe(embed(listing, CachedBackbone(clip, OutputCache(tmp_path / "a")), 0))
    cached = CachedBackbone(clip, OutputCache(tmp_path / "b"))
    assert describe(embed(listing, cached, 2)) == expected
    # A resumed job reads the last chunks, whose pictures are cached.
    again = CachedBackbone(clip, OutputCache(tmp_path / "b"))
    assert describe(embed(listing, again, 2, range(1, 3))) == expected[CHUNK:]
    assert again.cache.counts["cache/embeddings_computed"] == 0


class DecodingLater(CachedBackbone):
    """A backbone that decodes pictures itself, from their bytes."""

    def preprocess(self, image: Image) -> Any:
        return image

    def embed_preprocessed(self, images: Sequence[Image], inputs: Sequence[Any]) -> FloatArray:
        return self.embed_images(images)


@pytest.mark.slow
def test_errors_of_a_process_are_raised_with_their_type_and_its_death_names_the_option(
    clip: TransformersBackbone, listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    expected = describe(embed(listing, clip, 0))
    later = DecodingLater(clip, OutputCache(tmp_path / "later"))
    assert describe(embed(listing, later, 1)) == expected
    (tmp_path / "broken").write_text("no folder")
    broken = CachedBackbone(clip, OutputCache(tmp_path / "broken"))
    with pytest.raises(OSError, match=r"Not a directory|set cache\.dir"):
        embed(listing, broken, 1)
    running = LocalEngine(n_workers=1).embed(listing, range(3), clip, RULES, 2)
    next(running)
    for process in list_readers():
        os.kill(process, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"engine.n_workers=1: a process .* was killed"):
        list(running)


def list_readers() -> list[int]:
    """Return the reading processes, which are children of a child of this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    return [one for one, parent in parents.items() if parents.get(parent) == os.getpid()]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_a_script_needs_no_guard(
    tiny_clip: Path, listing: Listing, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import time
        from pathlib import Path
        from newsimg.backbone.transformers_backbone import TransformersBackbone
        from newsimg.datatypes import ValidationRules
        from newsimg.engine.listing import Listing
        from newsimg.engine.local import LocalEngine
        print("started", flush=True)
        clip = TransformersBackbone(model={str(tiny_clip)!r}, revision="main", dtype="float32",
            device="cpu", batch_size=8, text_padding="longest", text_length=48,
            query_template="{{title}}")
        rules = ValidationRules("reject", 10**6, 2)
        listing = Listing(Path({str(listing.path)!r}))
        for found in LocalEngine(n_workers=2).embed(listing, range(3), clip, rules, 2):
            print("found", flush=True)
            time.sleep(0.5)
        """)
    )
    command = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    assert command.stdout.readline() == "found\n"
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)  # waits for all who hold its output open
    assert command.returncode != 0
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
